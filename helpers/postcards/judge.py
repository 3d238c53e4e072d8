"""The judge: a small network that reads a postcard, trained on renders alone. It is the course's measuring instrument.

judge = load_judge()
judge.read([image])                                  # [{"sky": "sunset", ..., "subjects": {"left": ("red", "boat")}}]
judge.agreement([image], ["a red boat at sunset"])   # {"sky": Score(right=1.0, n=1), "kind": ..., "mean": ...}
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from helpers import inputs, pictures
from helpers.postcards.captions import read_caption, scene_of
from helpers.postcards.scene import COLOURS, COURSE_COLOURS, COURSE_KINDS, KINDS, PLACES, WHOLE, Scene

BUNDLED = Path(__file__).resolve().parents[1] / "models" / "postcard" / "judge"
SIZE = 128
EACH_PLACE = {"kind": KINDS + ("none",), "colour": COLOURS + ("none",)}  # one answer a place; one a picture: WHOLE
COURSE = {
    "kind": COURSE_KINDS + ("none",),
    "colour": COURSE_COLOURS + ("none",),
}  # EACH_PLACE of the bundled judge, whatever a reader adds
ATTRIBUTES = (*WHOLE, "kind", "colour", "place")


class Score(NamedTuple):
    """right: the fraction of answers that were right, 0..1 (NaN if nobody asked). n: how many there were."""

    right: float
    n: int


class Reader(torch.nn.Module):
    """The network: convolutions to an 8x8 map, then one attention question for each attribute and each place.

    widths: channels at 64x64, 32x32, 16x16 and 8x8. each_place: the words of its answers for a place, as EACH_PLACE. forward(pixels (n, 3, 128, 128) in -1..1) returns logits: each key of WHOLE
    (n, answers), and "kind" (n, 3, 9), "colour" (n, 3, 10), places in the order of PLACES.
    """

    def __init__(self, widths=(24, 48, 96, 128), each_place=None):
        super().__init__()
        self.widths, self.each_place = tuple(widths), EACH_PLACE if each_place is None else each_place
        layers, before = [], 3
        for k, width in enumerate(self.widths):
            layers += [torch.nn.Conv2d(before, width, 3, 2, 1), torch.nn.GroupNorm(8, width), torch.nn.SiLU()]
            layers += [Residual(width)] if k >= 2 else []
            before = width
        self.features = torch.nn.Sequential(*layers)
        self.position = torch.nn.Parameter(0.02 * torch.randn(SIZE // 16 * SIZE // 16, before))
        self.questions = torch.nn.Parameter(0.5 * torch.randn(len(WHOLE) + len(PLACES), before))
        self.key, self.value = torch.nn.Linear(before, before), torch.nn.Linear(before, before)
        self.norm = torch.nn.LayerNorm(before)
        self.answers = torch.nn.ModuleDict(
            {key: torch.nn.Linear(before, len(words)) for key, words in (WHOLE | self.each_place).items()}
        )

    def forward(self, pixels):
        x = self.features(pixels).flatten(2).mT  # (n, 64, width)
        keys, values = self.key(x + self.position), self.value(x + self.position)
        heads = 4
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(-3, -2)
            for t in (self.questions.expand(len(x), -1, -1), keys, values)
        )
        found = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)  # (n, 8, width)
        found = self.norm(found + self.questions)
        logits = {key: self.answers[key](found[:, i]) for i, key in enumerate(WHOLE)}
        return logits | {key: self.answers[key](found[:, len(WHOLE) :]) for key in EACH_PLACE}


class Residual(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(width, width, 3, 1, 1), torch.nn.GroupNorm(8, width), torch.nn.SiLU()
        )

    def forward(self, x):
        return x + self.body(x)


def truth(scene: Scene) -> dict:
    """What a perfect judge would read off the scene's picture, in the form of `Judge.read`."""
    return {key: getattr(scene_of(scene), key) for key in WHOLE} | {
        "subjects": {s.place: (s.colour, s.kind) for s in scene.subjects}
    }


