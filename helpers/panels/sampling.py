"""The panels of lesson 04: guidance on a line, a studio, words and settings in, pictures out, and a drawing to begin from.

The studio's loop can be watched and stopped while it draws; it can also draw while the reader types.
"""

import io
import json
import re
import threading
from contextlib import closing
from typing import NamedTuple

import ipywidgets as widgets
import torch
from PIL import Image, ImageDraw, PngImagePlugin

from helpers import components, inputs, my_course
from helpers.conditioning import too_long
from helpers.figures import guidance, sweeps
from helpers.files import save_picture, write_atomic
from helpers.latents import decode_latents, preview_of
from helpers.panels.base import WIDE, Panel, Still, menu, named, row, sentence, slider, text
from helpers.panels.job import Job
from helpers.sampling import SCHEDULERS, Step, denoise

SHOWN = 192  # CSS pixels of a live picture
WORDS_INSIDE = {"guidance": "CFG scale", "scheduler": "Sampler"}  # what A1111 calls them
KEPT = 8  # pictures in the strip
INDEX = '<sub style="line-height:0">'  # an index that does not make its line taller
BLANK = Image.new("RGB", (8, 8), "#EEEEEE")  # where there is no picture yet
PAUSE = 0.2  # seconds without a key after which a picture is drawn
FAST = "postcard-fast"  # the postcard model's variant that draws in few calls, where this copy of the course has it
QUICKLY = {"steps": 4, "scheduler": "dpm++_2m", "guidance": 1.0}  # one answer a call, four calls
COLOURS = {
    "blue": "#5B9BD5",
    "light blue": "#A8D4F0",
    "green": "#5B9A4B",
    "dark green": "#2E5E2E",
    "white": "#F4F6F8",
    "grey": "#8C8C8C",
    "yellow": "#F2C230",
    "orange": "#E08A2C",
    "red": "#C8352B",
    "pink": "#E58FB3",
    "purple": "#7A4FA3",
    "brown": "#7B5336",
    "dark blue": "#1C2A4A",
}  # of a drawing


SCALES = 0, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15  # of guidance, on the line
PLACES = -0.8, -0.35, 0.0, 0.35, 0.8  # of x_t there


def guidance_panel(everything, wanted, abar):
    """Guidance on a line, as arrows, with a slider over its scale and one over the place of x_t.

    everything, wanted: Mixtures without and with the prompt; abar: 0 to 1, the noise level.
    """

    def readout(scale, x_t):
        arrows = guidance.arrows_at(everything, wanted, x_t, abar, scale)
        empty, prompt, guided = (arrows[name][1] for name in ("empty", "prompt", "guided"))
        return f"guided = {empty:.3f} + {scale:g} &middot; {prompt - empty:.3f} &asymp; {guided:.2f}"

    def frame(scale, x_t):
        return guidance.arrows_frame(everything, wanted, x_t, abar, scale, PLACES)

    panel = Panel(
        {"scale": slider("scale", SCALES, 2), "x_t": slider("x_t", PLACES, -0.35)}, frame, readout, ahead=False
    )
    panel.paper_width = 864
    return panel


