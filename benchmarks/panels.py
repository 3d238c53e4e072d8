"""What a panel costs: from a moved control to the picture, for every panel of the course.

    python -m benchmarks.panels                     in the kernel: until the picture's bytes are there
    python -m benchmarks.panels --browser           the whole way: control, kernel and back, picture loaded
    python -m benchmarks.panels notebooks/02*.ipynb     one lesson

The panels are made by the lessons' own cells, and by those that they need. A move sets one control, drawn at
random, to another value. Frames that were computed ahead and frames that are computed when a control is moved
are told apart. A studio draws nothing when it is moved: its row is the time from Generate to the first live
picture. Questions and progress bars have no picture and are left out, and so is the panel that mutes words, which
draws at the press of a button.

--browser: clock and events are the page's own, from the key or the click to the picture's load event. It
needs Chromium or Chrome and playwright (`make test-browser` installs them); without, it says so and ends.
"""

import random
import statistics
import time
from pathlib import Path

from benchmarks import browser, draw, measure
from benchmarks.lessons import NOTEBOOKS, Lesson
from benchmarks.timing import AHEAD, CLICKS, FINISHED, LIVE, LONGEST, MOVED, TYPED, TYPING, Timing, kind_of, name_of
from helpers.figures import style
from helpers.kernel import prepare_kernel

MOVES, QUICK_MOVES = 60, 4  # moves of a control
ASKED = 50  # ms at the 95th percentile in a browser, for frames computed ahead
ASKED_TYPING = 400  # ms, the median in a browser, of a picture that is drawn as a prompt is typed
SAID = {
    AHEAD: "frames computed ahead",
    MOVED: "frames computed when a control is moved",
    LIVE: "a studio's first live picture",
    TYPING: "the first live picture after a pause in typing",
    FINISHED: "the finished picture after a pause in typing",
}
COLOURS = {AHEAD: style.SIGNAL, MOVED: style.ESTIMATE, LIVE: style.GUIDED, TYPING: style.LEARNT, FINISHED: style.LEARNT}


def main(arguments=None):
    parser = measure.options(__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS, help="executed ones (default: all)")
    parser.add_argument("--browser", action="store_true", help="the whole way, in a real browser")
    options = parser.parse_args(arguments)
    moves = QUICK_MOVES if options.quick else MOVES
    prepare_kernel(fresh=True)  # as the setup cell does for a reader
    if options.browser:
        if browser.missing():
            print(browser.missing())
            return
        found, name, way = browser.timings(options.notebooks, moves), "panels_browser", "in a browser"
    else:
        found = [one for file in options.notebooks for one in timings(file, moves)]
        name, way = "panels", "in the kernel"
    rows = [row(one) for one in found]
    claims = [claim(found, kind, way) for kind in SAID if any(one.kind == kind for one in found)]
    title = title_of(found, way)
    measure.report(
        name,
        title,
        rows,
        claims,
        lambda machine: figure(found, title, machine),
        {"moves a panel, at most": moves},
        "Milliseconds. ahead: the frame waits ready; when moved: it is drawn then; live: from "
        "Generate to the first live picture of a studio; as typed: from the pause that such a studio waits for, 200 ms "
        "after the last key, to its first live picture, and to the finished one.",
        {label(one): one._asdict() for one in found},
        keep=None if options.quick else options.results,
    )


# In the kernel


def timings(file, moves):
    """A Timing for every panel with a picture that a notebook shows."""
    lesson = Lesson(file)
    for maker, panel, build in lesson.panels():
        name, kind = name_of(maker), kind_of(maker)
        if kind is None:
            continue
        if kind == LIVE:
            yield Timing(lesson.number, name, kind, live(panel, min(moves, CLICKS)), build)
            continue
        assert bool(panel.frames) == (kind == AHEAD), f"{name}: kind_of read its source wrongly"
        times, sizes = moved(panel, moves)
        yield Timing(lesson.number, name, kind, times, build, len(panel.frames), statistics.median(sizes))


def moved(panel, moves):
    """(seconds of each move, bytes of each picture) of a Panel. RuntimeError for a frame that can not be
    drawn."""
    rng, begun, times, sizes = random.Random(0), time.perf_counter(), [], []
    while len(times) < moves and (3 * len(times) < moves or time.perf_counter() - begun < LONGEST):
        control = rng.choice([one for one in panel.controls.values() if len(values_of(one)) > 1])
        value = rng.choice([one for one in values_of(control) if one != control.value])
        start = time.perf_counter()
        control.value = value  # the panel draws before this returns
        times.append(time.perf_counter() - start)
        sizes.append(len(panel.picture.value))
        if "could not be drawn" in panel.line.value:
            raise RuntimeError(f"{control.description} = {value}: {panel.line.value}")
    return times, sizes


def values_of(control):
    """What a control can be set to."""
    return getattr(control, "options", TYPED)


