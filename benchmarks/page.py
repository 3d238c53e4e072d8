"""The page that draws in a browser, from a bare load to pictures: seconds, and bytes that came over the network.

    python -m benchmarks.page [--rounds 7] [--further 4] [--quick]

Every round is a browser of its own that has kept nothing, and a server of its own on 127.0.0.1, so that everything is
loaded anew; the files themselves lie in the disk's cache. In turn the page draws with the fast model, which it begins
with, and with the plain one at its 25 steps. The page holds the clock: it starts with the navigation and stops at the
frame that shows the picture. Draw is pressed the moment that the page is ready. The page computes in WebAssembly with
one thread, whatever the machine has. Needs Chromium or Chrome, Node.js and pip install -e ".[test,web]".
"""

import contextlib
import importlib.util
import shutil
import statistics
import tempfile
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from benchmarks import draw, measure
from helpers.figures import style
from tools import web
from tools.browser import found_browser

VARIANTS = "fast", "plain"
DOWNLOAD = 32_000_000  # bytes: what is asked
CLOCK = """variant => {
  window.took = { ready: null, first: null, further: [] }
  const at = name => document.getElementById(name)
  const frame = () => new Promise(shown => requestAnimationFrame(() => setTimeout(shown)))
  const said = begins => new Promise(there => {
    const look = () => at("line").textContent.startsWith(begins) && (watcher.disconnect(), there())
    const watcher = new MutationObserver(look)
    watcher.observe(at("line"), { childList: true })
    look()
  })
  const picture = async () => { at("draw").click(); await said("Done"); await frame() }
  const first = async () => {
    await said("Ready.")
    window.took.ready = performance.now()
    if (at("variant").value !== variant) {
      at("variant").value = variant
      at("variant").dispatchEvent(new Event("change"))
    }
    await picture()
    window.took.first = performance.now()
  }
  document.addEventListener("readystatechange", first, { once: true })
  window.another = async seed => {
    at("seed").value = seed
    const began = performance.now()
    await picture()
    window.took.further.push(performance.now() - began)
  }
}"""
SHOWN = """count => document.getElementById("problem").textContent !== ""
  || (window.took.first !== null && window.took.further.length === count)"""
TOOK = "() => [window.took, document.getElementById('problem').textContent, document.getElementById('steps').value]"
LONGEST = 300_000  # ms to wait for a picture


def missing():
    """A sentence that says what is not there, or ""."""
    there = {
        "Chromium or Chrome": found_browser(),
        "Node.js": shutil.which("npm"),
        "the package playwright": importlib.util.find_spec("playwright"),
        "the package onnx": importlib.util.find_spec("onnx"),
    }
    lack = " and ".join(what for what, found in there.items() if not found)
    return f"The page is not measured: this needs {lack} (`make test-browser`)." if lack else ""


class Counted(web.Handler):
    """Serves files, and counts every byte that it sends into `sent` of its server."""

    def setup(self):
        super().setup()
        write = self.wfile.write

        def counted(data):
            with self.server.counting:
                self.server.sent += len(data)
            return write(data)

        self.wfile.write = counted


@contextlib.contextmanager
def serving(folder):
    """Yields a server of a folder on a free port of 127.0.0.1; its `sent` are the bytes that it has sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Counted, directory=folder)) as running:
        running.sent, running.counting = 0, threading.Lock()
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield running
        finally:
            running.shutdown()


def visit(playwright, folder, variant, further):
    """What one visit took: {"ready", "first", "further": [...] in seconds; "until_first", "whole" in bytes}.

    RuntimeError with the page's own sentence if it cannot draw.
    """
    browser = playwright.chromium.launch(
        executable_path=found_browser(), args=["--disable-dev-shm-usage", "--disable-gpu"]
    )
    with contextlib.closing(browser), serving(folder) as server:
        page = browser.new_page()
        page.set_default_timeout(LONGEST)
        page.add_init_script(f"({CLOCK})({variant!r})")
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function(SHOWN, arg=0)
        until_first = server.sent
        for seed in range(1, further + 1):
            page.evaluate("seed => { window.another(seed) }", seed)
            page.wait_for_function(SHOWN, arg=seed)
        took, problem, steps = page.evaluate(TOOK)
        if problem:
            raise RuntimeError(f"The page drew no picture with the {variant} model: {problem}")
        return {
            "ready": took["ready"] / 1000,
            "first": took["first"] / 1000,
            "further": [one / 1000 for one in took["further"]],
            "until_first": until_first,
            "whole": server.sent,
            "steps": int(steps),
        }


def visits(rounds, further):
    """{variant: [what each visit took]}, in turns, and nothing of a first visit, which warms the disk's cache."""
    from playwright.sync_api import sync_playwright

    found = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        dist = web.build(Path(folder) / "dist")
        visit(playwright, dist, "plain", 0)
        for turn in range(rounds):
            for variant in VARIANTS[::-1] if turn % 2 else VARIANTS:
                found[variant].append(visit(playwright, dist, variant, further))
    return found


