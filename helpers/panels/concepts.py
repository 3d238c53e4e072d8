"""The panels of lesson 05: the life of a vector, and a studio with concepts."""

import json
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from helpers import inputs
from helpers.concepts import Concept, loaded
from helpers.figures import style
from helpers.figures.concepts import life_of
from helpers.figures.lora import picture_rows
from helpers.library import LIBRARY, all_concepts, brought_in, call_of, find_concepts, is_lora, remarks, without  # noqa: F401  lessons ask for find_concepts here
from helpers.panels.base import Panel, menu, named, sentence, slider, text
from helpers.panels.sampling import Studio, beside, idle_negative, number
from helpers.postcards.measures import load_measures
from helpers.postcards.world import postcards_only
from helpers.sampling import denoise, generate

ON_HUB, HUB_WIDTH = "sd-concepts-library", 768  # vectors for Stable Diffusion 1, and their length
NONE = "none"
LINE = 0.36  # inches from one row of controls to the next, on a page


def life_panel(life, title):
    """F22, a figures.concepts.Life, with a slider over the steps at which there are pictures."""

    def frame(step):
        return life.figure(title, step, dpi=style.PANEL_DPI).png

    def readout(step):
        return sentence(
            f"Step {step}: nearest "
            + ", ".join(f"{word} ({cosine:.2f})" for cosine, word in life.nearest(step, 3))
            + "."
        )

    stops = list(life.pictures)
    return Panel({"step": slider("training step", stops, stops[-1])}, frame, readout)


def watch(c, path, prompt, word, title, **settings):
    """`life_panel` of a training, its pictures drawn from one noise.

    path, word: as `life_of` takes them. prompt: with {} for the word that is learnt. settings: of `generate`.
    """

    def draw(concepts):
        with loaded(c, *concepts) as model:
            return generate(model, [prompt.format(one.token) for one in concepts], seed=[0] * len(concepts), **settings)

    return life_panel(life_of(c, path, draw, word), title)


# What was measured beforehand


def contests():
    """What was measured beforehand for lesson 05: concepts/contests.json, which `python -m tools.contests` writes."""
    return json.loads((LIBRARY / "contests.json").read_text(encoding="utf-8"))


def side_by_side(c, drawn, prompts, word, title, few=4, seen=None):
    """Show a few pictures of each row, and what the measures found in all of them.

    drawn: {row: PIL pictures, one a prompt; or of some prompts, those shown among them, {which: picture}}. word: "teal" or "windmill", which every prompt holds. few, seen: as in
    `picture_rows`. Returns {row: {what was found: (in how many, of how many)}}, empty for a model of another world, of
    which the measures know nothing.
    """
    found = {}
    if postcards_only(c, "the counts, as the measures read postcards"):
        measures = load_measures()
        for row, pictures in drawn.items():
            some = list(pictures) if isinstance(pictures, dict) else range(len(pictures))
            found[row] = measures.found([pictures[i] for i in some], [prompts[i] for i in some], word)
    display(picture_rows(drawn, [prompt.replace(word, "…") for prompt in prompts], found, title, few=few, seen=seen))
    return found


