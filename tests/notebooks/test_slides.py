"""tools.slides: the core path of every lesson, its questions and its pictures, and nothing of what can be skipped."""

import re
from html import unescape

import nbformat
import pytest

from tools import slides
from tools.asked import answers
from tools.setup_cell import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def pictures(cells):
    return [
        "".join(output.data[kind].split())
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
        for kind in slides.PICTURES
        if kind in output.get("data", {})
    ]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_slides_hold_the_core_path(file):
    lesson = nbformat.read(file, as_version=4)
    before = nbformat.writes(lesson)
    core, made = slides.core(lesson.cells), slides.slides(lesson)
    nbformat.validate(made)
    assert nbformat.writes(lesson) == before
    shown = [cell for cell in made.cells if cell.metadata.slideshow.slide_type != "notes"]
    assert re.findall(
        r'<img alt="[^"]+" src="data:image/[a-z]+;base64,([^"]+)">', "\n".join(cell.source for cell in shown)
    ) == pictures(core)
    assert 0 < len(pictures(core)) < len(pictures(lesson.cells))
    text = "\n".join(cell.source for cell in shown)
    headings = [
        heading
        for cell in core
        if cell.cell_type == "markdown"
        for heading in re.findall(r"^#+ (.+)", cell.source, re.MULTILINE)
    ]
    assert re.findall(r"^## (.+)", text, re.MULTILINE) == headings and not any(
        one.startswith("Further") for one in headings
    )
    assert len(headings) > 4 and "<details>" not in text and "colab.research" not in text
    for cell in core:
        if cell.cell_type == "code":
            assert all(f"- {one}" in text for offered in answers(cell.source) for one in offered)
            assert bool(answers(cell.source)) == ("= predict(" in cell.source)
    questions = sum(cell.source.count("**Predict.") for cell in core if cell.cell_type == "markdown")
    assert questions == text.count("**Predict.") > 0
    exercises = sum(
        len(re.findall(r"^\*\*Exercise \d", cell.source, re.MULTILINE)) for cell in core if cell.cell_type == "markdown"
    )
    assert exercises == len(re.findall(r"^\*\*Exercise \d", text, re.MULTILINE)) > 0
    assert all(cell.cell_type == "markdown" for cell in made.cells), "code belongs to the notebook"


def test_every_link_of_the_slides_leads_somewhere():
    """To what is in the course, seen from slides/, to the slides of a lesson, or out of it."""
    written, others = {f"{file.stem}.html" for file in NOTEBOOKS}, 0
    for file in NOTEBOOKS:
        text = "\n".join(cell.source for cell in slides.slides(nbformat.read(file, as_version=4)).cells)
        links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"#|[a-z]+:", link)]
        assert [link for link in links if link not in written and not (ROOT / link.removeprefix("../")).exists()] == []
        assert all(link in written or link.startswith("../") for link in links)
        others += sum(link in written for link in links)
    assert others > 3
    (cell,) = slides.of_markdown(
        "See [03](03_clip_conditioning.ipynb#The-mask) and [it](../notebooks/03_clip_conditioning.ipynb)."
    )
    assert cell.source == "See [03](03_clip_conditioning.html) and [it](../notebooks/03_clip_conditioning.ipynb)."


def test_the_page_keeps_the_words_for_pictures_and_finds_reveal_where_it_is_told_to(tmp_path, capsys, monkeypatch):
    lesson = nbformat.read(NOTEBOOKS[0], as_version=4)
    page, near = slides.page(lesson, title=NOTEBOOKS[0].stem), slides.page(lesson, "here")
    alt = next(
        output.metadata["image/png"]["alt"]
        for cell in slides.core(lesson.cells)
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {}) and "alt" in output.metadata.get("image/png", {})
    )
    assert alt.split('"')[0] in unescape(page) and "notes" in page
    fetched = r"<(?:script|link)[^>]*(?:src|href)=\"([^\"]+)\""
    assert {url.split("/")[2] for url in re.findall(fetched, page)} == {"unpkg.com", "cdnjs.cloudflare.com"}
    assert {url.split("/")[1] for url in re.findall(fetched, near)} == {
        "reveal.js",
        "mathjax",
    } and "<title>01_diffusion_process" in page
    assert all(url.startswith("here/") for url in re.findall(fetched, near)), "a room without a network"
    (tmp_path / "notebooks").mkdir()
    short = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# 09 Short\n\nOne. Two. Three."),
            nbformat.v4.new_markdown_cell("## Next\n\nThis.\n\n## Further: long\n\nNot this.\n\n## Last\n\nAnd this."),
        ]
    )
    nbformat.write(short, tmp_path / "notebooks" / "09_short.ipynb")
    (written,) = slides.write_slides(tmp_path)
    assert written == tmp_path / "slides" / "09_short.html" and "Not this" not in written.read_text()
    assert "<p>This." in written.read_text() and "And this" in written.read_text()
    assert slides.main(["--nonsense"]) == 2 and "make slides" in capsys.readouterr().err
