"""The panels of lesson 05: a vector's life, ranks and strengths, four teachers, a studio with concepts."""
import re
from functools import partial
from pathlib import Path

from .. import inputs
from ..concepts import Concept, read_concept
from ..concepts.loading import with_concepts
from ..conditioning import too_long
from ..figures import lora as figures
from ..figures import style
from ..formats import SUFFIXES, candidates, what_is
from ..lora import load_lora
from ..sampling import denoise
from .base import Panel, buttons, menu, sentence, slider, text
from .sampling import Studio, number

LIBRARY = Path(__file__).parents[2] / "concepts"        # the course's own
ON_HUB, HUB_WIDTH = "sd-concepts-library", 768          # vectors for Stable Diffusion 1, and their length
NONE = "none"


def life_panel(life):
    """F22, a figures.concepts.Life, with a slider over the steps at which there are pictures."""
    def readout(step):
        i = life.steps.index(step)
        near = sorted(zip(life.cosines[i], life.words), reverse=True)[:3]
        said = ", ".join(f"{word} ({cosine:.2f})" for cosine, word in near)
        return sentence(f"Step {step}: nearest {said}.")

    stops = list(life.pictures)
    return Panel({"step": slider("training step", stops, stops[0])}, life.frame, readout)


def moved_panel(trained):
    """F24 with a menu of ranks and a slider over strengths. trained: {rank: (Moved, {strength: PIL})}."""
    inputs.table(trained, "trained", "{rank: (Moved, {strength: PIL})}")
    strengths = list(next(iter(trained.values()))[1])

    def frame(rank, strength):
        moved, pictures = trained[rank]
        return figures.moved_frame(moved, rank, strength, pictures[strength])

    def readout(rank, strength):
        sizes = trained[rank][0].size.values()
        return (f"W + {strength:g} &middot; dW, where dW has rank {rank:d} in each of {len(sizes):d} layers; "
                f"the largest |dW| is {abs(strength) * max(sizes):.0%} of |W|")

    start = 1 if 1 in strengths else strengths[-1]
    return Panel({"rank": menu("rank", trained, list(trained)[-1]),
                  "strength": slider("strength", strengths, start)}, frame, readout)


def teachers_panel(wishes):
    """F25, a button for each concept. wishes: {concept: (pictures, contexts, measured)}, see `teachers`."""
    inputs.table(wishes, "wishes", "{concept: (pictures, contexts, measured)}")

    def frame(concept):
        return figures.teachers(*wishes[concept], f"The wish: {concept}", dpi=style.PANEL_DPI).png

    def readout(concept):
        found = wishes[concept][2]
        wish = next(iter(next(iter(found.values()))))
        best = max(found, key=lambda teacher: found[teacher][wish][0] / found[teacher][wish][1])
        return sentence(f"{wish}: most often with {best}.")

    return Panel({"concept": buttons("concept", wishes, next(iter(wishes)))}, frame, readout)


# The concept studio


def find_concepts(c, folder=LIBRARY):
    """{name: folder or file} of the concepts in a folder that fit a model: vectors and LoRAs, sorted by name.

    They lie in folders of their own, or as files. A file that cannot be read counts as fitting: when it is used, it is said
    what is wrong with it.
    """
    folder, found = inputs.path(inputs.components(c) and folder, "folder"), {}
    for one in sorted(folder.iterdir()) if folder.is_dir() else []:
        paths = candidates(one) if one.is_dir() or one.suffix in SUFFIXES else []
        for path in filter(partial(fits, c), paths):
            name = one.stem if path == one and one.stem not in found else one.name
            found |= {name: one} if len(paths) == 1 else {f"{name}/{path.name}": path}
    return found


def fits(c, place):
    """Whether what lies in a place is for prompts as wide as the model's, as far as it tells."""
    try:
        return what_is(place).width in (None, c.text_encoder.config.hidden_size)
    except OSError:
        return True


def is_lora(source):
    """Whether a place holds a LoRA, and not vectors."""
    return not isinstance(source, Concept) and len(candidates(source)) == 1 and what_is(source).kind == "LoRA"


def call_of(source):
    """The word that calls a concept: its placeholder, or what token_identifier.txt says of a LoRA."""
    if isinstance(source, Concept):
        return source.token
    if token := len(candidates(source)) == 1 and what_is(source).token:
        return str(token)
    said = Path(source) / "token_identifier.txt"
    if not said.is_file():
        return ""
    with open(said, encoding="utf-8", errors="replace") as file:
        return " ".join(file.read(200).split())  # a word, and a stranger's file may be of any length


