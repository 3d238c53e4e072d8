"""Slides for a class, from the lessons as they are saved: `make slides` calls this file.

    python -m tools.slides          writes slides/01_diffusion_process.html and so on
    python -m tools.slides FOLDER   the slides find reveal.js and MathJax in FOLDER, beside them, and ask the network for nothing;
                                    npm install --prefix slides reveal.js@4.6.1 mathjax@2.7.9 puts both into slides/node_modules

A lesson's core path becomes its slides, in its order: a title and a reason for each section, the formulas, the questions to be guessed
first, the exercises, the facts of the real model, and every picture. What the lesson says around them stands in the
speaker's notes (key S); the code stays in the notebook. nbconvert makes the page; reveal.js and MathJax come from the network when it is opened.
"""

import re
import sys
from html import escape
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

from helpers.files import make_folder
from tools.asked import answers
from tools.setup_cell import FURTHER, ROOT, save_text
from tools.site import PICTURES

HINTS = re.compile(r"<details>.*?</details>", re.DOTALL)
BADGE = re.compile(r"\[!\[[^]]*\]\([^)]*\)\]\([^)]*\)")
LESSON = re.compile(r"\]\(([\w-]+)\.ipynb(?:#[^)\s]*)?\)")  # a link to a lesson beside this one
WIDTH, HEIGHT = 1280, 800
REVEAL, MATHJAX = "https://unpkg.com/reveal.js@4.6.1", "https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/MathJax.js"
# nbconvert's page, but for its scripts: it asks the network for jQuery, RequireJS and mermaid, whether they are needed or not.
TEMPLATE = """{% extends "index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block footer_js %}
<script src="REVEAL/dist/reveal.js"></script>
<script src="REVEAL/plugin/notes/notes.js"></script>
<script>
function show() {
  const slide = Reveal.getCurrentSlide();
  if (window.MathJax && MathJax.Hub) MathJax.Hub.Queue(["Rerender", MathJax.Hub, slide], fit);
  fit();
  function fit() {  // what is taller than the slide can be scrolled
    if (slide.scrollHeight > HEIGHT) Object.assign(slide.style, { height: "HEIGHTpx", overflowY: "auto", top: 0 });
  }
}
Reveal.initialize({ history: true, plugins: [RevealNotes], width: WIDTH, height: HEIGHT }).then(show);
Reveal.on("slidechanged", show);
</script>
{% endblock %}
"""
STYLE = """<style>
.reveal h2 { font-size: 44px; text-transform: none; font-weight: 400 } .reveal p, .reveal li { font-size: 28px } .reveal .jp-Cell { padding: 0 } .reveal blockquote { width: 100% }
.reveal img { width: 100%; max-width: none !important; max-height: 660px; object-fit: contain; margin: 0 }
</style>
"""


def core(cells):
    """The cells of a lesson without the parts that can be skipped; prose is cut before each heading of a part."""
    kept, skipping = [], False
    for cell in cells:
        if cell.cell_type != "markdown":
            kept += [] if skipping else [cell]
            continue
        for piece in re.split(r"(?m)^(?=## )", cell.source):
            if piece.startswith("## "):
                skipping = piece.startswith(FURTHER)
            if piece.strip() and not skipping:
                kept.append(nbformat.v4.new_markdown_cell(piece))
    return kept


def slide(text, kind="slide"):
    return nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def of_markdown(source):
    """[cells] of a cell of prose: its headings, each with the two sentences after it, its formulas, questions, exercises
    and boxes; all of it as notes. A link to another lesson leads to its slides; slides/ lies where notebooks/ does, so any other holds."""
    shown, plain = [], LESSON.sub(r"](\1.html)", HINTS.sub("", BADGE.sub("", source)))
    titled = False  # whether the last paragraph was a heading
    for paragraph in (one.strip() for one in re.split(r"\n\s*\n", plain) if one.strip()):
        said, titled = titled, bool(re.match(r"#+ ", paragraph))
        if titled:
            shown.append(slide(re.sub(r"^#+", "##", paragraph)))
        elif said and re.match(r"\w", paragraph):
            shown[-1].source += "\n\n" + " ".join(re.split(r"(?<=[.?!])\s+", paragraph)[:2])
        elif paragraph.startswith(("**Predict.", "**Exercise", "> **")):
            shown.append(slide(paragraph, kind="subslide"))
        elif paragraph.startswith("$$"):
            shown.append(slide(paragraph, kind="subslide" if not shown else "-"))
        elif shown and paragraph.startswith(("* ", "- ", "1. ", "|")):
            shown.append(slide(paragraph, kind="-"))
    return [*shown, slide(plain.strip(), kind="notes")] if plain.strip() else []


def of_code(cell):
    """[cells] of a code cell: what it offers to be guessed, and each of its pictures."""
    shown = []
    for offered in answers(cell.source):
        shown.append(slide("\n".join(f"- {one}" for one in offered), kind="-"))
    for output in cell.outputs:
        for kind in PICTURES:
            if data := output.get("data", {}).get(kind):
                alt = escape(output.metadata.get(kind, {}).get("alt", ""))
                shown.append(
                    slide(f'<img alt="{alt}" src="data:{kind};base64,{"".join(data.split())}">', kind="subslide")
                )
    return shown


def slides(notebook):
    """A notebook (nbformat 4) of slides from a lesson's. The given one stays as it is."""
    made = []
    for cell in core(notebook.cells):
        made += of_markdown(cell.source) if cell.cell_type == "markdown" else of_code(cell)
    made[0].source += "\n\n" + STYLE
    return nbformat.v4.new_notebook(cells=made, metadata=notebook.metadata)


def page(notebook, near=None, title="Slides"):
    """The slides of a lesson as one page of HTML. near: a folder with reveal.js and mathjax in it, as the page sees it; None: they
    come from the network."""
    reveal = f"{near}/reveal.js" if near else REVEAL
    scripts = TEMPLATE.replace("REVEAL", reveal).replace("WIDTH", str(WIDTH)).replace("HEIGHT", str(HEIGHT))
    exporter = SlidesExporter(
        exclude_input_prompt=True, raw_template=scripts, reveal_url_prefix=reveal, reveal_theme="white"
    )
    exporter.mathjax_url = (f"{near}/mathjax/MathJax.js" if near else MATHJAX) + "?config=TeX-AMS_CHTML-full,Safe"
    return exporter.from_notebook_node(slides(notebook), resources={"metadata": {"name": title}})[0]


def write_slides(root: Path = ROOT, near=None) -> list[Path]:
    """Write the slides of every lesson of the course; returns the files."""
    files = []
    for file in sorted(root.glob("notebooks/*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        files.append(make_folder(root / "slides") / f"{file.stem}.html")
        save_text(files[-1], page(notebook, near, file.stem))
    return files


def main(arguments=None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) > 1 or any(one.startswith("-") for one in given):
        print(__doc__, file=sys.stderr)
        return 2
    files = write_slides(near=given[0] if given else None)
    print(f"{len(files)} files of slides are in {files[0].parent}: open one in a browser; S shows the notes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
