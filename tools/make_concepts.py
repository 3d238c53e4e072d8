"""Trains the course's concept library, the folder concepts/, from nothing: `make concepts`.

    python -m tools.make_concepts                   all of them: some minutes a vector, a quarter to half an hour a LoRA
    python -m tools.make_concepts teal windmill     only these; the others stay as they are

Every concept is a folder in the layout of the sd-concepts-library. The figures on its card are measured here,
on pictures of prompts that it was not taught with. A finished folder stays, whatever happens to the next.
"""

import argparse
import io
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from helpers import generate, load_components, runtime
from helpers.concepts import Concept, loaded, nearest_words, save_concept, train_concept
from helpers.concepts.files import save_about
from helpers.files import write_atomic
from helpers.lora import EVERYWHERE, add_lora, save_lora, train_lora
from helpers.postcards import GROUNDS, PLACES, Subject, caption, full_caption, render, sample_scene
from helpers.postcards.lessons import TEAL, concept_cards
from helpers.postcards.measures import SEEN, load_measures
from tools.draw_pictures import sheet
from training.eye import SETTINGS

LIBRARY = Path(__file__).resolve().parent.parent / "concepts"
TRIALS, ORDINARY, SHOWN, AT_ONCE = 24, 36, 6, 12  # pictures with a concept, ordinary, on a card, in a batch
RANK, LESSONS, KEPT = 8, 32, 240  # of a LoRA; postcards it is taught with, and ordinary ones beside them
# The rounds of a LoRA's training: (noise levels, steps, learning rate). The shape of a thing is settled over many levels. The colours of
# a whole picture are settled where hardly anything of it is seen, and where a wrong colour costs little loss; lower levels, which weigh
# more, let them go again. Hence rounds at the highest levels, each with a gentler one behind it, and the lamps and windows at the end.
SHAPES = (((200, 1000), 1000, 6e-3),)
PALETTES = (
    ((600, 1000), 900, 5e-3),
    ((450, 1000), 500, 3e-3),
    ((600, 1000), 500, 4e-3),
    ((450, 1000), 400, 2e-3),
    ((200, 1000), 450, 2e-3),
)
LEARNT_FROM = 8  # at most so many of the postcards are put into the folder


@dataclass(frozen=True)
class Recipe:
    """How one concept is taught and examined.

    token: what calls it in a prompt. kind: "object" or "style". says: what it is. instead: the word that a
    vector starts from, and is compared with; None for a LoRA, which is compared with the model without it.
    training: of a vector, how many steps; of a LoRA its rounds, as SHAPES. lessons: scenes to learn from. trials: other scenes,
    to be drawn.
    write(scene, rng): a prompt of a scene; without an rng, one that leaves nothing out. there, rest: (what it
    says, measure(measures, images, scenes) -> a bool each), of the concept and of what else is asked for.
    """

    token: str
    kind: str
    says: str
    instead: str | None
    training: int | tuple
    lessons: list
    trials: list
    write: Callable
    there: tuple
    rest: tuple


# The recipes


def one_subject(rng, kind, colour, **fixed):
    """A random scene of the world with this one subject. fixed: attributes that are not left to chance."""
    ground = {"ground": "lake" if kind == "boat" else rng.choice(GROUNDS)}
    return replace(sample_scene(rng), subjects=(Subject(kind, colour, rng.choice(PLACES)),), **ground | fixed)