def solver_panel(slope, solvers, z=1.0, sigma=3.0, after=0.3):
    """Straight steps beside the curve that they follow, with a slider over the calls of `slope`. Two solvers are shown at once.

    slope: takes z (n, 1) and sigma, a scalar tensor. solvers: {name: (function of slope, z and sigmas, calls a step)}. The way goes
    from the number z, at noise level `sigma`, to `after`, in equal steps.
    """
    starts = torch.linspace(z - 1.6, z + 1.6, 17).double()[:, None]
    curves = sweeps.curve_from(slope, torch.cat([torch.tensor([[z]]).double(), starts]), sigma, after)
    least = max(each for _, each in solvers.values())
    calls = [n for n in (1, 2, 4, 8, 16, 32) if n >= least]
    walks = {
        (name, n): sweeps.solver_path(slope, solver, z, sigma, after, n // each)
        for name, (solver, each) in solvers.items()
        for n in calls
    }
    ends = [at for _, at in walks.values()] + [curves[1][:, 0]]
    low, high = min(at.min().item() for at in ends) - 0.4, max(at.max().item() for at in ends) + 0.4

    def miss(calls, solver):
        return abs(walks[solver, calls][1][-1] - curves[1][-1, 0]).item()

    def frame(calls):
        said = []
        for name, (_, each) in solvers.items():
            steps = calls // each
            said.append(f"{name} in {steps} step{'s' * (steps > 1)}: miss {miss(calls, name):.3f}")
        return sweeps.solver_frame(curves, {name: walks[name, calls] for name in solvers}, "; ".join(said), low, high)

    def readout(calls):
        first, *others = solvers
        return sentence(
            f"{first}, {calls} call{'s' * (calls > 1)}: the end is {miss(calls, first):.3f} away from the curve"
            + "".join(f"; {name}: {miss(calls, name):.3f} away" for name in others)
        )

    panel = Panel({"calls": slider("calls", calls, calls[0])}, frame, readout, ahead=False)
    panel.paper_width = 864
    return panel


class Told(NamedTuple):
    """What the worker tells the studio after a step of its loops; finished: the pictures of loops that ended."""

    step: Step
    settings: dict
    said: list
    finished: list


class Studio(Still):
    """Prompt, negative prompt, steps, guidance, scheduler, seed; Generate, Cancel, Save; the last pictures.

    c: Components. settings: what the controls show at first, by the names of `denoise`'s arguments. At every
    step the latents are shown by the linear preview of lesson 02. TypeError or ValueError for a setting that
    there is none of, or that its control cannot show.
    """

    ROWS = ("prompt",), ("negative_prompt",), ("steps", "guidance"), ("scheduler", "seed")
    WORDS = {
        "x_t": f"x{INDEX}t</sub>: what the loop holds",
        "x_0": f"x{INDEX}0</sub>: what it expects",
        "picture": "the picture",
    }

    def __init__(self, c, **settings):
        known = [name for names in self.ROWS for name in names]
        for name in settings:
            inputs.one_of(name, "A setting", known)
        self.c, self.preview, self.history, self.shown = c, preview_of(c), [], None
        self.controls = self.make_controls(
            {
                "prompt": "",
                "negative_prompt": "",
                "steps": c.steps,
                "guidance": c.guidance,
                "scheduler": "ddim",
                "seed": 0,
            }
            | settings
        )
        self.generate, self.cancel, self.save = (
            widgets.Button(description=word) for word in ("Generate", "Cancel", "Save")
        )
        self.generate.button_style, self.cancel.disabled, self.save.disabled = "primary", True, True
        self.bar, self.line = widgets.IntProgress(min=0, max=1, layout=widgets.Layout(width="300px")), widgets.HTML()
        self.views = {name: picture_of(BLANK, SHOWN) for name in self.WORDS}
        self.strip = row([])
        self.job = Job(self.show_step, self.show_picture, self.show_problem, self.show_cancelled, self.show_begun)
        self.generate.on_click(lambda button: self.start())
        self.cancel.on_click(lambda button: self.job.cancel())
        self.save.on_click(lambda button: self.save_shown())
        rows = [[self.controls[name] for name in names if name in self.controls] for names in self.ROWS]
        views = row([widgets.VBox([widgets.HTML(self.WORDS[name]), view]) for name, view in self.views.items()])
        super().__init__(
            [*map(row, filter(None, rows)), row([*self.actions(), self.bar]), self.line, views, self.strip]
        )

    def actions(self):
        """The buttons, in their order."""
        return [self.generate, self.cancel, self.save]

    def make_controls(self, start):
        """{name: widget}, by the names of `denoise`'s arguments. start: the values they begin with."""
        return {
            "prompt": text("prompt", start["prompt"]),
            "negative_prompt": text("negative", start["negative_prompt"]),
            "steps": number("steps", start["steps"], 1, 50),
            "guidance": number("guidance", start["guidance"], 0, 15, 0.5, ".1f"),
            "scheduler": menu("scheduler", SCHEDULERS, start["scheduler"]),
            "seed": number("seed", start["seed"], 0, 9999),
        }

    @property
    def settings(self):
        """{name: value} as the controls stand."""
        return {name: control.value for name, control in self.controls.items()}

    def loops(self, model, settings):
        """One after the other, the loops that draw what is asked for: (sentences about the words, steps).

        model: a snapshot of `c`, taken at the click, for this drawing alone. Called on the worker's thread, and
        closed after the last step, an error or Cancel.
        """
        said = [too_long(model, settings[name]) for name in ("prompt", "negative_prompt")]
        yield [*said, idle_negative(settings)], denoise(model, **settings)

    def count_loops(self, settings):
        """How many loops there will be."""
        return 1

    def start(self):
        """Draw what the controls say, in place of what is being drawn."""
        self.begin(self.c, self.settings)

    def begin(self, c, settings):
        """Draw with these settings and this model, in place of what is being drawn."""
        model = c.snapshot()  # what cells and other panels do to c does not reach it
        kept = settings if c is self.c else settings | {"model": c.name}

        def work():
            finished = []
            with closing(self.loops(model, settings)) as loops:
                for said, steps in loops:
                    for step in steps:
                        yield Told(step, kept, said, finished)
                    finished += decode_latents(model, step.latents)  # Cancel reaches this, too

        self.total = settings["steps"] * self.count_loops(settings)
        self.show_begun()  # at once; the worker says it again after the last words of the drawing before
        self.job.start(work, self.total)

    def show_begun(self):
        self.cancel.disabled, self.bar.value, self.bar.max = False, 0, self.total
        self.line.value = "The words are read ..."

    def show_step(self, told, done, seconds_left):
        self.bar.max = max(self.bar.max, done)  # "heun" and "pndm" call the U-Net more often than `steps`
        self.bar.value = done
        self.views["x_t"].value, self.views["x_0"].value = (
            png(self.preview(x)) for x in (told.step.latents, told.step.x0)
        )
        self.line.value = sentence(f"Step {done} of {self.bar.max}, {seconds_left:.0f} s left.", *told.said)

    def show_picture(self, told):
        self.cancel.disabled = True
        self.line.value = sentence("Done.", *told.said)
        self.keep(beside(told.finished), told.settings)

    def show_problem(self, problem):
        self.cancel.disabled, self.bar.value = True, 0
        self.line.value = f"<b>{sentence(str(problem))}</b>"

    def show_cancelled(self, done):
        self.cancel.disabled, self.bar.value = True, 0
        self.line.value = sentence(f"Cancelled after {done} steps. The same settings draw the same picture.")

    def keep(self, picture, settings):
        """Show a finished picture and put it first into the strip, which holds the last few."""
        entry = picture, settings
        self.history = [entry, *self.history][:KEPT]
        self.show_kept(entry)
        self.strip.children = [self.card(entry), *self.strip.children][:KEPT]

    def card(self, entry):
        """One picture of the strip, with a button that loads it back, wherever it stands by then."""
        picture, settings = entry
        back = widgets.Button(description=f"seed {settings['seed']}", layout=widgets.Layout(width="96px"))
        back.on_click(lambda button: self.load(next(i for i, one in enumerate(self.history) if one is entry)))
        return widgets.VBox([picture_of(picture, 96), back])

    def load(self, i):
        """Bring back picture i of the strip, and every control as it stood for it. What is being drawn is cancelled."""
        entry = self.history[i]  # before the last report of a drawing moves the others along
        self.job.cancel()
        for name, control in self.controls.items():
            control.value = entry[1][name]
        self.show_kept(entry)
        if other := entry[1].get("model"):
            self.line.value = sentence(
                f"{other} drew this one: Generate draws with {self.c.name}, which draws another."
            )

    def show_kept(self, entry):
        """Show a picture that was drawn before. entry: (picture, settings)."""
        self.shown = entry
        self.views["picture"].layout.width = width_of(self.shown[0], SHOWN)
        self.views["picture"].value, self.save.disabled = png(*self.shown), False

    def save_shown(self):
        """Write the picture shown into the reader's own pictures."""
        self.save_as(*self.shown)

    def save_as(self, picture, settings):
        """Write a picture into the reader's folder, called by its prompt and seed, settings inside; never over a file."""
        called = " ".join(re.sub(r"[^\w ]", " ", settings["prompt"]).split())[:40].strip() or "picture"
        try:
            path = my_course.place("pictures", f"{called} seed {settings['seed']}.png")
            write_atomic(path, lambda file: file.write_bytes(png(picture, settings)))
        except OSError as problem:  # a drawing that is under way goes on, and can be cancelled
            self.line.value = f"<b>{sentence(str(problem))}</b>"
        else:
            self.line.value = sentence(f"Saved as {my_course.shown(path)}, settings inside.")


class LiveStudio(Studio):
    """A studio that can draw while the reader types: a picture for every pause of `PAUSE` seconds, in few calls.

    While "draw as I type" is on, every change of a control asks for a picture, and the latest request wins. A live
    picture is drawn with `QUICKLY` in place of those settings, or by the postcard model's fast variant in its own number
    of steps, once this copy of the course has it and where there is no negative prompt. The strip keeps it with the
    settings that drew it, and the variant's name. Generate draws with all settings as they stand, as ever.
    """

    def __init__(self, c, **settings):
        super().__init__(c, **settings)
        self.live, self.timer, self.fast = (
            named(widgets.Checkbox(False, description="draw as I type", indent=False)),
            None,
            None,
        )
        self.live.observe(self.switch, "value")
        for control in self.controls.values():
            control.observe(self.changed, "value")
        self.cancel.on_click(lambda button: self.forget())
        self.children = [row([self.live]), *self.children]

    def switch(self, change=None):
        """With live pictures the prompt counts at every key, without them when Enter is pressed."""
        for name in ("prompt", "negative_prompt"):
            self.controls[name].continuous_update = self.live.value
        self.changed()

    def changed(self, change=None):
        """Draw soon, unless something changes again before."""
        self.forget()
        if self.live.value:
            self.timer = threading.Timer(PAUSE, self.start_due)
            self.timer.daemon = True
            self.timer.start()

    def load(self, i):
        """As in every studio, and nothing is drawn anew for it."""
        super().load(i)
        self.forget()

    def start(self):
        """As in every studio, and no live picture that was due takes its place."""
        self.forget()
        super().start()

    def forget(self):
        """Draw nothing for what was changed a moment ago."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def start_due(self):
        """Draw, on the timer's thread, unless something has changed since or a kept picture was brought back."""
        if threading.current_thread() is self.timer:
            self.start_live()

    def start_live(self):
        """Draw what the controls say, in few calls."""
        try:
            c, quick = self.quick_model()
            self.begin(c, self.settings | quick)
        except Exception as problem:  # this runs on the timer's thread, where nobody else would say it
            self.show_problem(problem)

    def quick_model(self):
        """The model that draws live pictures, and its settings."""
        if self.fast is None:
            self.fast = fast_variant(self.c)
        if self.settings["negative_prompt"]:  # which the fast variant gave up, and guidance 1 leaves unused
            return self.c, {name: value for name, value in QUICKLY.items() if name != "guidance"}
        if self.fast is self.c:
            return self.c, QUICKLY
        return self.fast, QUICKLY | {"steps": self.fast.steps, "scheduler": "ddim"}


def idle_negative(settings):
    """A sentence where a negative prompt is set and guidance 1 leaves it unused, else ""."""
    return "At guidance 1 the negative prompt is not used." * (
        settings["guidance"] == 1 and bool(settings["negative_prompt"].strip())
    )


def fast_variant(c):
    """The postcard model's variant that draws in few calls; `c` itself for another model, or where this copy has none."""
    if c.name != "postcard" or FAST not in components.MODELS:
        return c
    try:
        return components.load_components(FAST, c.device, c.dtype, sharing=c)
    except (ValueError, FileNotFoundError):  # its name is known, and its weights have not been released
        return c


class Drawing(Still):
    """A drawing of shapes, to be the start of image-to-image. `image` is what has been drawn so far, PIL, square.

    size: its side in pixels. A shape is placed with the sliders (in percent of the side) and counts when Add is
    pressed. It begins as sky, ground, a sun and a red triangle.
    """

    SHAPES = ("rectangle", "ellipse", "triangle")
    BEGUN = [
        ("rectangle", "light blue", 50, 30, 100, 60),
        ("rectangle", "green", 50, 80, 100, 42),
        ("ellipse", "yellow", 80, 16, 16, 16),
        ("triangle", "red", 40, 62, 34, 28),
    ]

    def __init__(self, size=128):
        self.size = inputs.whole_number(size, "size", 16, 2048)
        self.drawn = list(self.BEGUN)  # (shape, colour, middle across, middle down, width, height)
        self.controls = {
            "shape": menu("shape", self.SHAPES, "ellipse"),
            "colour": menu("colour", COLOURS, "dark green"),
            "across": number("across", 75, 0, 100),
            "down": number("down", 55, 0, 100),
            "wide": number("wide", 24, 1, 100),
            "high": number("high", 24, 1, 100),
        }
        self.add, self.undo, self.clear = (widgets.Button(description=word) for word in ("Add", "Undo", "Clear"))
        self.add.on_click(lambda button: self.put([*self.drawn, self.pending]))
        self.undo.on_click(lambda button: self.put(self.drawn[:-1]))
        self.clear.on_click(lambda button: self.put([]))
        self.view, self.line = picture_of(self.image, SHOWN), widgets.HTML()
        for control in self.controls.values():
            control.observe(self.show, "value")
        controls = list(self.controls.values())
        super().__init__(
            [
                row(controls[:2]),
                row(controls[2:4]),
                row(controls[4:]),
                row([self.add, self.undo, self.clear]),
                self.view,
                self.line,
            ]
        )
        self.show()

    @property
    def pending(self):
        """The shape under the sliders, not yet added."""
        return tuple(control.value for control in self.controls.values())

    @property
    def image(self):
        """The drawing as a PIL picture (size x size), without the shape that is not yet added."""
        return self.painted(self.drawn)

    def painted(self, shapes, outlined=None):
        picture = Image.new("RGB", (self.size, self.size), "white")
        draw = ImageDraw.Draw(picture)
        for shape, colour, *place in shapes:
            paint(draw, shape, [share * self.size / 100 for share in place], fill=COLOURS[colour])
        if outlined:
            paint(
                draw,
                outlined[0],
                [share * self.size / 100 for share in outlined[2:]],
                outline=COLOURS[outlined[1]],
                width=2,
            )
        return picture

    def still(self):
        """The drawing, without the outline of the shape that is not yet added: on paper nobody can add it."""
        twice = self.image.resize((2 * self.size, 2 * self.size), Image.Resampling.NEAREST)
        return png(twice), "A flat drawing: " + ", ".join(f"{colour} {shape}" for shape, colour, *_ in self.drawn) + "."

    def put(self, shapes):
        self.drawn = shapes
        self.show()

    def show(self, change=None):
        self.view.value = png(self.painted(self.drawn, self.pending))
        self.undo.disabled = self.clear.disabled = not self.drawn
        shape, colour, *_ = self.pending
        outline = f"the outline of the {colour} {shape} is not drawn yet: Add draws it."
        self.line.value = sentence(f"{len(self.drawn)} shapes; {outline}")


def paint(draw, shape, place, **look):
    """One shape on a PIL drawing. place: middle across, middle down, width, height, in pixels."""
    across, down, wide, high = place
    left, top, right, bottom = across - wide / 2, down - high / 2, across + wide / 2, down + high / 2
    if shape == "triangle":
        draw.polygon([(across, top), (right, bottom), (left, bottom)], **look)
    else:
        {"rectangle": draw.rectangle, "ellipse": draw.ellipse}[shape]((left, top, right, bottom), **look)


def beside(pictures):
    """PIL pictures of one size in a row, with a thin white gap; one alone stays as it is."""
    if len(pictures) == 1:
        return pictures[0]
    (width, height), gap = pictures[0].size, max(pictures[0].width // 32, 1)
    row = Image.new("RGB", (len(pictures) * (width + gap) - gap, height), "white")
    for i, picture in enumerate(pictures):
        row.paste(picture, (i * (width + gap), 0))
    return row


def number(name, start, low, high, step=None, digits=".2f"):
    """A slider over numbers from low to high: whole ones, or in steps that are not. digits: as Python formats them."""
    if step is None:
        inputs.whole_number(start, name, low, high)
    else:
        start = inputs.number(start, name, f"a number from {low} to {high}", lambda start: low <= start <= high)
    common = {"min": low, "max": high, "description": name, "style": WIDE, "layout": widgets.Layout(width="300px")}
    if step is None:
        return named(widgets.IntSlider(start, **common))
    return named(widgets.FloatSlider(start, step=step, readout_format=digits, **common))


def picture_of(picture, height):
    """A PIL picture as a widget, so many CSS pixels high."""
    return widgets.Image(
        value=png(picture), format="png", layout=widgets.Layout(width=width_of(picture, height), height=f"{height}px")
    )


def width_of(picture, height):
    """How wide a picture is in CSS when it is shown `height` pixels high."""
    return f"{round(height * picture.width / picture.height)}px"


def png(picture, settings=None):
    """A PIL picture as PNG bytes. settings: written inside, under "parameters", see `parameters`."""
    note = PngImagePlugin.PngInfo()
    if settings:
        note.add_text("parameters", parameters(picture, settings))
    buffer = io.BytesIO()
    save_picture(picture, buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


def parameters(picture, settings):
    """Settings of a picture as AUTOMATIC1111's web UI writes them, so that other programs read them too.

    The prompt; "Negative prompt: ..." where there is one; then "Steps: 25, Sampler: ddim, ..." on one line, and there a
    value with a comma, a colon or the end of a line in it stands as JSON has it.
    """
    rest = {
        WORDS_INSIDE.get(name, name.replace("_", " ").capitalize()): str(value)
        for name, value in settings.items()
        if name not in ("prompt", "negative_prompt") and value != ""
    } | {"Size": "{}x{}".format(*picture.size)}
    quoted = {
        name: json.dumps(value, ensure_ascii=False) if re.search("[,:\n]", value) else value
        for name, value in rest.items()
    }
    negative = [f"Negative prompt: {settings['negative_prompt']}"] if settings.get("negative_prompt") else []
    return "\n".join([settings["prompt"], *negative, ", ".join(f"{name}: {value}" for name, value in quoted.items())])
