"""The page in a real browser: draws what `generate` draws, can be stopped, works by keyboard, on a phone, offline."""

import io
import json
import random
import re
import shutil
import statistics
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urljoin

import numpy as np
import psutil
import pytest
from axe import assert_no_faults
from PIL import Image

from helpers import generate
from helpers.conditioning import too_long
from helpers.files import make_folder
from helpers.library import brought_in
from helpers.panels.sampling import parameters
from helpers.postcards import caption, sample_scene
from helpers.postcards.judge import load_judge
from tools import web
from tools.setup_cell import ROOT
from tools.web import WEB, server

SECONDS = 120_000  # milliseconds to wait for a picture, on a machine with much else to do
PIXELS = """() => {
  const canvas = document.getElementById("picture");
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
SMALL = """() => [...document.querySelectorAll("button, input, select, textarea")].filter(
  (one) => one.offsetParent && Math.min(one.offsetWidth, one.offsetHeight) < 24).map((one) => one.outerHTML)"""
WIDEST = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def page(browser, address):
    """A page that nobody has used, its model loaded; what it asks other machines for, and its errors, fail the test."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    asked, problems = [], []
    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.on("console", lambda said: said.type == "error" and problems.append(said.text))
    page.goto(address)
    ready(page)
    yield page
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    assert problems == []
    context.close()


def ready(page):
    page.wait_for_function("() => document.getElementById('line').textContent === 'Ready.'")


def fill(page, **settings):
    """Set controls, in this order: another variant brings its own steps and guidance with it."""
    for name, value in settings.items():
        if name in ("variant", "lora"):
            page.select_option(f"#{name}", value)
        else:
            page.fill(f"#{name}", str(value))


def values(page, *names):
    return [page.input_value(f"#{name}") for name in names]


def draw(page, **settings):
    """Draw, and wait for the picture: an (H, W, 3) array."""
    fill(page, **settings)
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('cancel').disabled")
    assert page.inner_text("#line").startswith("Done"), page.inner_text("#problem") or page.inner_text("#line")
    return pixels(page)


def pixels(page):
    return np.array(page.evaluate(PIXELS), np.uint8).reshape(128, 128, 4)[..., :3]


def asked_for():
    """20 prompts and settings."""
    rng = random.Random(5)
    special = [
        dict(prompt=""),
        dict(prompt="\N{ROCKET} caf\u00e9"),
        dict(prompt="a <teal> boat"),
        dict(negative_prompt="rain"),
        dict(guidance=1),
    ]
    common = [
        dict(
            prompt=caption(sample_scene(rng), rng),
            negative_prompt="",
            steps=2 + i % 4,
            guidance=3 + i % 3,
            seed=1000 * i,
        )
        for i in range(20)
    ]
    return [one | (special[i] if i < len(special) else {}) for i, one in enumerate(common)]


def test_a_page_begins_with_the_fast_model_and_draws_what_it_draws(page, fast):
    """Six prompts at its own settings, a new word, nothing and odd letters among them."""
    assert values(page, "variant", "steps", "guidance") == ["fast", str(fast.steps), "1"] == ["fast", "8", "1"]
    rng = random.Random(7)
    prompts = ["a <teal> boat", "", "\N{ROCKET} caf\u00e9", *(caption(sample_scene(rng), rng) for _ in range(3))]
    for seed, prompt in enumerate(prompts, 40):
        mine, torchs = draw(page, prompt=prompt, seed=seed), np.asarray(generate(fast, prompt, seed=seed), int)
        assert np.abs(mine - torchs).max() <= 2, prompt


def test_twenty_pictures_equal_generates(page, c):
    fill(page, variant="plain")
    for settings in asked_for():
        mine, torchs = draw(page, **settings), np.asarray(generate(c, **settings), int)
        assert np.abs(mine - torchs).max() <= 2, settings


