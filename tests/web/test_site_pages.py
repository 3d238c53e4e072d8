"""The site to read, in a real browser: no serious fault for who cannot see or use a mouse, formulas, search, nothing from elsewhere."""

import threading

import pytest
from axe import assert_no_faults

from tools.setup_cell import ROOT
from tools.web import WEB, server

SITE = ROOT / "site" / "build" / "html"
PAGES = [
    ("index.html", "light"),
    ("index.html", "dark"),
    ("README.html", "light"),
    ("notebooks/01_diffusion_process.html", "light"),
    ("notebooks/02_vae_latents.html", "dark"),
    ("docs/teaching.html", "light"),
    ("docs/ideas.html", "dark"),
]


@pytest.fixture(scope="module")
def site():
    """Where the site is served."""
    if not (SITE / "index.html").is_file():
        pytest.fail("The site is not built: run make site first, as make test-browser does.")
    with server(SITE, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture
def visit(browser, site):
    """visit(path, scheme): an open page of the site; what it asks other machines for fails the test."""
    asked, opened = [], []

    def visit(path, scheme="light"):
        page = browser.new_page(color_scheme=scheme)
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        opened.append(page)
        page.goto(site + path)
        return page

    yield visit
    for page in opened:
        page.close()
    assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []


@pytest.mark.parametrize("path, scheme", PAGES)
def test_axe_finds_no_serious_fault_on_the_site(visit, path, scheme):
    """As for the page that draws; the control is a picture without words."""
    page = visit(path, scheme)
    page.wait_for_load_state("networkidle")
    page.evaluate((WEB / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert_no_faults(page)


def test_formulas_are_drawn_and_pictures_have_words(visit):
    page = visit("notebooks/01_diffusion_process.html")
    page.wait_for_selector("mjx-container")
    page.wait_for_load_state("networkidle")
    assert page.locator("mjx-container").count() > 20 and page.locator("mjx-merror").count() == 0
    words = page.evaluate("() => [...document.querySelectorAll('article img')].map((one) => one.alt)")
    assert len(words) > 10 and all(len(one) > 20 for one in words)


def test_search_finds_a_word_in_its_lesson(visit):
    page = visit("search.html?q=reparameterisation")
    page.wait_for_selector("#search-results li a")
    assert any(
        "02_vae_latents" in link
        for link in page.evaluate("() => [...document.querySelectorAll('#search-results a')].map((one) => one.href)")
    )
    nothing = visit("search.html?q=qqqqq")
    nothing.wait_for_selector("text=did not match any documents")
    assert nothing.locator("#search-results li a").count() == 0


def test_the_front_leads_to_every_lesson_and_to_the_page_that_draws_where_it_is_built(visit):
    page = visit("index.html")
    links = page.evaluate("() => [...document.querySelectorAll('article a')].map((one) => one.getAttribute('href'))")
    assert {f"notebooks/{file.stem}.html" for file in ROOT.glob("notebooks/*.ipynb")} <= {
        link.split("#")[0] for link in links
    }
    assert ("draw/" in links) == (SITE / "draw" / "index.html").is_file()
    if "draw/" in links:
        page.click("article a[href='draw/']")
        page.wait_for_function("() => document.getElementById('line')?.textContent === 'Ready.'")
        assert page.locator("a[href='../index.html']").count() == 1