class ConceptStudio(Studio):
    """The studio of lesson 04 with a concept, several, or none: every picture with them, and beside it without.

    c: Components. library: {name: a Concept, a folder, a file, or an id on the Hub}; None: the course's own and the
    reader's, as far as they fit the model.
    settings: what the controls show at first: those of `Studio`, concept, second (names), own (a path), and the strengths
    of each, if it is a LoRA: strength, second_strength, own_strength.
    drawn: two pictures to begin with, drawn with these settings: with the concepts, and without. None: no picture.
    Without means: the same settings, the placeholders taken out of the prompts, no LoRA. Save writes the picture
    with them, "Save both" the pair.
    Where the text encoder is as wide as Stable Diffusion's, a line takes any id of sd-concepts-library.
    """

    STRENGTHS = {"concept": "strength", "second": "second_strength", "own": "own_strength"}
    ROWS = (*STRENGTHS.items(), ("hub",), *Studio.ROWS)
    called = ""  # what the line said last of the words that call the concepts
    WORDS = Studio.WORDS | {"picture": "with, and beside it without"}

    def __init__(self, c, library=None, drawn=None, **settings):
        self.library = (
            all_concepts(c)
            if library is None
            else dict(
                inputs.table(library, "library", "{name: a Concept, a folder, a file, or an id on the Hub}", least=0)
            )
        )
        for name, source in self.library.items():
            inputs.text(name, "A name in library")
            if not isinstance(source, Concept):
                inputs.path(source, f"library[{name!r}]", "a Concept, a folder, a file, or an id on the Hub")
        self.save_both = widgets.Button(description="Save both", disabled=True)
        super().__init__(c, **settings)
        self.save_both.on_click(lambda button: self.save_as(*self.shown))
        for name in ("concept", "second"):
            self.controls[name].observe(self.show_call, "value")
        if drawn is not None:
            self.keep(beside(inputs.pictures(drawn, "drawn")), self.settings)
        self.show_call()

    def make_controls(self, start):
        """{name: widget}: those of the studio, and the concepts."""
        start = {"concept": NONE, "second": NONE, "own": ""} | dict.fromkeys(self.STRENGTHS.values(), 1.0) | start
        for name in ("concept", "second"):
            known = ", ".join([NONE, *self.library])
            if inputs.text(start[name], name, f"one of {known}") not in (NONE, *self.library):
                raise ValueError(f"There is no {name} {inputs.shown(start[name])}: use one of {known}.")
        sources = {
            "concept": menu("concept", [NONE, *self.library], start["concept"]),
            "second": menu("and", [NONE, *self.library], start["second"]),
            "own": text("a file of your own", start["own"]),
        }
        mine = {}
        for name, strength in self.STRENGTHS.items():
            dial = number(strength, start[strength], -1, 2, 0.25)
            dial.description, dial.layout.width = "strength, if a LoRA", "420px"
            mine |= {name: sources[name], strength: named(dial)}
        if self.c.text_encoder.config.hidden_size == HUB_WIDTH:
            mine["hub"] = text(f"{ON_HUB}/", start.get("hub", ""))
        return mine | super().make_controls(start)

    def actions(self):
        return [*super().actions(), self.save_both]

    def about(self):
        """Nothing: its still shows every control by its name."""
        return ""

    def still(self):
        """Its controls as they stand, in columns, and its picture where one is drawn."""
        rows = [[self.controls[name] for name in names if name in self.controls] for names in self.ROWS]
        rows, high = list(filter(None, rows)), 1.7 if self.shown else 0
        fig = style.new_figure(LINE * (len(rows) + 1) + high + 0.1, dpi=style.PANEL_DPI)
        columns = [[controls[k] for controls in rows if k < len(controls)] for k in range(max(map(len, rows)))]
        wide, begins = (
            style.WIDTH / len(columns),
            [max(0.085 * len(one.description) + 0.1 for one in some) for some in columns],
        )
        for r, controls in enumerate(rows):
            for k, control in enumerate(controls):
                x, y, end = 0.1 + k * wide, LINE * (r + 0.5), style.WIDTH if k == len(controls) - 1 else (k + 1) * wide
                begin = x + begins[k]
                style.write(fig, x, y, control.description, fontsize=9.5, color=style.FAINT)
                style.box(fig, begin, y - 0.13, end - begin - 0.15, 0.26, "#BBBBBB", linestyle="-", linewidth=0.8)
                style.write(fig, begin + 0.08, y, str(control.value), fontsize=9.5)
        for k, button in enumerate(self.actions()):
            style.block(fig, 0.1 + 1.3 * k, LINE * (len(rows) + 0.5) - 0.14, 1.2, 0.28, "#DDDDDD")
            style.write(fig, 0.7 + 1.3 * k, LINE * (len(rows) + 0.5), button.description, ha="center", fontsize=9.5)
        if self.shown:
            across, top = high * self.shown[0].width / self.shown[0].height, LINE * (len(rows) + 1)
            style.show_picture(fig, self.shown[0], 0.1, top, across)
            style.write(fig, 0.25 + across, top + high / 2, self.WORDS["picture"], fontsize=9.5, color=style.FAINT)
        chosen = ", ".join(
            name for name in (self.controls["concept"].value, self.controls["second"].value) if name != NONE
        )
        said = f"The concepts chosen: {chosen or NONE}; the prompt: {self.controls['prompt'].value}"
        said += (
            "; two pictures, with the concepts and without"
            if self.shown and self.shown[0].width > self.c.image_size
            else ""
        )
        return style.finish(fig, said).png, said

    def chosen(self, settings):
        """The concepts that are asked for, each once: (where it is, the strength it is to have if it is a LoRA)."""
        wanted = {}
        for name in ("concept", "second"):
            if settings[name] != NONE:
                wanted.setdefault(settings[name], (self.library[settings[name]], settings[self.STRENGTHS[name]]))
        if own := settings["own"].strip():
            wanted["path", own] = Path(own).expanduser(), settings["own_strength"]  # a key that no concept's name is
        if asked := settings.get("hub", "").strip().removeprefix(f"{ON_HUB}/"):
            wanted["hub", asked] = f"{ON_HUB}/{asked}", 1.0
        return list(wanted.values())

    def show_call(self, change=None):
        """Say which words call the concepts that are chosen."""
        calls = [call_of(source) for source, _ in self.chosen({**self.settings, "hub": "", "own": ""})]
        calls = " and ".join(filter(None, calls))
        if calls or self.line.value == self.called:
            self.line.value = self.called = sentence(f"In the prompt: {calls}." if calls else "")

    def show_kept(self, entry):
        super().show_kept(entry)
        self.save_both.disabled = self.shown[0].width == self.c.image_size

    def save_shown(self):
        """Write the picture with the concepts, without the one beside it."""
        pair, settings = self.shown
        self.save_as(pair.crop((0, 0, self.c.image_size, pair.height)), settings)

    def count_loops(self, settings):
        return 2 if self.chosen(settings) else 1

    def loops(self, model, settings):
        prompts = "prompt", "negative_prompt"
        usual = {name: settings[name] for name in ("steps", "guidance", "scheduler", "seed")}
        asked, sources = {name: settings[name] for name in prompts}, self.chosen(settings)
        if not sources:
            yield [*remarks(model, asked, []), idle_negative(settings)], denoise(model, **asked, **usual)
            return
        changed, concepts = brought_in(model, sources)
        twice = settings["concept"] == settings["second"] != NONE
        calls = [one.token for one in concepts] + [call_of(one) for one, _ in sources if is_lora(one)]
        said = [f"{settings['concept']} is chosen twice: it is used once, with the first strength."] * twice
        said += [*remarks(changed, asked, calls), idle_negative(settings)]
        plain = {name: without(asked[name], concepts) for name in prompts}
        yield said, denoise(changed, **asked, **usual)
        yield said, denoise(model, **plain, **usual)
