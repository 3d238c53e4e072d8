"""What is in a postcard: the attributes, which of them can go together, and how a scene is sampled."""

from dataclasses import dataclass
from random import Random

from helpers import inputs
from helpers.postcards.own import WORLD

SKIES = ("dawn", "day", "cloudy", "sunset", "night")
LIGHTS = ("none", "sun", "full moon", "crescent moon")
GROUNDS = ("lake", "meadow", "desert", "snow field")
BACKDROPS = ("none", "snowy mountains", "green hills", "red cliffs", "pine trees")
WEATHERS = ("none", "rain", "mist", "falling snow")
WHOLE = {
    "sky": SKIES,
    "light": LIGHTS,
    "ground": GROUNDS,
    "backdrop": BACKDROPS,
    "weather": WEATHERS,
}  # one of each in a picture
COURSE_KINDS = ("boat", "house", "tent", "balloon", "car", "lighthouse", "tree", "flag")
COURSE_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
KINDS, COLOURS = (
    (*COURSE_KINDS, *WORLD.kinds),
    (*COURSE_COLOURS, *WORLD.colours),
)  # with those of a world of one's own, see own.py
PLACES = ("left", "middle", "right")

# A tenth of the course's 72 (colour, kind) pairs is never in a training picture: composition to unseen pairs is measured on them.
# Every kind and every colour is still seen many times, each in other company.
HELDOUT_PAIRS = frozenset(
    {
        ("red", "tent"),
        ("yellow", "car"),
        ("blue", "balloon"),
        ("green", "lighthouse"),
        ("purple", "house"),
        ("white", "flag"),
        ("orange", "boat"),
    }
)

# Things the renderer can draw and the training world never holds: notebook 05 teaches them to the model.
KEPT_OUT = {"colour": ("teal",), "kind": ("windmill", "snowman"), "style": ("cyanotype",)}

LIGHTS_OF_SKY = {
    "dawn": ("none", "sun"),
    "day": ("none", "sun"),
    "cloudy": ("none",),
    "sunset": ("none", "sun"),
    "night": ("none", "full moon", "crescent moon"),
}


@dataclass(frozen=True)
class Subject:
    """One thing in the foreground: a kind (KINDS) in a colour (COLOURS) at a place (PLACES). A Scene checks the words."""

    kind: str
    colour: str
    place: str


@dataclass(frozen=True)
class Scene:
    """Everything a postcard shows. `seed`, 0 to 2**63 - 1, decides what has no name: the shape of the ridge, where
    each star is.

    sky: SKIES, light: LIGHTS, ground: GROUNDS, backdrop: BACKDROPS, weather: WEATHERS,
    subjects: one or two `Subject`s of different kind, colour and place; style: "flat" or "cyanotype".
    Raises ValueError for a word the renderer does not know, or a scene it can not draw; TypeError for other types.
    """

    sky: str
    light: str
    ground: str
    backdrop: str
    weather: str
    subjects: tuple[Subject, ...]
    seed: int = 0
    style: str = "flat"

    def __post_init__(self):
        object.__setattr__(self, "subjects", tuple(inputs.list_of(self.subjects, "subjects", "Subjects", Subject)))
        object.__setattr__(self, "seed", inputs.whole_number(self.seed, "seed", 0, 2**63 - 1))
        for name, known in (WHOLE | {"style": ("flat",) + KEPT_OUT["style"]}).items():
            check_word(name, getattr(self, name), known)
        for s in self.subjects:
            check_word("kind", s.kind, KINDS + KEPT_OUT["kind"])
            check_word("colour", s.colour, COLOURS + KEPT_OUT["colour"])
            check_word("place", s.place, PLACES)
        if len(self.subjects) not in (1, 2):
            raise ValueError(f"a scene holds one or two subjects, not {len(self.subjects)}")
        for part in ("kind", "place"):
            if len({getattr(s, part) for s in self.subjects}) < len(self.subjects):
                raise ValueError(f"the two subjects have the same {part}: give them different ones")
        if self.ground != "lake" and any(s.kind == "boat" for s in self.subjects):
            raise ValueError(f'a boat needs ground="lake", not "{self.ground}"')
        if self.light not in LIGHTS_OF_SKY[self.sky]:
            raise ValueError(
                f'light="{self.light}" does not go with sky="{self.sky}": choose one of {LIGHTS_OF_SKY[self.sky]}'
            )


def check_word(name, value, known):
    if inputs.text(value, name, f"one of {', '.join(known)}") not in known:
        raise ValueError(
            f'{name}="{inputs.shown(value)[1:-1]}" is not in the postcard world: choose one of {", ".join(known)}'
        )


def sample_scene(rng: Random, split: str = "train") -> Scene:
    """Sample a scene: attributes independently and uniformly, except for what can not be (boats need a lake, the moon a night)
    and for the weather, which is "none" twice as often as anything else. A quarter of the scenes hold two subjects.

    rng: a `random.Random`. split: "train" never holds a pair of HELDOUT_PAIRS; in "heldout" the first subject is always one.
    Raises ValueError for another split.
    """
    inputs.random_numbers(rng, "rng")
    if inputs.text(split, "split", '"train" or "heldout"') not in ("train", "heldout"):
        raise ValueError(f'split="{inputs.shown(split)[1:-1]}" is unknown: choose "train" or "heldout"')
    pairs = [rng.choice(sorted(HELDOUT_PAIRS)) if split == "heldout" else sample_pair(rng, KINDS, COLOURS)]
    if rng.random() < 0.25:
        colour, kind = pairs[0]
        pairs.append(sample_pair(rng, [k for k in KINDS if k != kind], [c for c in COLOURS if c != colour]))
    places = rng.sample(PLACES, len(pairs))
    subjects = tuple(Subject(kind, colour, place) for (colour, kind), place in zip(pairs, places))
    sky = rng.choice(SKIES)
    on_water = any(s.kind == "boat" for s in subjects)
    return Scene(
        sky=sky,
        light=rng.choice(LIGHTS_OF_SKY[sky]),
        ground="lake" if on_water else rng.choice(GROUNDS),
        backdrop=rng.choice(BACKDROPS),
        weather=rng.choice(("none",) + WEATHERS),
        subjects=subjects,
        seed=rng.randrange(2**31),
    )


def sample_pair(rng, kinds, colours):
    """A (colour, kind) that is not held out: the kind first, so that kinds are equally frequent."""
    kind = rng.choice(kinds)
    return rng.choice([c for c in colours if (c, kind) not in HELDOUT_PAIRS]), kind
