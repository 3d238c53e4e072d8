"""The course as a site to read: the lessons with their pictures, the glossary, the pages for teachers.

    .venv-site/bin/python -m tools.site              builds it, in site/build; `make site` calls this
    .venv-site/bin/python -m tools.site linkcheck    asks every link to the outside whether it still leads somewhere

Sphinx reads notebooks and pages from a copy laid out beside its configuration. The copy differs in this only: the words
that stand for a picture where it cannot be seen (`alt`) go where Sphinx looks for them; the setup cells are folded; a question
that has no still picture shows its answers; a link
to a file that is no page of the site leads to the repository, and is plain text as long as the course has no address, as
is a Colab badge. Where `make web ARGS=build` has built the page that draws, it becomes draw/, and the front leads there.
Needs site/requirements.txt.
"""

import json
import os
import re
import shutil
import sys
from html import escape
from pathlib import Path

from tools.setup_cell import BADGES, PLACEHOLDER, ROOT, address

PICTURES = ("image/png", "image/jpeg")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/*",
    "notebooks/*.ipynb",
    "training/README.md",
    "training/*.png",
    "benchmarks/README.md",
    "benchmarks/results/*",
    "helpers/models/postcard/README.md",
)
DRAWS = ROOT / "web" / "dist"
TO_THE_PAGE = (
    "<!-- the page that draws -->",
    '<p><a href="draw/"><b>Draw a postcard</b></a> with this model now, in this browser: nothing is installed.</p>',
)
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
FOLDED = re.compile(r"# @title (.+)")  # the setup and the worked solutions, as Colab folds them
PANEL = "Interactive panel: run the notebook to use it."  # what a panel without a still picture leaves in a notebook
LINK = re.compile(r"(?<!!)\[([^]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def alt_texts(cell):
    """The words that stand for the pictures of a cell, in order."""
    return [
        output["metadata"][kind]["alt"]
        for output in cell.get("outputs", [])
        for kind in PICTURES
        if "alt" in output.get("metadata", {}).get(kind, {})
    ]


def still(output):
    """An output as it is read: a question becomes its answers, a bar that has run through becomes None."""
    data = output.get("data", {})
    said = "".join(data.get("text/plain", ""))
    if not said.startswith(PANEL) or any(kind in data for kind in PICTURES):
        return output
    said = said.removeprefix(PANEL).strip()
    if answers := re.fullmatch(r"The answers to choose from: (.*)\.", said, re.DOTALL):
        shown = "To choose from: " + " ".join(f"<span>{escape(one)}</span>" for one in answers[1].split("; "))
    else:
        shown = escape(f"A panel in the notebook. {said}")
    return output | {"data": {"text/html": f'<p class="asked">{shown}</p>'}} if said else None


def words_for_reading(text, page, pages, repository):
    """Markdown as the site shows it. page: its path in the course; pages: the paths of all; repository: an address, or None."""

    def link(found):
        words, path, place = found.groups()
        goal = os.path.normpath(Path(page).parent / path)
        if goal in pages:
            return found.group()
        return f"[{words}]({repository}/{goal}{place or ''})" if repository else words

    text = LINK.sub(link, text if repository else BADGE.sub("", text).replace(BADGES[1], ""))
    text = text.replace(
        "```mermaid", "```text"
    )  # drawn on GitHub; here as its words, for no script is fetched to draw it
    return f"---\norphan: true\n---\n{text}" if page.startswith("benchmarks/results/") else text  # no place in the menu


def for_reading(notebook, page, pages, repository):
    """A notebook (a dict in nbformat 4) as the site shows it; the given one is changed and returned."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = words_for_reading("".join(cell["source"]), page, pages, repository)
            continue
        shown = cell["metadata"].setdefault("mystnb", {})
        if title := FOLDED.match("".join(cell["source"])):
            cell["metadata"]["tags"] = ["hide-input"]
            shown["code_prompt_show"] = shown["code_prompt_hide"] = title[1]
        cell["outputs"] = [kept for kept in map(still, cell.get("outputs", [])) if kept]
        if texts := alt_texts(cell):
            shown["image"] = {"alt": " ".join(texts).replace("\n", " ")}
    return notebook


def lay_out(folder, repository, draws=DRAWS):
    """Write what Sphinx reads into a new folder. draws: where the page that draws is, if it has been built."""
    shutil.copytree(ROOT / "site", folder, ignore=shutil.ignore_patterns("build", "requirements.txt"))
    if draws.is_dir():
        front = folder / "index.md"
        front.write_text(front.read_text(encoding="utf-8").replace(*TO_THE_PAGE), encoding="utf-8")
    pages = {str(file.relative_to(ROOT)) for pattern in PAGES for file in ROOT.glob(pattern) if file.is_file()}
    for page in sorted(pages):
        file, goal = ROOT / page, folder / page
        goal.parent.mkdir(parents=True, exist_ok=True)
        if goal.suffix == ".md":
            goal.write_text(
                words_for_reading(file.read_text(encoding="utf-8"), page, pages, repository), encoding="utf-8"
            )
        elif goal.suffix == ".ipynb":
            notebook = for_reading(json.loads(file.read_text(encoding="utf-8")), page, pages, repository)
            goal.write_text(json.dumps(notebook), encoding="utf-8")
        else:
            shutil.copy(file, goal)


def put_page(draws, goal):
    """Copy the page that draws into the built site; the name of the course leads from there to the front."""
    shutil.copytree(draws, goal)
    front = goal / "index.html"
    text, found = re.subn(
        "(<cite>.*?</cite>)", r'<a href="../index.html">\1</a>', front.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    if found != 1:
        raise ValueError(
            f"{draws / 'index.html'} names the course {found} times, not once: the page would lead nowhere"
        )
    front.write_text(text, encoding="utf-8")


def build(builder="html", folder=ROOT / "site" / "build"):
    """Let Sphinx build the site there, with one of its builders. Returns its exit status: 0 only without a single warning."""
    from sphinx.cmd.build import main as sphinx

    repo, tag = address()
    sources = folder / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(sources, None if repo == PLACEHOLDER else f"https://github.com/{repo}/blob/{tag}")
    options = ["-q", "-W", "--keep-going", "-b", builder, "-d", str(folder / "doctrees")]
    failed = sphinx([*options, str(sources), str(folder / builder)])
    if builder == "html" and DRAWS.is_dir():
        put_page(DRAWS, folder / builder / "draw")
    return failed


if __name__ == "__main__":
    failed = build(*sys.argv[1:2])
    if not failed and len(sys.argv) == 1:
        print("The site: open site/build/html/index.html")
    sys.exit(failed)