@pytest.mark.parametrize("variant, steps", [("fast", 8), ("plain", 12)])
def test_the_judge_finds_as_much_in_the_pages_pictures(page, c, fast, variant, steps):
    """100 prompts, the plain model at half its steps: what is named is there as often as in `generate`'s pictures."""
    rng = random.Random(6)
    prompts = [caption(sample_scene(rng), rng) for _ in range(100)]
    model = {"fast": fast, "plain": c}[variant]
    fill(page, variant=variant, steps=steps)
    mine = [Image.fromarray(draw(page, prompt=prompt, seed=seed)) for seed, prompt in enumerate(prompts)]
    torchs = [generate(model, prompt, steps=steps, seed=seed) for seed, prompt in enumerate(prompts)]
    judge = load_judge(c.path / "judge")
    here, there = (judge.agreement(pictures, prompts)["mean"] for pictures in (mine, torchs))
    wrong = judge.agreement(mine, prompts[1:] + prompts[:1])["mean"]  # the control: each beside another's prompt
    print(
        f"{variant}: named and there, of {here.n}: page {here.right:.1%}, generate {there.right:.1%}, "
        f"another's prompt {wrong.right:.1%}"
    )
    assert here.n == there.n > 500 and abs(here.right - there.right) * here.n <= 3
    assert wrong.right < here.right - 0.2


@pytest.mark.parametrize("variant", ["fast", "plain"])
def test_a_picture_takes_a_few_times_torchs_time(page, c, fast, variant):
    """In turn, on the same machine; the ratio is of one thread each where OMP_NUM_THREADS=1, as in make test-browser."""
    settings, page_s, torch_s = dict(prompt="a red boat on a lake", steps=8), [], []
    model = {"fast": fast, "plain": c}[variant]
    fill(page, variant=variant)
    for seed in range(5):
        for took, one in (
            (page_s, lambda: draw(page, **settings, seed=seed)),
            (torch_s, lambda: generate(model, **settings, seed=seed)),
        ):
            started = time.perf_counter()
            one()
            took.append(time.perf_counter() - started)
    here, there = (statistics.median(took[1:]) for took in (page_s, torch_s))
    print(f"{variant}: {here:.2f} s in the page, {there:.2f} s in torch: {here / there:.1f} times")
    assert here < 10 * there


