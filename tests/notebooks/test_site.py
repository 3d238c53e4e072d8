"""What `make site` lays out for Sphinx (the building itself is run by CI): every page, and no word or picture lost."""

import json
import re
import shutil

import pytest

from tools.site import BADGE, LINK, PANEL, ROOT, TO_THE_PAGE, alt_texts, lay_out, put_page, still

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(file):
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def test_every_lesson_stands_there_with_the_words_of_its_pictures(tmp_path):
    lay_out(tmp_path / "sources", None)
    assert len(LESSONS) == 5
    for lesson in LESSONS:
        laid = cells_of(tmp_path / "sources" / "notebooks" / lesson.name)
        for before, after in zip(cells_of(lesson), laid, strict=True):
            assert before["cell_type"] == after["cell_type"]
            assert [kept for kept in map(still, before.get("outputs", [])) if kept] == after.get("outputs", [])
            if texts := alt_texts(before):
                said = after["metadata"]["mystnb"]["image"]["alt"]
                assert all(" ".join(text.split()) in " ".join(said.split()) for text in texts)
            title = "".join(before["source"]).partition("\n")[0]
            assert ("hide-input" in after["metadata"].get("tags", [])) == title.startswith("# @title ")
        assert sum(bool(alt_texts(cell)) for cell in laid) >= 10


def test_a_panel_is_its_still_a_question_its_answers_and_a_bar_is_gone():
    def panel(words, **more):
        return {
            "output_type": "execute_result",
            "metadata": {},
            "data": {"text/plain": [f"{PANEL} {words}".strip()], **more},
        }

    picture, other = panel("", **{"image/png": "x"}), {"output_type": "stream", "name": "stdout", "text": [PANEL]}
    assert still(picture) == picture and still(other) == other and still(panel("")) is None
    assert still(panel("The answers to choose from: a < b; neither."))["data"] == {
        "text/html": '<p class="asked">To choose from: <span>a &lt; b</span> <span>neither</span></p>'
    }
    assert "A panel in the notebook. Controls: seed." in still(panel("Controls: seed."))["data"]["text/html"]


def test_a_link_leads_to_a_page_or_the_repository_or_is_plain_words(tmp_path):
    lay_out(tmp_path / "plain", None)
    lay_out(tmp_path / "published", "https://github.com/somebody/course/blob/main")
    for kind in ("plain", "published"):
        for page in (tmp_path / kind).rglob("*.md"):
            for _, path, _ in LINK.findall(page.read_text(encoding="utf-8")):
                assert (page.parent / path).exists(), (page, path)
    kernel = (tmp_path / "plain" / "docs" / "kernel.md").read_text(encoding="utf-8")
    assert "helpers/kernel.py" in kernel and "](../helpers" not in kernel
    there = (tmp_path / "published" / "docs" / "kernel.md").read_text(encoding="utf-8")
    assert "](https://github.com/somebody/course/blob/main/helpers/kernel.py)" in there


def test_badges_stand_only_where_they_lead_somewhere(tmp_path):
    lay_out(tmp_path / "plain", None)
    lay_out(tmp_path / "published", "https://github.com/somebody/course/blob/main")
    lesson = LESSONS[0].name
    assert BADGE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert not re.search("colab-badge", (tmp_path / "plain" / "README.md").read_text(encoding="utf-8"))
    assert "colab-badge" not in (tmp_path / "plain" / "notebooks" / lesson).read_text(encoding="utf-8")
    assert "colab-badge" in (tmp_path / "published" / "notebooks" / lesson).read_text(encoding="utf-8")


def test_the_front_leads_to_the_page_that_draws_where_there_is_one(tmp_path):
    (tmp_path / "dist").mkdir()
    lay_out(tmp_path / "with", None, tmp_path / "dist")
    lay_out(tmp_path / "without", None, tmp_path / "none")
    assert TO_THE_PAGE[0] in (ROOT / "site" / "index.md").read_text(encoding="utf-8")
    assert TO_THE_PAGE[1] in (tmp_path / "with" / "index.md").read_text(encoding="utf-8")
    assert 'href="draw/"' in TO_THE_PAGE[1]  # the one address that is kept for use without a network
    assert "draw/" not in (tmp_path / "without" / "index.md").read_text(encoding="utf-8")


def test_the_page_that_draws_leads_back_to_the_course(tmp_path):
    (tmp_path / "dist").mkdir()
    shutil.copy(ROOT / "web" / "index.html", tmp_path / "dist")
    put_page(tmp_path / "dist", tmp_path / "draw")
    page, plain = ((folder / "index.html").read_text(encoding="utf-8") for folder in (tmp_path / "draw", ROOT / "web"))
    assert page.count('<a href="../index.html">') == 1 and 'href="../' not in plain
    assert re.sub("<a href=.*?>|</a>", "", page) == re.sub("<a href=.*?>|</a>", "", plain)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<p>Another page</p>")
    with pytest.raises(ValueError, match="names the course 0 times"):
        put_page(tmp_path / "other", tmp_path / "again")
