"""Text is text: what a reader types is drawn letter by letter in figures, and never read as HTML in panels."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from helpers.conditioning import Token
from helpers.figures import attention, conditioning, lora, sampling, style, sweeps
from helpers.panels import base

HELPERS = Path(style.__file__).parents[1]
CARD = Image.new("RGB", (128, 128), (0, 114, 178))
NASTY = [
    "$$",
    "$\\frac$",
    "$\\input{/etc/passwd}$",
    "a $5 boat and a $6 house",
    "\\",
    "100 % & #1_2^3~{}",
    "\\$x$",
    "$x_t$",
    "\N{CANOE}\N{ZERO WIDTH JOINER} \u65e5\u672c",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "x" * 300,
    "a\tb\x1b[31m\x00c\r\u2028d",
    "two\nlines",
    "",
    " ",
]
WORST = " ".join(one for one in NASTY if len(one) < 100)
HEAT = np.eye(16)

# What takes words of a reader, each as a function of such a text.
FIGURES = {
    "prompt_grid": lambda text: sampling.prompt_grid([CARD], [text], text, note=text),
    "sweep": lambda text: sampling.sweep([CARD, CARD], [text, text], text, text),
    "solver_frame": lambda text: sweeps.solver_frame(
        (torch.tensor([2.0, 1.0]), torch.ones(2, 1)),
        {name: (torch.tensor([2.0, 1.0]), torch.ones(2)) for name in (text, "b")},
        text,
        0,
        2,
    ),
    "bars": lambda text: sampling.bars({text: 1.0, "b": 2.0}, [1, 2], text),
    "museum": lambda text: sampling.museum([CARD], [text], [text], [torch.ones(4)], torch.ones(4), text, text),
    "guidance_bill": lambda text: sweeps.guidance_bill(
        {text: {1: [0.5, 0.6], 3: [0.9, 1]}}, {text: {1: [CARD] * 2, 3: [CARD] * 2}}, [1], text, text, [text]
    ),
    "convergence": lambda text: sweeps.convergence({text: {text: [(1, 0.5), (4, 0.1)]}}, text, text, text),
    "word_sheet": lambda text: attention.word_sheet(CARD, {text: HEAT}, text, text),
    "pooled_ways": lambda text: attention.pooled_ways(CARD, HEAT > 0, {text: (HEAT, True, 0.5)}, text),
    "ruler": lambda text: conditioning.ruler(
        [Token("", 0, "start", None), Token(text, 1, "piece", 0), Token("", 2, "end", None), Token(text, 3, "cut", 1)],
        torch.randn(3, 4),
        torch.randn(3, 4),
    ),
    "thermostat": lambda text: conditioning.thermostat([CARD, CARD], [text, "b"], np.eye(2), 10, 20),
    "tallies": lambda text: conditioning.tallies({text: {text: (1, 0.5)}}, 2, [text], text, text),
    "subtraction": lambda text: conditioning.subtraction([(CARD, CARD, text, text, {text: 0.5, "b": 0.2})], text),
    "picture_rows": lambda text: lora.picture_rows({text: [CARD]}, [text], {text: {text: (3, 4)}}, text, text),
    "picture_grid": lambda text: style.picture_grid(
        [[CARD]], text, text, [text], [text], [[text]], text, beside=[text]
    ),
}


@pytest.fixture
def drawn(monkeypatch):
    """The texts of all figures that are drawn, as (what it says, whether $...$ is mathematics)."""
    texts, settle = [], style.settle_texts

    def watched(fig):
        settle(fig)
        texts.extend((text.get_text(), text.get_parse_math()) for text in fig.findobj(Text))

    monkeypatch.setattr(style, "settle_texts", watched)
    return texts


def assert_drawn(figure, text, drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FIGURES[figure](text)
    said = "".join("".join(one.split()) for one, math in drawn if not math)
    letters = "".join(style.drawable(text, style.font_manager.findfont("DejaVu Sans")).split())
    assert letters in said, (text, drawn)


@pytest.mark.parametrize("text", ["$$", WORST, ""], ids=["dollars", "worst", "nothing"])
@pytest.mark.parametrize("figure", FIGURES)
def test_figures_draw_what_a_reader_wrote(figure, text, drawn):
    assert_drawn(figure, text, drawn)


@pytest.mark.hard
@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("figure", FIGURES)
def test_figures_draw_all_that_a_reader_may_write(figure, text, drawn):
    assert_drawn(figure, text, drawn)


def test_dollar_signs_are_dots_of_ink():
    """A text in dollar signs is drawn as wide as its letters are, and as mathematics only where that is asked for."""

    def ink(**kwargs):
        fig = style.new_figure(1)
        style.write(fig, 1, 0.5, "$x_t$", **kwargs)
        return int((np.asarray(style.finish(fig, "").image()) < 128).any((0, 2)).sum())

    assert ink() > 1.5 * ink(**style.MATH) > 0


def test_a_letter_that_the_font_lacks_is_a_square_and_no_warning():
    font = style.font_manager.findfont("DejaVu Sans")
    assert style.drawable("a\N{CANOE}\u65e5\n\tb\x1b\N{ZERO WIDTH JOINER}", font).startswith("a\u25a1\u25a1\n b\u25a1")


def test_formulas_of_the_course_are_marked():
    """Whoever writes $...$ in a figure says that it is mathematics, or the reader would see dollar signs."""
    for file in (HELPERS / "figures").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef):
                body = [
                    node
                    for node in ast.walk(function)
                    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "$" in node.value
                ]
                own = ast.get_docstring(function, clean=False)
                if any(node.value != own for node in body):
                    code = ast.get_source_segment(source, function)
                    assert "MATH" in code or "math=True" in code, f"{file.name}: {function.name}"
        assert file.name == "style.py" or ".draw()" not in source  # finish and Stage settle the texts


def test_no_line_of_a_panel_holds_text_that_is_not_escaped():
    """Every readout: what is filled in is a number with a format of its own, or goes through `sentence`."""
    found = 0
    for file in (HELPERS / "panels").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        readouts = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "readout"]
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Panel":
                readouts += [argument for argument in call.args[2:3] if isinstance(argument, ast.Lambda)]
        for readout in readouts:
            found += 1
            results = (
                [readout.body]
                if isinstance(readout, ast.Lambda)
                else [node.value for node in ast.walk(readout) if isinstance(node, ast.Return)]
            )
            for result in results:
                if isinstance(result, ast.Call) and result.func.id == "sentence":
                    continue
                assert isinstance(result, ast.JoinedStr), f"{file.name}, line {readout.lineno}: use sentence()"
                bare = [
                    ast.unparse(value.value)
                    for value in result.values
                    if isinstance(value, ast.FormattedValue) and value.format_spec is None
                ]
                assert not bare, f"{file.name}, line {readout.lineno}: {bare}"
    assert found >= 13, "the panels are written in another way: this test looks at hardly any"


EVIL = "<img src=x onerror=alert(1)>&amp;$"


def test_names_of_a_panel_are_escaped():
    panel = base.Panel({"name": base.menu("name", [EVIL], EVIL)}, lambda name: b"", lambda name: base.sentence(name))
    assert "<img" not in panel.line.value and "&lt;img" in panel.line.value

    def breaks(name):
        raise ValueError(EVIL)

    panel = base.Panel({"name": base.menu("name", [EVIL], EVIL)}, breaks, breaks, ahead=False)
    assert "<img" not in panel.line.value and "&lt;img" in panel.line.value