def held(browser):
    """Megabytes that the browser's pages hold in memory."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(psutil.Process(one["id"]).memory_info().rss for one in processes if one["type"] == "renderer") / 1e6


def test_memory_is_steady_over_fifty_pictures(page, browser):
    """The control: pictures that are kept, as a page that forgets nothing would, are seen by the same measure."""
    for seed in range(10):
        draw(page, steps=2, seed=seed)
    before = held(browser)
    for seed in range(50):
        draw(page, prompt=f"a red boat on a lake, {seed}", steps=2, seed=seed)
    after = held(browser)
    page.evaluate("() => { window.kept = Array.from({ length: 50 }, () => new Uint8Array(3 * 2 ** 20).fill(1)); }")
    leaked = held(browser)
    print(f"{before:.0f} MB after 10 pictures, {after:.0f} MB after 60, {leaked:.0f} MB with 150 MB kept")
    assert after - before < 60 < leaked - after


def test_a_concept_at_a_strength(page, c):
    """It was made for the plain model, which a reader who picks it gets with it, and is told so."""
    assert page.input_value("#variant") == "fast" and page.locator("#lora_strength").is_disabled()
    page.select_option("#lora", "windmill")
    assert "plain model is chosen" in page.inner_text("#line")
    assert values(page, "variant", "steps", "guidance") == ["plain", "25", "3"]
    prompt = "a white windmill in a meadow by day"
    mine = draw(page, prompt=prompt, steps=4, seed=3, lora_strength=0.75)
    model, _ = brought_in(c, [(ROOT / "concepts" / "windmill", 0.75)])
    assert np.abs(mine - np.asarray(generate(model, prompt, steps=4, seed=3), int)).max() <= 2
    page.select_option("#lora", "")
    assert page.locator("#lora_strength").is_disabled()
    assert np.abs(draw(page) - np.asarray(generate(c, prompt, steps=4, seed=3), int)).max() <= 2


def test_the_fast_model_gives_up_what_it_has_no_use_for_and_it_says_so(page, fast):
    """From the plain model with all settings to the fast one, whose picture is that of `generate`, and back."""
    fill(page, variant="plain", guidance=7.5, negative_prompt="rain", lora="windmill")
    fill(page, variant="fast")
    assert values(page, "steps", "guidance", "negative_prompt", "lora") == ["8", "1", "", ""]
    assert page.locator("#guidance").is_disabled() and page.locator("#negative_prompt").is_disabled()
    assert page.inner_text("#given_up") == (
        "The fast model has guidance 3 in it. For another guidance or a negative prompt take the plain model; "
        "a concept takes it by itself."
    )
    mine = draw(page, seed=9)
    assert np.abs(mine - np.asarray(generate(fast, "a red boat on a lake", seed=9), int)).max() <= 2
    fill(page, variant="plain")
    assert values(page, "steps", "guidance") == ["25", "3"]
    assert page.locator("#guidance").is_enabled() and page.locator("#negative_prompt").is_enabled()
    assert page.locator("#given_up").is_hidden()


@pytest.mark.parametrize(
    "link, mended",
    [
        ({"guidance": 3}, {"guidance": 1}),
        ({"negative_prompt": "rain"}, {"negative_prompt": ""}),
        ({"guidance": 4.5}, {"variant": "plain"}),
        ({"lora": "windmill"}, {"lora": ""}),
        ({"lora": "windmill"}, {"variant": "plain"}),
    ],
)
def test_what_a_link_asks_the_fast_model_in_vain_is_a_sentence_and_can_be_mended(page, address, link, mended):
    """`generate` refuses the same."""
    page.goto(f"{address}#{urlencode(link)}")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    said = page.inner_text("#problem")
    assert ("LoRAs were made for the plain" if "lora" in link else "cannot draw with a guidance or a negative") in said
    assert re.fullmatch(r"[A-Z][^.]*\.", said)
    page.click("#draw")
    assert page.inner_text("#problem") == said
    assert page.locator("#cancel").is_disabled() and page.locator("#save").is_disabled()
    draw(page, **mended, steps=2)
    assert page.inner_text("#problem") == ""


def test_a_strength_is_asked_for_only_where_there_is_a_concept(page, address):
    """Its field is closed where there is none, so nobody could mend it."""
    fill(page, lora="windmill", lora_strength="", steps=2)
    page.click("#draw")
    assert page.inner_text("#problem").startswith("The strength must be a number")
    assert page.locator("#lora_strength").is_enabled()
    draw(page, lora="")
    assert page.inner_text("#problem") == "" and page.locator("#lora_strength").is_disabled()
    assert "lora_strength" not in page.url
    page.goto(f"{address}#lora_strength=abc")
    page.wait_for_function("() => document.getElementById('lora_strength').value === ''")
    draw(page, steps=2)
    assert page.inner_text("#problem") == ""


def test_a_link_to_a_model_that_is_not_there_can_be_mended_where_there_is_one_alone(browser, address, exported):
    facts = json.loads((exported / "facts.json").read_text(encoding="utf-8"))
    del facts["models"]["fast"]
    page = browser.new_page(service_workers="block")
    page.set_default_timeout(SECONDS)
    page.route("**/model/facts.json", lambda route: route.fulfill(json=facts))
    page.goto(address)
    ready(page)
    assert page.locator("#variant").is_hidden()
    page.goto(f"{address}#variant=fast")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    assert page.inner_text("#problem") == 'There is no model called "fast" here: use plain.'
    draw(page, variant="plain", steps=2)
    assert page.locator("#variant").is_hidden()
    page.close()


def test_500_words_are_cut_and_it_says_so(page, fast):
    prompt = "red boat " * 250
    mine = draw(page, prompt=prompt, steps=2)
    assert too_long(fast, prompt) in page.inner_text("#line")
    with pytest.warns(UserWarning, match="the model reads"):
        assert np.abs(mine - np.asarray(generate(fast, prompt, steps=2, seed=0), int)).max() <= 2


@pytest.mark.parametrize(
    "field, value", [("steps", "0"), ("steps", "many"), ("guidance", "-1"), ("seed", "1.5"), ("seed", "")]
)
def test_bad_settings_are_a_sentence_and_draw_nothing(page, field, value):
    fill(page, **({"variant": "plain"} if field == "guidance" else {}) | {field: value})
    page.click("#draw")
    assert re.fullmatch(r"[A-Z][^.]*(\d\.\d[^.]*)?\.", page.inner_text("#problem"))
    assert page.locator("#cancel").is_disabled() and page.locator("#save").is_disabled()
    draw(page, **({"steps": 2} | {field: 2}))  # and it goes on
    assert page.inner_text("#problem") == ""


@pytest.mark.parametrize(
    "missing, said",
    [
        ("model/facts.json", "The file facts.json of the model could not be loaded: load the page anew, online."),
        ("runtime/ort.wasm.min.mjs", "This browser cannot run the model, or a file of the page is missing: load it "),
    ],
)
def test_where_the_model_could_not_be_loaded_draw_says_so_again(browser, address, missing, said):
    page = browser.new_page(service_workers="block")
    page.set_default_timeout(SECONDS)
    page.route(f"**/{missing}", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    first = page.inner_text("#problem")
    page.click("#draw")
    assert first.startswith(said) and page.inner_text("#problem") == first and page.inner_text("#line") == ""
    page.close()


def test_cancel_keeps_the_last_picture_and_draws_again(page):
    before = draw(page, steps=2, seed=1)
    fill(page, steps=50, seed=2)
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('count').textContent.startsWith('Step')")
    page.click("#cancel")
    page.wait_for_function("() => document.getElementById('line').textContent.startsWith('Cancelled after')")
    assert int(re.search(r"after (\d+)", page.inner_text("#line"))[1]) < 50
    assert np.array_equal(pixels(page), before)
    assert not np.array_equal(draw(page, steps=2, seed=2), before)


def test_cancel_and_another_drawing_do_not_wait_for_a_file(browser, address):
    """The plain U-Net is held back; when it has come, it draws."""
    page, held = browser.new_page(service_workers="block"), []
    page.set_default_timeout(SECONDS)
    page.route("**/model/unet.onnx", lambda route: held.append(route))
    page.goto(address)
    ready(page)
    fill(page, variant="plain", steps=2)
    with page.expect_request("**/model/unet.onnx"):
        page.click("#draw")
    page.click("#cancel")
    page.wait_for_function("() => document.getElementById('line').textContent.startsWith('Cancelled after 0 steps')")
    fast = draw(page, variant="fast", steps=2)
    held[0].continue_()
    assert not np.array_equal(draw(page, variant="plain", steps=2), fast)
    assert len(held) == 1 and "Loaded" not in page.inner_text("#count")
    page.close()


def test_a_file_that_did_not_come_is_not_counted_twice(browser, address, exported):
    """The plain U-Net comes at the second try only; how much there is to load is its size and that of what came before."""
    page, asked = browser.new_page(service_workers="block"), []
    page.set_default_timeout(SECONDS)

    def answer(route):
        asked.append(route)
        route.continue_() if len(asked) > 1 else route.fulfill(status=404)

    page.route("**/model/unet.onnx", answer)
    page.goto(address)
    ready(page)
    page.evaluate("""() => {
      window.said = []
      const count = document.getElementById("count")
      new MutationObserver(() => window.said.push(count.textContent)).observe(count, { childList: true })
    }""")
    fill(page, variant="plain", steps=2)
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    draw(page)
    sizes = json.loads((exported / "facts.json").read_text(encoding="utf-8"))["sizes"]
    whole = sum(sizes[f"{name}.onnx"] for name in ("text_encoder", "unet-fast", "decoder", "unet"))
    said = [one for one in page.evaluate("() => window.said") if one.startswith("Loaded")]
    assert {re.search(r"of (.*) MB", one)[1] for one in said} == {f"{whole / 1e6:.1f}"} and len(asked) == 2
    page.close()


def test_the_latest_request_wins(page, fast):
    fill(page, steps=50, seed=2)
    page.click("#draw")
    mine = draw(page, steps=2, seed=3)
    assert np.abs(mine - np.asarray(generate(fast, "a red boat on a lake", steps=2, seed=3), int)).max() <= 2


def test_by_keyboard_alone(page):
    while page.evaluate("() => document.activeElement.id") != "prompt":
        page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("a blue tent")
    page.keyboard.press("Tab")  # what the model has seen
    page.keyboard.press("Tab")  # the first chip
    page.keyboard.press("Enter")
    chip = page.evaluate("() => document.activeElement.textContent")
    assert page.input_value("#prompt") == f"a blue tent {chip}"
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => !document.getElementById('cancel').disabled")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('line').textContent.startsWith('Cancelled')")


@pytest.mark.parametrize("variant", ["fast", "plain"])
def test_a_word_shows_where_it_was_read_and_leaves_the_picture_as_it_was(page, variant):
    drawn = draw(page, variant=variant, prompt="a red boat on a lake", steps=4)
    words = page.locator("#read button")
    assert words.all_text_contents() == ["a", "red", "boat", "on", "a", "lake"]
    words.nth(2).hover()
    boat = pixels(page)
    words.nth(5).hover()
    lake = pixels(page)
    assert (boat <= drawn).all() and boat.mean() < 0.8 * drawn.mean() and not np.array_equal(boat, lake)
    page.mouse.move(0, 0)
    assert np.array_equal(pixels(page), drawn)
    words.nth(2).focus()
    assert np.array_equal(pixels(page), boat)


def test_a_word_of_the_last_picture_does_not_paint_over_the_new_one(page):
    """The words go when the new picture comes, the one with the focus too, and hear that they lose it."""
    asked = dict(prompt="a green tent in the desert by night", steps=20, seed=9)
    wanted, word = draw(page, **asked), page.locator("#read button").nth(2)
    for way in ("clicked while it is drawn", "hovered over while it is drawn", "focused before"):
        first = draw(page, prompt="a red boat on a lake", steps=2, seed=1)
        fill(page, **asked)
        if way == "focused before":
            word.focus()
            page.keyboard.press("Control+Enter")
        else:
            page.click("#draw")
            word.click() if way.startswith("clicked") else word.hover()
        assert page.locator("#cancel").is_enabled() and not np.array_equal(pixels(page), first), "too late to be tried"
        page.wait_for_function("() => document.getElementById('cancel').disabled")
        assert np.array_equal(pixels(page), wanted), way
        page.mouse.move(0, 0)
        assert np.array_equal(pixels(page), wanted), way


RAIN = dict(negative_prompt="rain", guidance=2.5)


@pytest.mark.parametrize(
    "variant, own, model",
    [
        ("fast", {}, dict(negative_prompt="", guidance=1.0, model="postcard-fast")),
        ("plain", RAIN, RAIN | dict(model="postcard")),
    ],
)
def test_download_holds_the_settings(page, variant, own, model):
    drawn = draw(page, variant=variant, prompt="a red boat: \N{ROCKET}", steps=2, seed=5, **own)
    with page.expect_download() as coming:
        page.click("#save")
    assert coming.value.suggested_filename == "a red boat seed 5.png"
    picture = Image.open(coming.value.path())
    settings = dict(prompt="a red boat: \N{ROCKET}", steps=2, scheduler="ddim", seed=5) | model
    order = "prompt", "negative_prompt", "steps", "guidance", "scheduler", "seed", "model"
    settings = {name: settings[name] for name in order}
    picture.load()
    assert picture.info["parameters"] == parameters(picture, settings)
    assert np.array_equal(np.asarray(picture), drawn)


def test_the_name_of_a_download_ends_with_a_whole_letter(page):
    letter = "\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL A}"
    draw(page, prompt="a" + letter * 60, steps=1)
    with page.expect_download() as coming:
        page.click("#save")
    assert coming.value.suggested_filename == f"a{letter * 39} seed 0.png"


@pytest.mark.parametrize(
    "variant, own",
    [
        ("fast", {}),
        ("plain", dict(negative_prompt="mist", steps=3, guidance=4.5)),
        ("plain", dict(lora="windmill", lora_strength=-0.5, steps=3)),
    ],
)
def test_a_link_draws_the_same_picture_elsewhere(page, address, variant, own):
    drawn = draw(page, variant=variant, prompt="a pink house & 1 + 1 = #2", seed=6, **own)
    other = page.context.browser.new_page()
    other.goto(page.url)
    other.wait_for_function("() => document.getElementById('prompt').value !== ''", timeout=SECONDS)
    assert np.array_equal(draw(other), drawn)
    assert other.input_value("#variant") == variant
    other.goto(f"{address}#{urlencode({'steps': 99, 'colour': 'red'})}")
    other.wait_for_function("() => document.getElementById('problem').textContent.includes('99')")
    assert "colour" in other.inner_text("#problem")
    other.close()


@pytest.mark.parametrize("first, later", [("", "index.html"), ("index.html", "")])
def test_offline_after_the_first_visit(browser, exported, first, later):
    """The server is gone; what was loaded is enough, and a model that was never drawn with is said to be missing."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    with server(web.build(), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/"
        page.goto(address + first)
        ready(page)
        drawn = draw(page, steps=2)
        running.shutdown()
    page.reload()
    ready(page)
    page.goto(address + later)
    ready(page)
    assert np.array_equal(draw(page, steps=2), drawn)
    fill(page, variant="plain", steps=2)
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    said = page.inner_text("#problem")
    assert said == "The file unet.onnx of the model could not be loaded: load the page anew, online."
    assert np.array_equal(draw(page, variant="fast", steps=2), drawn)
    context.close()


