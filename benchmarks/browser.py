"""A panel's whole way in a real browser: from the key or the click, through the kernel, to the loaded
picture.

`benchmarks.panels --browser` uses it. The page itself holds the clock: it starts with the time stamp of the
first event after `arm`, and stops when a picture of the panel has loaded. Python only presses keys and waits.
JupyterLab, the notebooks' cells and the controls are handled by tools/browser, as in the browser tests.
"""

import contextlib
import importlib.util
import random
import tempfile
import time
from pathlib import Path

from benchmarks.lessons import code_cells, pictured
from benchmarks.timing import CLICKS, FINISHED, LIVE, LONGEST, TEXTS, TYPED, TYPING, Timing, kind_of, name_of
from helpers.panels.sampling import PAUSE, LiveStudio
from tools.browser import found_browser
from tools.browser.lab import running_lab

CLOCK = """root => {
    const clock = window.clock = { least: 0, start: null, took: null, latest: null, stopped: () => {} }
    const begin = event => { clock.start ??= event.timeStamp }
    for (const kind of ['keydown', 'click', 'change']) root.addEventListener(kind, begin, true)
    root.addEventListener('load', event => {
        if (!event.target.matches('img.widget-image') || clock.start === null) return
        if (performance.now() - clock.start < clock.least) return
        clock.latest = performance.now() - clock.start
        if (clock.took !== null) return
        clock.took = clock.latest
        clock.stopped()
    }, true)
}"""
ARM = "() => { window.clock.start = window.clock.took = window.clock.latest = null }"
KEY = 60  # ms between two keys
AFTER = "least => { window.clock.least = least }"  # what comes sooner belongs to something before: milliseconds
LATEST = "() => window.clock.latest"
TOOK = """most => new Promise(answer => {
    window.clock.stopped = () => answer(window.clock.took)
    setTimeout(() => answer(null), most)
    if (window.clock.took !== null) answer(window.clock.took)
})"""
NO_PICTURE = 3000  # ms after which a move counts as one that changed no picture
BETWEEN = 60  # ms of rest after a move


def missing():
    """A sentence that says what is not there, or ""."""
    there = {
        "Chromium or Chrome": found_browser(),
        "the package playwright": importlib.util.find_spec("playwright"),
        "the package jupyterlab": importlib.util.find_spec("jupyterlab"),
    }
    lack = " and ".join(what for what, found in there.items() if not found)
    return f"Panels in a browser are not measured: this needs {lack} (`make test-browser`)." if lack else ""


def timings(files, moves):
    """A Timing for every panel with a picture in the notebooks. AssertionError with the error of a cell that
    fails."""
    from playwright.sync_api import sync_playwright

    found = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=found_browser(), args=["--disable-dev-shm-usage", "--disable-gpu"]
        )
        stack.callback(browser.close)
        address = stack.enter_context(running_lab(folder))
        for file in files:
            found += timings_of(browser, file, address(file.name), moves)
    return found


def timings_of(browser, file, address, moves):
    from tools.browser.lesson import Lesson

    makers = pictured(code_cells(file))
    if not makers:
        return
    lesson = Lesson(browser, file, address)
    lesson.run_what_panels_need()
    for i, maker in makers.items():
        panel = lesson.panel(lesson.code[i])
        panel.settled()
        panel.root.evaluate(CLOCK)
        times = clicked(panel, min(moves, CLICKS)) if kind_of(maker) == LIVE else moved(panel, moves)
        yield Timing(file.name[:2], name_of(maker), kind_of(maker), times)
        if maker is LiveStudio:
            for kind, times in zip((TYPING, FINISHED), typed(panel, min(moves, TEXTS))):
                yield Timing(file.name[:2], name_of(maker), kind, times)
    lesson.close()


def moved(panel, moves):
    """Seconds of each of so many moves that changed the picture."""
    rng, begun, times, tried = random.Random(0), time.monotonic(), [], 0
    controls = [one for one in panel.controls() if one.others()]
    while tried < moves and (3 * tried < moves or time.monotonic() - begun < 2 * LONGEST):
        tried += 1
        times += timed(panel, ready_to_move(rng.choice(controls), rng))
    if not times:
        raise RuntimeError("No move has changed the picture.")
    return times


def ready_to_move(control, rng):
    """What moves a control once, when it is called: a slider by one stop with an arrow key, others by the
    mouse.

    A line of text is typed now, and entered then.
    """
    if control.kind == "slider":
        low, high = (float(control.handle.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
        free = {"ArrowLeft": control.value > low, "ArrowRight": control.value < high}
        key = rng.choice([key for key in free if free[key]])
        return lambda: control.handle.press(key)
    if control.kind == "text":
        line = control.box.locator("input")
        line.press("Control+a")
        line.press_sequentially(rng.choice([one for one in TYPED if one != control.value]))
        return lambda: line.press("Enter")
    count = control.box.locator("option, button").count()
    other = rng.choice([i for i in range(count) if i != control.value])
    return lambda: control.move(other)


def timed(panel, act):
    """[seconds] from the first event of act() to the loaded picture; [] where no picture came."""
    page = panel.root.page
    page.evaluate(ARM)
    act()
    took = page.evaluate(TOOK, NO_PICTURE)
    page.wait_for_timeout(BETWEEN)
    return [] if took is None else [took / 1000]


def clicked(panel, clicks):
    """Seconds from Generate to the first live picture, each of so many clicks cancelled then."""
    times, (seed,) = [], (one for one in panel.controls() if one.name == "seed")
    for _ in range(clicks):
        seed.handle.press("ArrowRight")  # else the next picture could be the one that is shown
        times += timed(panel, panel.button("Generate").click)
        panel.button("Cancel").click()
        panel.settled()
    return times


def typed(panel, texts):
    """(seconds to the first live picture, seconds to the finished one), a list each, of a studio that draws as the reader
    types: after the last key of each of so many texts, less the pause that it waits for."""
    page, first, finished = panel.root.page, [], []
    line = next(one for one in panel.controls() if one.name == "prompt").box.locator("input")
    panel.root.get_by_label("draw as I type").check()
    panel.settled()
    page.evaluate(AFTER, 1000 * PAUSE)
    for i in range(texts):
        line.press("Control+a")
        line.press_sequentially(TYPED[i % len(TYPED)], delay=KEY)
        page.evaluate(ARM)
        line.press("s" if i % 2 else "t")  # another text each time
        first.append(page.evaluate(TOOK, NO_PICTURE) / 1000 - PAUSE)
        panel.settled()
        finished.append(page.evaluate(LATEST) / 1000 - PAUSE)
    return first, finished
