"""What every panel shares: controls in one row, one picture, one line of text. A question; a progress bar.

A panel is driven by two pure functions of its state, {name of control: value}: frame(**state) -> PNG bytes
and readout(**state) -> one line of HTML. Tests call them without a browser.
"""

import base64
import html
import io
import itertools
import re
import textwrap
import time

import ipywidgets as widgets
from PIL import Image, ImageDraw, ImageFont

from helpers import inputs, my_course

WIDGET = "application/vnd.jupyter.widget-view+json"
PAPER_WIDTH = 720  # pixels, at most, of a panel's picture on a page
STILL = "Interactive panel: run the notebook to use it."  # what a page without a kernel shows
WIDE = {"description_width": "initial"}
FITTING = {"max_width": "100%", "margin": "2px 0", "align_self": "flex-start"}  # a picture in its own size


class Still(widgets.VBox):
    """A box of widgets. A page without a kernel shows a picture of it as it stands, if there is one, and a sentence.

    A subclass says in `still` what that picture is, and holds its {name: widget} in `controls`, if it has any. speaks: whether
    its line is written below the picture too, for a line that says what the picture does not. paper_width: the most
    pixels that picture is wide.
    """

    speaks = False
    paper_width = PAPER_WIDTH

    _ipython_display_ = None  # ipywidgets 7 shows itself by this one, and a page would get no picture

    def __repr__(self):
        return f"{STILL} {self.about()}".strip()

    def about(self):
        """A few words: what there is to move."""
        names = [control.description or name for name, control in getattr(self, "controls", {}).items()]
        return f"Controls: {', '.join(names)}." if names else ""

    def still(self):
        """(PNG bytes, alt text) of what it shows now, or None."""

    def _repr_mimebundle_(self, **options):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        data, still = {"text/plain": repr(self), WIDGET: view}, self.still()
        if still is None:
            return data
        png, width = on_paper(still[0], repr(self), still[1] if self.speaks else "", self.paper_width)
        said = still[1] if still[1].endswith((".", "!", "?")) else f"{still[1]}."
        alt = f"A still of a panel. {said} {self.about()}".strip()
        return data | {"image/png": base64.b64encode(png).decode()}, {"image/png": {"alt": alt, "width": width}}


def on_paper(png, caption, said="", width=PAPER_WIDTH):
    """(PNG bytes, its width in CSS pixels) of a panel's picture for a page: small in bytes, with its line and a caption below."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    font = ImageFont.load_default(12)
    most = max(40, picture.width // 6)  # letters a line
    told, below = textwrap.wrap(said, most), textwrap.wrap(caption, most)
    lines = [*told, *below]
    wide = max(picture.width, *(int(font.getlength(line)) + 8 for line in lines))
    page = Image.new("RGB", (wide, picture.height + 4 + 18 * len(lines)), "white")
    page.paste(picture)
    for k, line in enumerate(lines):
        ImageDraw.Draw(page).text(
            (4, picture.height + 4 + 18 * k), line, "#555555" if k >= len(told) else "black", font
        )
    buffer = io.BytesIO()
    few = page.width * page.height // 32  # pixels: where no more change their colour, the colours are good enough
    page.quantize(128, Image.Quantize.MEDIANCUT, kmeans=few, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue(), page.width


def named(control):
    """The control, with its name as what a resting mouse is told: without one ipywidgets 8 says "null"."""
    if control.has_trait("tooltip"):
        control.tooltip = control.description
    return control


def options(name, values, start):
    """The values of a control as a list, `start` among them: a widget's own words for it are not for a reader."""
    values = inputs.list_of(
        list(values) if isinstance(values, dict) else values, f"The values of {name!r}", "values", object, least=1
    )
    if not any(one is start or one == start for one in values):
        raise ValueError(
            f"{name!r} must begin at one of its values, {', '.join(map(inputs.shown, values[:12]))}, not "
            f"{inputs.shown(start)}."
        )
    return values


def slider(name, values, start, live=True, width="420px"):
    """A slider that stops at the given values only, so that a frame can wait for each stop.

    live=False: it acts when it is let go, for frames that take longer than a glance.
    """
    return named(
        widgets.SelectionSlider(
            options=options(name, values, start),
            value=start,
            description=name,
            style=WIDE,
            continuous_update=live,
            layout=widgets.Layout(width=width),
        )
    )


def menu(name, values, start):
    """A drop-down list of a few values, wide enough for the longest."""
    values = options(name, values, start)
    longest = max(len(str(value)) for value in values)
    return named(
        widgets.Dropdown(
            options=values,
            value=start,
            description=name,
            style=WIDE,
            layout=widgets.Layout(width=f"{max(220, 120 + 8 * longest)}px", max_width="100%"),
        )
    )


