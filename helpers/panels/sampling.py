"""The panels of lesson 04: guidance on a line, and a studio: words and settings in, pictures out.

The studio's loop can be watched and stopped while it draws.
"""
import io
from pathlib import Path

import ipywidgets as widgets
from PIL import PngImagePlugin

from ..conditioning import too_long
from ..files import write_atomic
from ..latents import decode_latents, preview_of
from ..sampling import SCHEDULERS, denoise
from .base import WIDE, Panel, Still, menu, sentence, slider, text
from .job import Job

SHOWN = 192             # CSS pixels of a live picture
KEPT = 8                # pictures in the strip


def guidance_panel(exact):
    """Guidance on a line (a figures.guidance.Exact) with a slider over its scales."""
    def readout(scale):
        ends = exact.ends[scale]
        return (f"guided = empty + {scale:g} &middot; (prompt - empty) &nbsp; samples end at {ends.mean():.2f} on average, "
                f"spread {ends.std():.2f}")

    return Panel({"scale": slider("guidance", list(exact.ends), 4)}, exact.frame, readout)


class Studio(Still):
    """Prompt, negative prompt, steps, guidance, scheduler, seed; Generate, Cancel, Save; the last pictures.

    c: Components. settings: what the controls show at first, by the names of `denoise`'s arguments. At every
    step the latents are shown by the linear preview of lesson 02.
    """

    def __init__(self, c, **settings):
        self.c, self.preview, self.history, self.shown = c, preview_of(c), [], None
        start = {"prompt": "", "negative_prompt": "", "steps": 25, "guidance": c.guidance, "scheduler": "ddim",
                 "seed": 0} | settings
        self.controls = {
            "prompt": text("prompt", start["prompt"]),
            "negative_prompt": text("negative", start["negative_prompt"]),
            "steps": widgets.IntSlider(start["steps"], 1, 50, description="steps", style=WIDE),
            "guidance": widgets.FloatSlider(value=start["guidance"], min=0, max=15, step=0.5, description="guidance",
                                            style=WIDE, readout_format=".1f"),
            "scheduler": menu("scheduler", SCHEDULERS, start["scheduler"]),
            "seed": widgets.IntSlider(start["seed"], 0, 9999, description="seed", style=WIDE)}
        self.generate, self.cancel, self.save = (widgets.Button(description=word) for word in ("Generate", "Cancel", "Save"))
        self.generate.button_style, self.cancel.disabled, self.save.disabled = "primary", True, True
        self.bar, self.line = widgets.IntProgress(min=0, max=1, layout=widgets.Layout(width="300px")), widgets.HTML()
        self.views = {name: widgets.Image(format="png", layout=widgets.Layout(width=f"{SHOWN}px", height=f"{SHOWN}px"))
                      for name in ("x_t", "x_0", "picture")}
        words = ("x<sub>t</sub>: what the loop holds", "x<sub>0</sub>: what it expects", "the picture")
        self.strip = widgets.HBox()
        self.job = Job(self.show_step, self.show_picture, self.show_problem, self.show_cancelled)
        self.generate.on_click(lambda button: self.start())
        self.cancel.on_click(lambda button: self.job.cancel())
        self.save.on_click(lambda button: self.save_shown())
        rows = list(self.controls.values())
        super().__init__([*rows[:2], widgets.HBox(rows[2:4]), widgets.HBox(rows[4:]),
                          widgets.HBox([self.generate, self.cancel, self.save, self.bar]), self.line,
                          widgets.HBox([widgets.VBox([widgets.HTML(word), view])
                                        for word, view in zip(words, self.views.values())]), self.strip])

    @property
    def settings(self):
        """{name: value} as the controls stand: keyword arguments of `denoise`."""
        return {name: control.value for name, control in self.controls.items()}

    def start(self):
        """Draw what the controls say, in place of what is being drawn."""
        settings = self.settings

        def work():
            said = [too_long(self.c, settings[name]) for name in ("prompt", "negative_prompt")]
            for step in denoise(self.c, **settings):
                yield step, settings, said

        self.cancel.disabled, self.bar.value, self.bar.max = False, 0, settings["steps"]
        self.line.value = "The words are read ..."
        self.job.start(work, settings["steps"])

    def show_step(self, told, done, seconds_left):
        step, _, said = told
        self.bar.max = max(self.bar.max, done)      # "heun" and "pndm" call the U-Net more often than `steps`
        self.bar.value = done
        self.views["x_t"].value, self.views["x_0"].value = (png(self.preview(x)) for x in (step.latents, step.x0))
        self.line.value = sentence(f"Step {done} of {self.bar.max}, {seconds_left:.0f} s left.", *said)

    def show_picture(self, told):
        step, settings, said = told
        picture, = decode_latents(self.c, step.latents)
        self.cancel.disabled = True
        self.line.value = sentence("Done.", *said)
        self.keep(picture, settings)

    def show_problem(self, problem):
        self.cancel.disabled, self.bar.value = True, 0
        self.line.value = f"<b>{sentence(str(problem))}</b>"

    def show_cancelled(self, done):
        self.cancel.disabled, self.bar.value = True, 0
        self.line.value = sentence(f"Cancelled after {done} steps. The same settings draw the same picture.")

    def keep(self, picture, settings):
        """Show a finished picture and put it first into the strip, which holds the last few."""
        self.history = [(picture, settings), *self.history][:KEPT]
        self.show_kept(0)
        self.strip.children = [self.card(i) for i in range(len(self.history))]

    def card(self, i):
        """One picture of the strip, with a button that loads it back."""
        picture, settings = self.history[i]
        back = widgets.Button(description=f"seed {settings['seed']}", layout=widgets.Layout(width="96px"))
        back.on_click(lambda button: self.load(i))
        small = widgets.Image(value=png(picture), format="png", layout=widgets.Layout(width="96px", height="96px"))
        return widgets.VBox([small, back])

    def load(self, i):
        """Bring back picture i of the strip, and every control as it stood for it."""
        for name, value in self.history[i][1].items():
            self.controls[name].value = value
        self.show_kept(i)

    def show_kept(self, i):
        self.shown = self.history[i]
        self.views["picture"].value, self.save.disabled = png(*self.shown), False

    def save_shown(self):
        """Write the picture shown into the current folder, settings inside, under a name not yet taken."""
        number = 1
        while (path := Path(f"picture-{number:03d}.png")).exists():
            number += 1
        try:
            write_atomic(path, lambda file: file.write_bytes(png(*self.shown)))
        except OSError as problem:
            self.show_problem(problem)
        else:
            self.line.value = sentence(f"Saved as {path}, settings inside.")


def png(picture, settings=None):
    """A PIL picture as PNG bytes. settings: written inside, under "parameters", one "name: value" a line."""
    note = PngImagePlugin.PngInfo()
    if settings:
        note.add_text("parameters", "\n".join(f"{name}: {value}" for name, value in settings.items()))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()