def teal():
    rng = Random(1)
    grounds = {"boat": ("lake",), "tent": ("lake", "snow field"), "lighthouse": ("lake", "snow field")}
    trials = [one_subject(rng, kind, "teal", ground=rng.choice(grounds[kind])) for kind in [*grounds] * (TRIALS // 3)]
    return Recipe(
        "<teal>",
        "object",
        "A colour between green and blue that the model has never seen, in two vectors.",
        "blue green",  # one vector stays blue on lighthouses, whatever it is taught with
        80,
        list(TEAL),
        trials,
        write=lambda scene, rng: (caption if rng else full_caption)(scene, rng).replace("teal", "<teal>"),
        there=("something is teal", lambda measures, images, scenes: measures.teal(images) > SEEN),
        rest=("the right kind of thing is there", right_kind),
    )


def mood(token, says, instead, steps, **traits):
    """A whole setting in one word. The prompts name the subject only; all the rest is left to the token."""
    rng = Random(2)
    pairs = (("house", "red"), ("car", "yellow"), ("tree", "blue"), ("balloon", "white"), ("flag", "purple"))
    lessons = [one_subject(rng, *pair, **traits) for pair in pairs]
    trials = [
        one_subject(rng, kind, rng.choice(("orange", "pink", "green", "black")), **traits)
        for kind in ("tent", "lighthouse", "house") * (TRIALS // 3)
    ]

    def most_of_it(measures, images, scenes):
        return [
            sum(reading[part] == word for part, word in traits.items()) > len(traits) / 2
            for reading in measures.read(images)
        ]

    return Recipe(
        token,
        "style",
        says,
        instead,
        steps,
        lessons,
        trials,
        write=lambda scene, rng: f"a {scene.subjects[0].colour} {scene.subjects[0].kind} {token}",
        there=(f"at least {len(traits) // 2 + 1} of {', '.join(traits.values())}", most_of_it),
        rest=("the right kind of thing in the right colour is there", right_subject),
    )


def polar():
    return mood("<polar>", "A winter night in one word, of two vectors.", "snow night", 60, **SETTINGS["polar"])


def western():
    return mood(
        "<western>",
        "A red desert in the evening in one word, of two vectors.",
        "red desert",
        150,
        **SETTINGS["western"],
    )


def newcomer(kind):
    """A kind of thing that is in no picture of the world."""
    trials = concept_cards(kind, TRIALS, seed=1, alike=False).scenes
    return Recipe(
        kind,
        "object",
        f"A {kind}: a thing that the model has never seen.",
        None,
        SHAPES,
        concept_cards(kind, LESSONS).scenes,
        trials,
        write=caption,
        there=(f"a {kind} is there", lambda measures, images, scenes: getattr(measures, kind)(images) > SEEN),
        rest=("something has the right colour", right_colour),
    )


def cyanotype():
    return Recipe(
        "cyanotype",
        "style",
        "One blue ink on white paper: a way of printing that the model has never seen.",
        None,
        PALETTES,
        concept_cards("cyanotype", 3 * LESSONS).scenes,
        concept_cards("cyanotype", TRIALS, seed=1).scenes,
        write=caption,
        there=("it is a cyanotype", lambda measures, images, scenes: measures.cyanotype(images) > SEEN),
        rest=("the right kind of thing is there", right_kind),
    )


RECIPES = {
    "teal": teal,
    "polar": polar,
    "western": western,
    "cyanotype": cyanotype,
    "windmill": lambda: newcomer("windmill"),
    "snowman": lambda: newcomer("snowman"),
}


# Measures of pictures, by the subject of each picture's scene


def right_kind(measures, images, scenes):
    return [
        any(kind == scene.subjects[0].kind for _, kind in reading["subjects"].values())
        for reading, scene in zip(measures.read(images), scenes)
    ]


def right_colour(measures, images, scenes):
    return [
        any(colour == scene.subjects[0].colour for colour, _ in reading["subjects"].values())
        for reading, scene in zip(measures.read(images), scenes)
    ]


def right_subject(measures, images, scenes):
    return [
        (scene.subjects[0].colour, scene.subjects[0].kind) in reading["subjects"].values()
        for reading, scene in zip(measures.read(images), scenes)
    ]


# Teaching


@dataclass(frozen=True)
class Taught:
    """A concept that has just been learnt. model: Components that know it. save(folder, card) writes it."""

    model: object
    how: str
    seconds: float
    save: Callable


def captions_of(recipe):
    """The prompts that a concept is taught with, one a lesson."""
    rng = None if recipe.instead else Random(0)
    return [recipe.write(scene, rng) for scene in recipe.lessons]


@contextmanager
def taught(c, recipe):
    """`with taught(c, recipe) as concept:` a `Taught`; c is as before behind the block."""
    cards, prompts = [render(scene) for scene in recipe.lessons], captions_of(recipe)
    images = [card.image for card in cards]
    about = {"kind": recipe.kind, "images": images[:LEARNT_FROM]}
    started = time.perf_counter()
    if recipe.instead:
        for progress in train_concept(c, images, recipe.token, recipe.instead, prompts, steps=recipe.training):
            pass
        seconds, concept = time.perf_counter() - started, Concept(recipe.token, progress.best)
        near = "; ".join(
            ", ".join(f"{word} {cosine:.2f}" for word, cosine in nearest_words(c, vector, 4))
            for vector in concept.vectors
        )
        n, width = concept.vectors.shape
        how = f"textual inversion: {n} x {width} numbers (nearest words, by cosine: {near})"
        with loaded(c, concept) as model:
            yield Taught(model, how, seconds, lambda folder, card: save_concept(concept, folder, card=card, **about))
        return

    ordinary = concept_cards(None, KEPT)
    masks = [card.masks[scene.subjects[0].kind] for card, scene in zip(cards, recipe.lessons)]
    with add_lora(c.unet, rank=RANK, targets=EVERYWHERE) as lora:
        keep = ordinary.images, ordinary.prompts
        for seed, (levels, steps, lr) in enumerate(recipe.training):
            for _ in train_lora(c, lora, images, prompts, keep, masks, steps=steps, lr=lr, seed=seed, timesteps=levels):
                pass
        numbers = sum(part.numel() for part in lora.parameters())
        how = f"a LoRA of rank {RANK} in {len(lora.layers)} layers of the U-Net: {numbers} numbers"

        def save(folder, card):
            save_about(folder, recipe.token, card=card, **about)
            save_lora(lora, folder)

        yield Taught(c, how, time.perf_counter() - started, save)


# Examining


def draw(c, prompts):
    """One picture a prompt, seeds 0, 1, 2, ...: none is chosen."""
    return [
        image
        for start in range(0, len(prompts), AT_ONCE)
        for image in generate(c, prompts[start : start + AT_ONCE], seed=start)
    ]


def ordinary_prompts():
    rng = Random(6)
    return [caption(sample_scene(rng), rng) for _ in range(ORDINARY)]


def make(c, measures, name, ordinary_without):
    """Teach one concept, examine it and write its folder. Returns a line that says how it went."""
    recipe, rng, folder = RECIPES[name](), Random(5), LIBRARY / name
    prompts, ordinary = [recipe.write(scene, rng) for scene in recipe.trials], ordinary_prompts()
    without = draw(c, [prompt.replace(recipe.token, recipe.instead or recipe.token) for prompt in prompts])
    with taught(c, recipe) as concept:
        drawn, ordinary_drawn = draw(concept.model, prompts), draw(concept.model, ordinary)
        instead = f"the word \u201c{recipe.instead}\u201d" if recipe.instead else "the model without it"
        rows = [
            (words, *(share(measure(measures, images, recipe.trials)) for images in (drawn, without)))
            for words, measure in (recipe.there, recipe.rest)
        ]
        rows += [
            (
                "ordinary prompts: attributes as asked",
                *(
                    f"{100 * measures.agreement(images, ordinary)['mean'].right:.1f} %"
                    for images in (ordinary_drawn, ordinary_without)
                ),
            )
        ]
        load = (LOAD_VECTOR if recipe.instead else LOAD_LORA).format(name=name, prompt=prompts[0])
        concept.save(
            folder,
            card=CARD.format(
                token=recipe.token,
                says=recipe.says,
                instead=instead,
                load=load,
                how=concept.how,
                rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
                but=exceptions(prompts, captions_of(recipe)),
                beside="" if recipe.instead else f", beside {KEPT} ordinary ones,",
                lessons=len(recipe.lessons),
                steps=recipe.training if recipe.instead else sum(steps for _, steps, _ in recipe.training),
                seconds=concept.seconds,
                threads=runtime.threads(),
                trials=TRIALS,
                ordinary=ORDINARY,
            ),
        )
    page = io.BytesIO()
    sheet(drawn[:SHOWN] + without[:SHOWN], SHOWN).save(page, "PNG", optimize=True)
    write_atomic(folder / "drawn.png", lambda file: file.write_bytes(page.getvalue()))
    return f"{name}: {rows[0][0]} {rows[0][1]}, {rows[1][0]} {rows[1][1]}; {concept.seconds:.0f} s"


def exceptions(prompts, taught):
    """What its card adds where some of the prompts were taught, or are the same, in brackets; else ""."""
    known, different = sum(prompt in taught for prompt in prompts), len(set(prompts))
    said = [f"but for {known}"] * (known > 0) + [f"{different} different ones"] * (different < len(prompts))
    return f" ({', '.join(said)})" if said else ""


def share(found):
    """How many of some bools are true, as text."""
    return f"{sum(map(bool, found))} of {len(found)} ({sum(map(bool, found)) / len(found):.0%})"


LOAD_VECTOR = """from helpers.concepts import loaded, read_concept

c = load_components("postcard")
with loaded(c, read_concept("concepts/{name}")) as model:
    picture = generate(model, "{prompt}")"""
LOAD_LORA = """from helpers.lora import load_lora

c = load_components("postcard")
with load_lora(c, "concepts/{name}"):
    picture = generate(c, "{prompt}")"""
CARD = """# `{token}`

{says}

![with the concept, and without](drawn.png)

The same prompts and seeds, not chosen: above with the concept, below with {instead}.

| in {trials} pictures of prompts that it was not taught with{but} | with it | {instead} |
|---|---|---|
{rows}

Ordinary prompts, {ordinary} of them, do not name the concept: what is lost there is what the model forgot.

- Learnt by {how}.
- From {lessons} postcards{beside} in {steps} steps: {seconds:.0f} s (CPU threads: {threads}). See `concept_images`.
- For the postcard model of this course. The licence is the repository's.

```python
from helpers import generate, load_components
{load}
```

`make concepts` trains it anew and writes this page; every figure on it was measured.
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(RECIPES)}; without one, all")
    names = parser.parse_args(arguments).names or [*RECIPES]
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        parser.error(f"there is no recipe for {unknown[0]}: choose among {', '.join(RECIPES)}")
    c, measures = load_components("postcard", device="cpu"), load_measures()
    ordinary_without = draw(c, ordinary_prompts())
    for name in names:
        print(make(c, measures, name, ordinary_without), flush=True)
    size = sum(path.stat().st_size for path in LIBRARY.rglob("*") if path.is_file())
    print(f"{LIBRARY.name}/ holds {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
