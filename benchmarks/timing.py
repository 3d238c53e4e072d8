"""What a panel costs, in the kernel or in a browser: the kinds of panels, and a row of seconds for each."""

import ast
import inspect
import statistics
import textwrap
from typing import NamedTuple

from benchmarks import measure

CLICKS = 8  # on Generate
LONGEST = 5.0  # seconds for the moves of one panel, if a third of them is done
AHEAD, MOVED, LIVE, TYPING, FINISHED = "ahead", "when moved", "live", "as typed", "typed, finished"
TEXTS = 20  # typed into a studio that draws as they are typed
TYPED = ("a green house and a tree", "a red boat on a lake", "two white tents below snowy mountains at night")


class Timing(NamedTuple):
    """What one panel cost. kind: AHEAD, MOVED, LIVE, TYPING or FINISHED. times: seconds, one a move.

    build: seconds to make it, None: not measured. frames: how many wait ready. size: median bytes of a
    picture, or None.
    """

    lesson: str
    panel: str
    kind: str
    times: list
    build: float | None = None
    frames: int = 0
    size: float | None = None

    @property
    def median(self):
        return 1000 * statistics.median(self.times)

    @property
    def p95(self):
        return 1000 * measure.percentile(self.times, 95)


def name_of(maker):
    return maker.__name__.removesuffix("_panel")


def kind_of(maker):
    """AHEAD, MOVED or LIVE, from the source of a function or class of helpers.panels; None for one that draws at the press of a button, or not by a model."""
    if inspect.isclass(maker):
        return LIVE if hasattr(maker, "loops") else None
    calls = [
        node
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(maker))))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Panel"
    ]
    asked = [ast.unparse(keyword) for call in calls for keyword in call.keywords]
    return MOVED if "ahead=False" in asked else AHEAD