class Deployed(web.Handler):
    """Serves what lies in `folder` now, and lets a browser keep it for ten minutes, as many a host does."""

    folder = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, directory=Deployed.folder, **options)

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()


@pytest.fixture
def deployed(browser, exported, tmp_path):
    """(a page of a new context, where the page that draws is, deploy(): puts another version there, returns its mark)."""
    parts, context = web.found_parts(), browser.new_context()

    def deploy():
        """Its code and its plain U-Net are other bytes each time, and mean the same."""
        folder = tmp_path / web.version(parts)
        for name, more in {"page.mjs": b"// new\n", "model/unet.onnx": b"\x32\x03new"}.items():  # a field for comments
            changed = make_folder(folder) / Path(name).name
            changed.write_bytes(parts[name].read_bytes() + more)
            parts[name] = changed
        web.put(parts, folder / "site" / "draw")
        (folder / "site" / "front.html").write_text("<!doctype html><title>The site</title>")
        Deployed.folder = folder / "site"
        return re.search('src="(.*?)/', (folder / "site" / "draw" / "index.html").read_text("utf-8"))[1]

    page = context.new_page()
    page.set_default_timeout(SECONDS)
    with ThreadingHTTPServer(("127.0.0.1", 0), Deployed) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield page, f"http://127.0.0.1:{running.server_port}/", deploy
        running.shutdown()
    context.close()