def live(studio, clicks):
    """Seconds from Generate to the first live picture of a studio, each of which is cancelled then."""
    times, drawn = [], []
    studio.views["x_0"].observe(lambda change: drawn.append(time.perf_counter()), "value")
    for seed in range(1, clicks + 1):
        drawn.clear()
        studio.controls["seed"].value = seed  # else the next picture could be the one that is shown
        start = time.perf_counter()
        studio.generate.click()
        while not drawn:
            time.sleep(0.001)
        times.append(drawn[0] - start)
        studio.cancel.click()
        studio.job.wait(60)
    return times


# What is reported


def row(one):
    return {
        "panel": label(one),
        "frames": f"{one.frames} ahead" if one.frames else one.kind,
        "to build, s": one.build and round(one.build, 2),
        "moves": len(one.times),
        "median, ms": one.median,
        "95th percentile, ms": one.p95,
        "kB": one.size and one.size / 1000,
    }


def label(one):
    return f"{one.lesson} {one.panel}" + (f", {one.kind}" if one.kind in (TYPING, FINISHED) else "")


def title_of(found, way):
    """What there is to notice: how soon 95 of 100 frames are there, those computed ahead and the others."""
    soon = {
        kind: measure.percentile(moves_of(found, kind), 95) for kind in (AHEAD, MOVED, LIVE) if moves_of(found, kind)
    }
    said = ", ".join(f"{float(f'{1000 * seconds:.2g}'):g} ms ({kind})" for kind, seconds in soon.items())
    return f"95 of 100 pictures come within {said}, {way}"


def moves_of(found, kind):
    """The seconds of all moves of the panels of a kind."""
    return [seconds for one in found if one.kind == kind for seconds in one.times]


def claim(found, kind, way):
    """The line of the README on one kind of panels: all their moves together, and the slowest panel."""
    times = moves_of(found, kind)
    worst = max((one for one in found if one.kind == kind), key=lambda one: one.p95)
    asked = {AHEAD: f"at most {ASKED} ms at the 95th percentile", TYPING: f"at most {ASKED_TYPING} ms median"}.get(
        kind, ""
    )
    return measure.claim(
        f"{SAID[kind]}, {way}",
        f"{measure.in_seconds(statistics.median(times))} median, "
        f"{measure.in_seconds(measure.percentile(times, 95))} 95th percentile of {len(times)} moves; slowest "
        f"panel {worst.lesson} {worst.panel}, {worst.p95:.0f} ms",
        asked if "browser" in way else "",
    )


def figure(found, title, machine):
    """A line for each panel, from the median (dot) to the 95th percentile, on a logarithmic axis."""
    high, left, wide = 0.2, 1.5, 5.5
    top, tall = style.TITLE + 0.3, high * len(found) + 0.1
    fig = style.new_figure(top + tall + 0.45 + style.NOTE)
    ax = style.place(fig, left, top, wide, tall)
    for i, one in enumerate(found):
        colour = COLOURS[one.kind]
        ax.plot([one.median, one.p95], [i, i], color=colour, lw=2, solid_capstyle="butt")
        ax.plot([one.median], [i], "o", color=colour, ms=5)
        y = top + 0.05 + high * (i + 0.5)
        style.write(fig, left - 0.1, y, label(one), ha="right", fontsize=8.5)
        said = f"{one.median:.3g} to {one.p95:.3g} ms" + (f", made in {one.build:.1f} s" if one.build else "")
        style.write(fig, left + wide + 0.08, y, said, fontsize=7.5, color=style.FAINT)
    ax.axvline(ASKED, color=style.FAINT, lw=0.8, ls=":")
    ax.annotate(
        f"{ASKED} ms",
        (ASKED, 1),
        (3, -8),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=7.5,
        color=style.FAINT,
    )
    ax.set(xscale="log", ylim=(len(found) - 0.25, -0.75), yticks=[])
    low, most = min(one.median for one in found), max(one.p95 for one in found)
    ax.set_xlim(min(low, ASKED) / 1.5, max(most, ASKED) * 1.5)
    style.tidy(
        ax,
        "milliseconds from move to picture: median (dot) to 95th percentile (end of line)",
        None,
        draw.round_numbers(*ax.get_xlim()),
    )
    x = left
    for kind in (kind for kind in SAID if any(one.kind == kind for one in found)):
        said = style.write(fig, x, style.TITLE + 0.12, SAID[kind], color=COLOURS[kind], fontsize=8.5)
        x += said.get_window_extent(fig.canvas.get_renderer()).width / fig.dpi + 0.3
    style.claim(fig, title, machine)
    return style.finish(
        fig,
        f"{title}: "
        + "; ".join(
            f"{one.lesson} {one.panel} ({one.kind}) {one.median:.2g} ms, 95th percentile {one.p95:.2g} ms"
            for one in found
        ),
        palette=64,
    )


if __name__ == "__main__":
    main()