# What is reported


MEASURED = {  # what -> (of one visit, the figures; in words)
    "page ready": (lambda one: [one["ready"]], measure.in_seconds),
    "first picture, from a bare page load": (lambda one: [one["first"]], measure.in_seconds),
    "each further picture": (lambda one: one["further"], measure.in_seconds),
    "downloaded until the first picture": (lambda one: [one["until_first"]], measure.in_bytes),
    "downloaded in all": (lambda one: [one["whole"]], measure.in_bytes),
}


def figures(found, variant, what):
    """All figures of a kind, over all visits."""
    of_one, _ = MEASURED[what]
    return [figure for one in found[variant] for figure in of_one(one)]


def median(found, variant, what):
    """In words."""
    return MEASURED[what][1](statistics.median(figures(found, variant, what)))


def row(found, variant, what):
    values, words = figures(found, variant, what), MEASURED[what][1]
    return {
        "": f"{variant}: {what}",
        "median": words(statistics.median(values)),
        "least": words(min(values)),
        "most": words(max(values)),
        "figures": len(values),
    }


def claims(found):
    ready, first, further, until, whole = MEASURED
    plain = f"plain model, {found['plain'][0]['steps']} steps"

    def said(variant, what):
        words, values = MEASURED[what][1], figures(found, variant, what)
        return f"{median(found, variant, what)} (rounds: {words(min(values))} to {words(max(values))})"

    return [
        measure.claim(f"page in a browser, fast model: {first}", said("fast", first), "≤ 5 s"),
        measure.claim(f"page in a browser, fast model: {further}", said("fast", further), "≤ 1.5 s"),
        measure.claim(
            f"page in a browser, fast model: {until}", median(found, "fast", until), f"≤ {DOWNLOAD / 1e6:.0f} MB"
        ),
        measure.claim(f"page in a browser, {plain}: {first}", said("plain", first)),
        measure.claim(f"page in a browser, {plain}: {further}", said("plain", further)),
        measure.claim(f"page in a browser, {plain}: {whole}", median(found, "plain", whole)),
    ]


def figure(found):
    ready, first, further, *_ = MEASURED
    labels = {
        f"{variant}: {said}": (variant, what)
        for variant in VARIANTS
        for said, what in (("first picture", first), ("each further one", further))
    }
    values, words = {}, {label: median(found, *of) for label, of in labels.items()}
    for label, (variant, what) in labels.items():
        middle = statistics.median(figures(found, variant, what))
        loading = statistics.median(figures(found, variant, ready)) if what == first else 0
        values[label] = [loading, max(0, middle - loading)]
    legend = {"loading the page": style.NOISE, "drawing": style.SIGNAL}
    soon, later = median(found, "fast", first), median(found, "fast", further)
    title = f"A browser shows its first picture after {soon}, each further one after {later}"
    return lambda machine: draw.bars(
        title,
        "Bars of seconds, in a browser",
        values,
        words,
        f"WebAssembly, one thread. {machine}",
        {label: list(legend.values()) for label in labels},
        legend,
    )


def main(arguments=None):
    options = measure.options(__doc__, rounds=7, further=4).parse_args(arguments)
    for name in ("rounds", "further"):
        if getattr(options, name) < 1:
            raise SystemExit(f"--{name} must be at least 1, not {getattr(options, name)}.")
    if options.quick:
        options.rounds, options.further = 1, 1
    if missing():
        print(missing())
        return
    found = visits(options.rounds, options.further)
    rows = [row(found, variant, what) for variant in VARIANTS for what in MEASURED]
    measure.report(
        "page",
        "The page that draws in a browser: from a bare load to pictures",
        rows,
        claims(found),
        figure(found),
        {
            "rounds": options.rounds,
            "further pictures a round": options.further,
            **{f"steps, {variant}": found[variant][0]["steps"] for variant in VARIANTS},
        },
        "The page computes in WebAssembly with one thread, whatever the machine has. Every round is a new browser that "
        "has kept nothing, and loads from 127.0.0.1; the disk's cache is warm. Draw is pressed as soon as the page is "
        "ready. Plain is chosen there as a reader chooses it, after the page has loaded the fast model that it begins "
        "with, so its first picture waits for both, and its bytes are both models'. Bytes are counted where they are "
        "sent, headers and service worker with them; nothing is compressed.",
        {"visits": found},
        None if options.quick else options.results,
    )


if __name__ == "__main__":
    main()