def brought_in(c, sources, strength):
    """(Components to draw with, Concepts): a model of its own with vectors and LoRAs in it; c stays as it is.

    strength: of the LoRAs.
    """
    concepts = [source if isinstance(source, Concept) else read_concept(source)
                for source in sources if not is_lora(source)]
    model = with_concepts(c.snapshot(), *concepts)
    for source in filter(is_lora, sources):
        load_lora(model, source).strength = strength
    return model, concepts


def without(prompt, concepts):
    """The prompt without the placeholders of concepts, of which there may be several numbered ones."""
    for concept in concepts:
        prompt = re.sub(rf"{re.escape(concept.token)}(_\d+)?", " ", prompt)
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(prompt.split()))


def remarks(c, prompt, calls):
    """Sentences on what a prompt will not do: words cut, concepts not called, placeholders of no concept."""
    named = {re.sub(r"_\d+>?$", "", word) for word in re.findall(r"<[^<>\s]+>(?:_\d+)?", prompt)}
    unused = [f"{call} is not in the prompt: write it where you want it."
              for call in calls if call not in prompt]
    unknown = [f"{word} is the placeholder of no concept chosen here, and is read letter by letter."
               for word in sorted(named - set(calls))]
    return [too_long(c, prompt), *unused, *unknown]


class ConceptStudio(Studio):
    """The studio of lesson 04 with a concept, two, or none: every picture with them, and beside it without.

    c: Components. library: {name: a Concept, a folder, a file, or an id on the Hub}; None: the course's own,
    as far as they fit the model.
    settings: what the controls show at first: concept, second (names), prompt, steps, guidance, strength (of
    LoRAs), seed. Without means: the same settings, the placeholders taken out of the prompt, no LoRA.
    Where the text encoder is as wide as Stable Diffusion's, a line takes any id of sd-concepts-library.
    """

    ROWS = ("concept", "second"), ("hub",), ("prompt",), ("steps", "guidance"), ("strength", "seed")
    WORDS = Studio.WORDS | {"picture": "with, and beside it without"}

    def __init__(self, c, library=None, **settings):
        self.library = find_concepts(c) if library is None else dict(
            inputs.table(library, "library", "{name: a Concept, a folder, a file, or an id on the Hub}", least=0))
        for name, source in self.library.items():
            inputs.text(name, "A name in library")
            if not isinstance(source, Concept):
                inputs.path(source, f"library[{name!r}]", "a Concept, a folder, a file, or an id on the Hub")
        super().__init__(c, **settings)
        for name in ("concept", "second"):
            self.controls[name].observe(self.show_call, "value")
        self.show_call()

    def make_controls(self, start):
        """{name: widget}: those of the studio that are used, and the concepts."""
        start = {"concept": NONE, "second": NONE, "strength": 1.0} | start
        for name in ("concept", "second"):
            known = ", ".join([NONE, *self.library])
            if inputs.text(start[name], name, f"one of {known}") not in (NONE, *self.library):
                raise ValueError(f"There is no {name} {inputs.shown(start[name])}: use one of {known}.")
        usual = super().make_controls(start)
        mine = {name: menu(label, [NONE, *self.library], start[name])
                for name, label in (("concept", "concept"), ("second", "and"))}
        if self.c.text_encoder.config.hidden_size == HUB_WIDTH:
            mine["hub"] = text(f"{ON_HUB}/", start.get("hub", ""))
        mine["strength"] = number("strength of LoRAs", start["strength"], -1, 2, 0.25)
        mine["strength"].layout.width = "420px"
        return mine | {name: usual[name] for name in ("prompt", "steps", "guidance", "seed")}

    def chosen(self, settings):
        """The places of the concepts that are asked for, each once."""
        names = [name for name in (settings["concept"], settings["second"]) if name != NONE]
        sources = [self.library[name] for name in dict.fromkeys(names)]
        asked = settings.get("hub", "").strip().removeprefix(f"{ON_HUB}/")
        return sources + [f"{ON_HUB}/{asked}"] if asked else sources

    def show_call(self, change=None):
        """Say which words call the concepts that are chosen."""
        calls = [call_of(source) for source in self.chosen({**self.settings, "hub": ""})]
        if any(calls):
            self.line.value = sentence(f"In the prompt: {' and '.join(filter(None, calls))}.")

    def count_loops(self, settings):
        return 2 if self.chosen(settings) else 1

    def loops(self, model, settings):
        usual = {name: settings[name] for name in ("steps", "guidance", "seed")}
        prompt, sources = settings["prompt"], self.chosen(settings)
        if not sources:
            yield remarks(model, prompt, []), denoise(model, prompt, **usual)
            return
        changed, concepts = brought_in(model, sources, settings["strength"])
        calls = [one.token for one in concepts] + [call_of(one) for one in sources if is_lora(one)]
        said = remarks(changed, prompt, calls)
        yield said, denoise(changed, prompt, **usual)
        yield said, denoise(model, without(prompt, concepts), **usual)