def versions(page):
    """The marks of all that the open page was made of."""
    names = page.evaluate("() => performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    return {name.split("/")[2] for name in names if name.startswith("/draw/")} - {"sw.js"}


def become(page, what, wanted):
    """Wait until what a page finds out is this; `wait_for_function` does not wait for promises."""
    end = time.monotonic() + SECONDS / 1000
    while (found := page.evaluate(what)) != wanted and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert found == wanted


def only(page, mark, *places):
    """Wait until this version alone is kept, of the pages at these places of the site."""
    kept = [f"postcards {urljoin(page.url, f'/{place}/')} {mark}" for place in places or ["draw"]]
    become(page, "async () => (await caches.keys()).sort()", sorted(kept))


def test_who_comes_back_after_a_deployment_gets_the_new_version_at_the_visit_after_that(deployed):
    page, address, deploy = deployed
    old = deploy()
    page.goto(f"{address}draw/")
    ready(page)
    new = deploy()
    page.goto(f"{address}draw/")
    ready(page)
    assert versions(page) == {old}
    become(page, "async () => (await navigator.serviceWorker.getRegistration()).waiting?.state", "installed")
    page.goto(f"{address}front.html")
    only(page, new)
    page.goto(f"{address}draw/")
    ready(page)
    assert versions(page) == {new}


def test_two_copies_under_one_address_leave_each_other_what_they_keep(deployed):
    page, address, deploy = deployed
    mark = deploy()
    shutil.copytree(Deployed.folder / "draw", Deployed.folder / "copy")
    for place in ("draw", "copy"):
        page.goto(f"{address}{place}/")
        ready(page)
    only(page, mark, "draw", "copy")


def test_a_page_is_not_given_a_file_of_another_version_and_loaded_anew_it_is_the_new_one(deployed):
    page, address, deploy = deployed
    old = deploy()
    page.goto(f"{address}draw/")
    ready(page)
    drawn = draw(page, steps=2)
    new = deploy()
    fill(page, variant="plain", steps=2)
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    said = page.inner_text("#problem")
    assert said == "The file unet.onnx of the model could not be loaded: load the page anew, online."
    assert versions(page) == {old} and np.array_equal(draw(page, variant="fast", steps=2), drawn)
    only(page, new)
    page.reload()
    ready(page)
    assert versions(page) == {new}
    draw(page, variant="plain", steps=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser, address, scheme):
    """Nothing is wider than the screen, and what is tapped is large enough."""
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.set_default_timeout(SECONDS)
    page.goto(address)
    ready(page)
    draw(page, steps=2)
    assert page.evaluate(WIDEST) == 0
    assert page.evaluate(SMALL) == []
    for prompt in ("a boat " + "x" * 60, "x" * 600):  # a word to hover over, a sentence on what was cut
        draw(page, prompt=prompt)
        assert page.evaluate(WIDEST) == 0, prompt
    page.goto(f"{address}#{'x' * 60}=1")
    page.wait_for_function("() => document.getElementById('problem').textContent !== ''")
    assert page.evaluate(WIDEST) == 0
    assert Image.open(io.BytesIO(page.screenshot(full_page=True))).width == 360
    page.close()


def test_everything_has_a_name(page):
    """What a screen reader says: no control, picture or bar without a name, one heading of the first level."""
    tree = page.locator("body").aria_snapshot()
    kinds = "button|textbox|combobox|img|progressbar|group|region"
    assert [line for line in tree.splitlines() if re.match(rf'\s*- ({kinds})(?! ")', line)] == []
    assert tree.count("[level=1]") == 1 and page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("drawn", [False, True])
def test_axe_finds_no_serious_fault(page, drawn):
    """axe-core's rules for WCAG 2.2 A and AA; the control is a picture without words, which it has to find."""
    axe = WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.fail("axe-core is missing: run npm ci in web/.")
    if drawn:
        draw(page, steps=2)
    page.evaluate(axe.read_text(encoding="utf-8"))
    assert_no_faults(page)


def test_colours_are_read_well_in_light_and_dark():
    """WCAG 2.2: text at least 4.5 to 1 against what is behind it, borders of controls 3 to 1."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    def contrast(*colours):
        dark, light = sorted(map(luminance, colours))
        return (light + 0.05) / (dark + 0.05)

    css = (WEB / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{([^}]*)\}", css)
    schemes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(schemes) == 2
    for colours in schemes:
        for pair in ("ink page", "soft page", "ink field", "bad page", "on-accent accent"):
            assert contrast(*(colours[name] for name in pair.split())) >= 4.5, pair
        assert contrast(colours["line"], colours["page"]) >= 3 and contrast(colours["line"], colours["field"]) >= 3
