"""Words for a scene, the pixels each word speaks of, and back from words to what they name."""

import re
from random import Random

from helpers import inputs
from helpers.postcards.scene import COLOURS, KEPT_OUT, KINDS, PLACES, WHOLE, Scene

SKY_WORDS = {
    "dawn": ("at dawn",),
    "day": ("by day",),
    "cloudy": ("on a cloudy day", "under a cloudy sky"),
    "sunset": ("at sunset",),
    "night": ("at night",),
}
LIGHT_WORDS = {
    "sun": ("with the sun", "under the sun"),
    "full moon": ("with a full moon", "under a full moon"),
    "crescent moon": ("with a crescent moon", "under a crescent moon"),
}
GROUND_WORDS = {
    "lake": ("on a lake",),
    "meadow": ("in a meadow",),
    "desert": ("in the desert",),
    "snow field": ("in a snow field",),
}
GROUND_BELOW = {
    "lake": ("over a lake",),
    "meadow": ("over a meadow",),
    "desert": ("over the desert",),
    "snow field": ("over a snow field",),
}
BACKDROP_WORDS = ("in front of {}", "below {}", "with {}")
WEATHER_WORDS = {"rain": ("in the rain",), "mist": ("in the mist",), "falling snow": ("in falling snow",)}
PLACE_WORDS = {"left": "on the left", "middle": "in the middle", "right": "on the right"}


def scene_of(scene):
    """TypeError for what is no Scene."""
    if not isinstance(scene, Scene):
        raise TypeError(f"scene must be a Scene, such as sample_scene returns, not {inputs.shown(scene)}.")
    return scene


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def clauses(scene: Scene, rng: Random):
    """Every clause of a caption: the subjects (always first) and, by attribute, the clauses about the rest.

    What is printed in one ink has no colours to name.
    """
    names = [s.kind if scene.style == "cyanotype" else f"{s.colour} {s.kind}" for s in scene.subjects]
    subjects = [(article(name), PLACE_WORDS[s.place]) for name, s in zip(names, scene.subjects)]
    flying = all(s.kind == "balloon" for s in scene.subjects)
    rest = {
        "ground": rng.choice((GROUND_BELOW if flying else GROUND_WORDS)[scene.ground]),
        "sky": rng.choice(SKY_WORDS[scene.sky]),
    }
    if scene.backdrop != "none":
        rest["backdrop"] = rng.choice(BACKDROP_WORDS).format(scene.backdrop)
    if scene.light != "none":
        rest["light"] = rng.choice(LIGHT_WORDS[scene.light])
    if scene.weather != "none":
        rest["weather"] = rng.choice(WEATHER_WORDS[scene.weather])
    return subjects, rest


def full_caption(scene: Scene, rng: Random | None = None) -> str:
    """Every attribute of the scene, in the usual order: "a red boat on the left on a lake below snowy mountains at sunset".

    Without an rng the first wording of each clause is taken. What is not there (no weather, no light) is not mentioned.
    A cyanotype says so at its end and names no colour: "a boat ... as a cyanotype".
    """
    scene_of(scene)
    subjects, rest = clauses(scene, First() if rng is None else inputs.random_numbers(rng, "rng"))
    words = " and ".join(f"{name} {place}" for name, place in subjects)
    order = ("ground", "backdrop", "sky", "light", "weather")
    return " ".join([words] + [rest[key] for key in order if key in rest] + style_of(scene))


def caption(scene: Scene, rng: Random) -> str:
    """One of the many captions of a scene, for training and for prompts.

    Half of the captions name everything. In the others each clause stays with a chance drawn for that caption, so that
    a bare "a red boat" occurs too; a third have their clauses shuffled. The subjects and their colours always stay:
    "a blue tent and a red car in the rain". Everything a caption says is true of the scene.
    """
    subjects, rest = clauses(scene_of(scene), inputs.random_numbers(rng, "rng"))
    keep = 1.0 if rng.random() < 0.5 else rng.uniform(0.0, 0.9)
    words = " and ".join(f"{name} {place}" if rng.random() < keep else name for name, place in subjects)
    kept = [
        rest[key] for key in ("ground", "backdrop", "sky", "light", "weather") if key in rest and rng.random() < keep
    ]
    if rng.random() < 0.34:
        rng.shuffle(kept)
    return " ".join([words] + kept + style_of(scene))


class First:
    """Stands in for a random generator where the first choice is wanted."""

    choice = staticmethod(lambda options: options[0])


def style_of(scene):
    """The style's words, last: what comes before them reads as it does without, since no word knows of those behind it."""
    return [] if scene.style == "flat" else [f"as a {scene.style}"]


def phrases(scene: Scene) -> dict[str, list[str]]:
    """Which caption words speak of which mask of the rendered postcard.

    Returns mask key -> words, the noun last: {"boat": ["red", "boat"], "backdrop": ["snowy", "mountains"], "sky": ["sunset"]}.
    """
    said = {"sky": [scene_of(scene).sky], "ground": scene.ground.split()}
    if scene.light != "none":
        said["light"] = scene.light.split()
    if scene.backdrop != "none":
        said["backdrop"] = scene.backdrop.split()
    if scene.weather != "none":
        said["weather"] = scene.weather.split()
    return said | {s.kind: [s.colour, s.kind] for s in scene.subjects}


def read_caption(text: str, kinds=(), colours=()) -> dict:
    """What a prompt names, in the words of the postcard world; the inverse of `caption`, and lenient about the rest.

    text: any string. kinds, colours: more words to look for, such as a judge of another world knows. Returns the named ones only of "sky", "light", "ground", "backdrop", "weather", "style" (str each), and always
    "subjects": a list of (colour | None, kind, place | None), in the order of the text.
    """
    text = " " + re.sub(r"[^a-z ]+", " ", inputs.text(text, "text").lower()) + " "
    named = {}
    for key, values in (WHOLE | {"style": KEPT_OUT["style"]}).items():
        for value in values:
            pattern = r" by day " if value == "day" else rf" {value} "
            if value != "none" and re.search(pattern, text):
                named[key] = value
    kinds, colours = (
        "|".join((*KINDS, *KEPT_OUT["kind"], *map(re.escape, kinds))),
        "|".join((*COLOURS, *KEPT_OUT["colour"], *map(re.escape, colours))),
    )
    places = "|".join(f"(?:on|in) the {p}" for p in PLACES)
    found = re.finditer(rf"(?:\b({colours}) )?\b({kinds})\b(?: ({places})\b)?", text)
    named["subjects"] = [(m[1], m[2], m[3].split()[-1] if m[3] else None) for m in found]
    return named