def buttons(name, values, start):
    """A row of buttons of which one is down, its name before it on the same line."""
    layout = widgets.Layout(display="flex", flex_flow="row wrap", grid_gap="4px")
    return named(
        widgets.ToggleButtons(
            options=options(name, values, start),
            value=start,
            description=name,
            layout=layout,
            style={**WIDE, "button_width": "auto"},
        )
    )


def text(name, start):
    """A line to type into; it counts when Enter is pressed. For panels that draw when asked (ahead=False)."""
    inputs.text(start, name)
    return named(
        widgets.Text(
            value=start,
            description=name,
            continuous_update=False,
            style=WIDE,
            layout=widgets.Layout(width="640px", max_width="100%"),
        )
    )


def row(controls):
    """Controls side by side, on a second line where the page is narrow."""
    return widgets.HBox(
        list(controls), layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 12px")
    )


def sentence(*parts):
    """Plain sentences as one line of HTML; empty ones are left out."""
    return " ".join(html.escape(part) for part in parts if part)


class Panel(Still):
    """Controls in a row, one picture, one line of text.

    controls: {name: slider, menu, buttons or text from this module}. frame, readout: see the module.
    ahead: draw every combination now, so that moving a control costs a look-up; else draw when asked.
    A frame that can not be drawn leaves the picture and says why in the line.
    """

    def __init__(self, controls, frame, readout, ahead=True):
        self.controls, self.frame, self.readout, self.frames = dict(controls), frame, readout, {}
        self.picture = widgets.Image(format="png", layout=widgets.Layout(**FITTING))
        self.line = widgets.HTML()
        if ahead:
            for values in itertools.product(*(control.options for control in self.controls.values())):
                self.frames[values] = frame(**dict(zip(self.controls, values)))
        super().__init__([row(self.controls.values()), self.picture, self.line])
        for control in self.controls.values():
            control.observe(self.show, "value")
        self.show()

    def still(self):
        """The picture it shows, and its line."""
        said = " ".join(html.unescape(re.sub(r"<[^>]*>", "", self.line.value)).split())
        return (self.picture.value, said) if self.picture.value else None

    @property
    def state(self):
        """{name of control: value} as the controls stand."""
        return {name: control.value for name, control in self.controls.items()}

    def show(self, change=None):
        """Bring picture and line into step with the controls."""
        state = self.state
        try:
            ready = self.frames.get(tuple(state.values()))
            picture, line = ready if ready is not None else self.frame(**state), self.readout(**state)
        except Exception as problem:
            self.line.value = f"<b>This could not be drawn: {html.escape(str(problem))}</b>"
            return
        self.picture.value, self.line.value = picture, line


class Question(Still):
    """A question with a few answers; `chosen` is the one picked, or None. The next cell reads it.

    What is picked is written down in `my_course`, and with it what is then measured.
    """

    ASK = "Choose before you run the next cell."

    def __init__(self, options):
        options = inputs.texts(options, "options")
        if len(options) < 2 or len({"choose", *options}) <= len(options):
            raise ValueError(
                'predict takes at least two different answers, such as predict("sky", "boat"), none of '
                f'them "choose", not {inputs.shown(options)}.'
            )
        self.answers, self.line = buttons("", ["choose", *options], "choose"), widgets.HTML(self.ASK)
        super().__init__([self.answers, self.line])
        self.answers.observe(self.note, "value")

    def about(self):
        return f"The answers to choose from: {'; '.join(self.answers.options[1:])}."

    @property
    def chosen(self):
        return None if self.answers.value == "choose" else self.answers.value

    def note(self, change=None):
        """Answer a click at once."""
        problem = self.keep()
        first = my_course.prediction(self.answers.options[1:]) if self.chosen and not problem else None
        noted = "Noted. Run the next cell." if first in (None, self.chosen) else f"Your first answer stays: {first}."
        self.line.value = sentence(noted if self.chosen else self.ASK, problem)

    def keep(self, measured=None):
        """Write the choice down. Returns what there is to say of it: nothing, or a sentence."""
        try:
            answers = self.answers.options[1:]
            if said := self.chosen or (measured and my_course.prediction(answers)):
                my_course.note_prediction(answers, said, measured)
        except OSError as problem:
            return f"It could not be written down: {problem}"
        return ""

    def verdict(self, right):
        """One sentence that sets what was chosen, now or before a restart, beside what was measured.

        right: the answer that was measured, as text, or its place among the answers, counted from 0.
        """
        answers = self.answers.options[1:]
        if not isinstance(right, str):  # a place, perhaps of NumPy or torch
            place = int(right) if int(right) == right else right
            right = answers[inputs.whole_number(place, "The place of the right answer", 0, len(answers) - 1)]
        inputs.one_of(right, "The right answer", answers)
        problem = self.keep(right)
        said = (problem and self.chosen) or my_course.prediction(
            answers
        )  # what was chosen first, before it was measured
        if said is None:
            return f"You have not chosen. Measured: {right}."
        agrees = "You said so too" if said == right else f"You said: {said}"
        return " ".join(filter(None, [f"{agrees}. Measured: {right}.", problem]))