class Judge:
    """A trained `Reader` and its words."""

    def __init__(self, reader):
        self.reader, self.each_place = reader.eval().requires_grad_(False), reader.each_place

    def read(self, images, batch=8) -> list[dict]:
        """What is in each picture.

        images: PIL images, or uint8 arrays (height, width, 3), of any size. Returns one dict a picture: "sky", "light", "ground",
        "backdrop", "weather", and "subjects": {place: (colour, kind)} of the places that hold something.
        Raises TypeError for a single picture or for other types.
        """
        images = pictures_of(images)
        inputs.whole_number(batch, "batch", 1, 100_000)
        device, readings = next(self.reader.parameters()).device, []
        for start in range(0, len(images), batch):
            pixels = torch.stack(list(map(pixels_of, images[start : start + batch]))).to(device)
            best = {key: logits.argmax(-1).tolist() for key, logits in self.reader(pixels).items()}
            for i in range(len(pixels)):
                subjects = {}
                for place, kind, colour in zip(PLACES, best["kind"][i], best["colour"][i]):
                    if self.each_place["kind"][kind] != "none":
                        subjects[place] = (self.each_place["colour"][colour], self.each_place["kind"][kind])
                readings.append({key: words[best[key][i]] for key, words in WHOLE.items()} | {"subjects": subjects})
        return readings

    def agreement(self, images, prompts) -> dict[str, Score]:
        """How well pictures show what their prompts name; see `compare`. One prompt a picture, else ValueError."""
        return compare(*self._both(images, prompts))

    def shares(self, images, prompts) -> np.ndarray:
        """For each picture the share, 0..1, of what its prompt names that it shows, (n,); 1 where it shows everything.

        Readings of one picture are not independent, those of pictures from different noises are: count pictures, or take the
        spread from picture to picture. NaN where a prompt names nothing. One prompt a picture, else ValueError.
        """
        pairs = zip(*self._both(images, prompts))
        return np.array([compare([reading], [named])["mean"].right for reading, named in pairs])

    def _both(self, images, prompts):
        images, prompts = pictures_of(images), inputs.texts(prompts, "prompts")
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures and {len(prompts)} prompts: give one prompt for each picture")
        kinds, colours = (
            [word for word in self.each_place[key] if word not in (*COURSE[key], "something else")]
            for key in ("kind", "colour")
        )
        return self.read(images), [read_caption(prompt, kinds, colours) for prompt in prompts]


def compare(readings, named) -> dict[str, Score]:
    """Readings of pictures against what prompts name (as `read_caption` gives it); what a prompt leaves open is not counted.

    Returns for each of ATTRIBUTES the fraction of named ones that were read, and
    - "kind": some place holds that kind; "colour": that kind is there in that colour; "place": that kind stands there
    - "mean": over all of these together; "binding": over prompts with two coloured subjects, both there in their own colours.
    """
    marks = {key: [] for key in ATTRIBUTES}
    binding = []
    for reading, asked in zip(readings, named):
        seen = reading["subjects"]
        for key in WHOLE:
            if key in asked:
                marks[key].append(reading[key] == asked[key])
        for colour, kind, place in asked["subjects"]:
            marks["kind"].append(any(k == kind for _, k in seen.values()))
            if colour:
                marks["colour"].append((colour, kind) in seen.values())
            if place:
                marks["place"].append(place in seen and seen[place][1] == kind)
        if len(asked["subjects"]) == 2 and all(colour for colour, _, _ in asked["subjects"]):
            binding.append(all((colour, kind) in seen.values() for colour, kind, _ in asked["subjects"]))
    marks |= {"mean": [mark for key in ATTRIBUTES for mark in marks[key]], "binding": binding}
    return {key: Score(float(np.mean(m)) if m else float("nan"), len(m)) for key, m in marks.items()}


def tally(readings, scenes) -> dict[str, tuple[int, float | None]]:
    """How many readings show what the scenes asked for, and how many would by chance: {what: (count, by chance)}.

    readings: of `Judge.read`, one for each of two or more Scenes. What: "object", the kind of the scene's first subject is there;
    "another object", some object is, but none of that kind (by chance None: whatever stands there is another); "colour", something has that subject's colour; "sky and ground", both are as
    in the scene; "unasked weather", there is rain, snow or mist that the scene has not (by chance None). By chance: each reading held against
    all the other scenes, their mean.
    """
    scenes = inputs.list_of(scenes, "scenes", "Scenes", Scene, least=2)
    readings = inputs.list_of(readings, "readings", "readings of the judge", dict, least=2)
    if len(readings) != len(scenes):
        raise ValueError(f"{len(readings)} readings and {len(scenes)} scenes: give one scene for each reading")
    n, marks = len(scenes), {}
    for what in ("object", "another object", "colour", "sky and ground", "unasked weather"):
        table = np.array([[_shows(reading, scene)[what] for scene in scenes] for reading in readings])  # (n, n) bool
        own = int(table.trace())
        marks[what] = own, None if what in ("another object", "unasked weather") else float(table.sum() - own) / (n - 1)
    return marks


def _shows(reading, scene):
    """What of a scene a reading holds; see `tally`."""
    first, seen = scene.subjects[0], reading["subjects"].values()
    there = first.kind in [kind for _, kind in seen]
    return {
        "object": there,
        "another object": bool(seen) and not there,
        "colour": first.colour in [colour for colour, _ in seen],
        "sky and ground": (reading["sky"], reading["ground"]) == (scene.sky, scene.ground),
        "unasked weather": reading["weather"] not in ("none", scene.weather),
    }


def only_gone(reading, scene, kind) -> bool:
    """Whether the scene without its subjects of that kind is what was read: its other subjects and no more, sky and ground."""
    stay = sorted((one.colour, one.kind) for one in scene_of(scene).subjects if one.kind != kind)
    return sorted(reading["subjects"].values()) == stay and (reading["sky"], reading["ground"]) == (
        scene.sky,
        scene.ground,
    )


def in_words(reading, between=" and ") -> str:
    """The objects of a reading: "red boat and green tree", or "no object"."""
    return inputs.text(between, "between").join(" ".join(one) for one in reading["subjects"].values()) or "no object"


def pictures_of(images):
    """A list of PIL images, or of uint8 arrays (height, width, 3)."""
    if getattr(images, "ndim", 4) == 3:
        raise TypeError("images must be a list of pictures: wrap a single one as [image].")
    images = inputs.list_of(
        images, "images", "PIL pictures or uint8 arrays (height, width, 3)", (Image.Image, np.ndarray)
    )
    for image in images:
        if isinstance(image, np.ndarray) and not (
            image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
        ):
            raise TypeError(
                f"images must be PIL pictures or uint8 arrays (height, width, 3), not {inputs.shown(image)}."
            )
    return images


def pixels_of(image):
    """PIL image or uint8 (height, width, 3) -> float tensor (3, 128, 128) in -1..1."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    image = pictures.upright(image)
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return pictures.pixels_of(np.array(image))


def load_judge(path=None) -> Judge:
    """The trained judge from a folder with config.json and model.safetensors; the bundled one without a path.

    A judge of a world of one's own says in its config.json which words it knows, and so reads them in every process.
    Raises FileNotFoundError if nothing is there, ValueError if the file is damaged or of another shape.
    """
    folder = BUNDLED if path is None else inputs.path(path, "path")
    config, weights = folder / "config.json", folder / "model.safetensors"
    if not (config.is_file() and weights.is_file()):
        raise FileNotFoundError(
            f"no judge in {folder}: it needs config.json and model.safetensors (train one: python -m training.judge)"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and then replaced
            own = json.loads(config.read_text())
            reader = Reader(own["widths"], {key: tuple(own.get("words", COURSE)[key]) for key in COURSE})
        reader.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
    except Exception as error:
        raise ValueError(
            f"the judge in {folder} is damaged ({error}): restore the folder or train a new one"
        ) from error
    return Judge(reader)