def predict(*options):
    """A row of buttons, one for each possible answer: commit to one, then run the next cell."""
    return Question(options)


class Match(Still):
    """A menu for each of a few things, all with the same names to give; `chosen` is {thing: the name given, or None}.

    What is given is written down in `my_course`, and stands there again after a restart.
    """

    ASK = "Give each its name before you run the next cell."

    def __init__(self, things, names):
        self.names = inputs.texts(names, "names")
        things = inputs.texts(things, "things")
        if (
            len(self.names) < 2
            or len({"choose", *self.names}) <= len(self.names)
            or len(set(things)) < len(things)
            or not things
        ):
            raise ValueError(
                'match takes things and at least two names to give them, all different, none of them "choose", not '
                f"{inputs.shown(things)} and {inputs.shown(names)}."
            )
        self.controls = {thing: menu(thing, ["choose", *self.names], self.noted(thing) or "choose") for thing in things}
        self.line = widgets.HTML(self.ASK)
        super().__init__([row(self.controls.values()), self.line])
        for control in self.controls.values():
            control.layout.width = "330px"
            control.observe(self.note, "value")

    def about(self):
        return f"To name: {', '.join(self.controls)}. The names: {'; '.join(self.names)}."

    @property
    def chosen(self):
        return {thing: None if control.value == "choose" else control.value for thing, control in self.controls.items()}

    def pairs(self, thing):
        """The possible answers for one thing, as `my_course` keeps them."""
        return [f"{thing}: {name}" for name in self.names]

    def noted(self, thing):
        said = my_course.prediction(self.pairs(thing))
        return said and said.removeprefix(f"{thing}: ")

    def note(self, change=None):
        """Answer a choice at once."""
        left = sum(name is None for name in self.chosen.values())
        self.line.value = sentence(f"{left} to go." if left else "Noted. Run the next cell.", self.keep({}))

    def keep(self, right):
        """Write the choices down, and what is right where that is known. Returns what there is to say of it: nothing, or a sentence."""
        try:
            for thing, name in self.chosen.items():
                if name is not None:
                    measured = right.get(thing) and f"{thing}: {right[thing]}"
                    my_course.note_prediction(self.pairs(thing), f"{thing}: {name}", measured, again=True)
        except OSError as problem:
            return f"It could not be written down: {problem}"
        return ""

    def verdict(self, right):
        """One sentence: how many have the name that is right for them, and which have another. right: {thing: name}."""
        if set(right) != set(self.controls):
            raise ValueError(f"verdict takes a name for each of {', '.join(self.controls)}, not {inputs.shown(right)}.")
        problem, given = self.keep(right), {thing: name for thing, name in self.chosen.items() if name is not None}
        if not given:
            return "You have not named any of them."
        wrong = [thing for thing, name in given.items() if name != right[thing]]
        said = f"You named {len(given) - len(wrong)} of {len(right)} rightly" + (
            f"; look again at {', '.join(wrong)}." if wrong else "."
        )
        return " ".join(filter(None, [said, problem]))


def match(things, names):
    """A menu for each thing, with the names to give it: commit to an answer, then run the next cell."""
    return Match(things, names)


class Progress(Still):
    """A bar and a line for a long cell: `display` it, then call `update` as often as you like. total: 1 to 10**9."""

    def __init__(self, total):
        inputs.whole_number(total, "total", 1, 10**9)
        self.bar = widgets.IntProgress(min=0, max=total, layout=widgets.Layout(width="420px"))
        self.line, self.begun, self.shown = widgets.HTML(), time.monotonic(), 0.0
        super().__init__([self.bar, self.line])

    def update(self, done, text=""):
        """Show how far it is, 0 to total: at most four times a second, and always at the end. text: plain words."""
        inputs.whole_number(done, "done", 0, self.bar.max), inputs.text(text, "text")
        now = time.monotonic()
        if now - self.shown < 0.25 and done < self.bar.max:
            return
        self.shown, self.bar.value = now, done
        left = (now - self.begun) * (self.bar.max - done) / max(done, 1)
        when = f"{left:.0f} s left" if done < self.bar.max else f"took {now - self.begun:.0f} s"
        self.line.value = f"{done} of {self.bar.max}, {when}. {html.escape(text)}"
