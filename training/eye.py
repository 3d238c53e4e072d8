"""The judge held against an eye: drawn pictures that were labelled by looking at them, and how often the judge reads the same.

tests/data/eye holds them: pictures.webp, twelve in a row, and labels.json, a line for each, with what was asked for. Whoever labelled saw the
pictures alone, neither prompts nor readings; null stands where an eye cannot tell. A cyanotype is blue all over, but for lit lamps and
windows of a few pixels. The pictures of the world are those of the second release's U-Net, decoded by the third's decoder; the 24 of each
concept are those that its card counts. Drawn with the model's own steps and guidance, seeds counting up, none chosen.
"""

import json
from pathlib import Path

from PIL import Image

from helpers.postcards.judge import WHOLE

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "eye"
SIZE, ACROSS = 128, 12
SETTINGS = {
    "polar": {
        "sky": "night",
        "light": "full moon",
        "ground": "snow field",
        "backdrop": "snowy mountains",
        "weather": "falling snow",
    },
    "western": {"sky": "sunset", "light": "sun", "ground": "desert", "backdrop": "red cliffs"},
}
PARTS = {"train": "pairs of the training", "heldout": "held-out pairs"}


def labelled():
    """[(picture, PIL; label, a dict)]; a label's "set" is "train", "heldout" or the name of a concept."""
    sheet = Image.open(FOLDER / "pictures.webp").convert("RGB")
    labels = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))
    boxes = [(i % ACROSS * SIZE, i // ACROSS * SIZE) for i in range(len(labels))]
    return [(sheet.crop((x, y, x + SIZE, y + SIZE)), label) for (x, y), label in zip(boxes, labels)]


def agreement(judge, part):
    """How often judge and eye agree on the labelled pictures of one of PARTS: see `marked`."""
    pairs = [(picture, label) for picture, label in labelled() if label["set"] == part]
    readings = judge.read([picture for picture, _ in pairs])
    return marked(
        [
            (label, reading, {(place, kind, colour) for place, (colour, kind) in reading["subjects"].items()})
            for (_, label), reading in zip(pairs, readings)
        ]
    )


def named(concept):
    """(how many of a concept's labelled pictures show it to the eye, of how many). A setting, such as polar, is there
    where most of what makes it up is."""
    labels = [label for _, label in labelled() if label["set"] == concept]
    return sum(shows(label, concept) for label in labels), len(labels)


def shows(label, concept):
    if concept in SETTINGS:
        return sum(label[part] == word for part, word in SETTINGS[concept].items()) > len(SETTINGS[concept]) / 2
    return label["style"] == concept or any(concept in (colour, kind) for colour, kind, _ in label["subjects"])


def shown(part):
    """How often the eye sees what was asked for, on the same pictures: see `marked`."""
    labels = [label for _, label in labelled() if label["set"] == part]
    return marked([(label, label["asked"], places(label["asked"])) for label in labels])


def marked(compared):
    """{attribute: {"right": share, "n": how many}} of [(label, the same attributes from elsewhere, its subjects), ...].

    Of subjects, (place, kind, colour), each that one side names is looked for on the other: its kind anywhere, its colour with that
    kind, its place with that kind. What the eye leaves open is not counted.
    """
    marks = {name: [] for name in (*WHOLE, "kind", "colour", "place")}
    for label, whole, others in compared:
        for name in WHOLE:
            if label[name] is not None:
                marks[name].append(label[name] == whole[name])
        eye = places(label)
        left_open = {kind for _, kind, colour in eye if colour is None}
        for some, other in ((eye, others), (others, eye)):
            for place, kind, colour in some:
                marks["kind"].append(any(kind == k for _, k, _ in other))
                marks["place"].append(any((place, kind) == (p, k) for p, k, _ in other))
                if kind not in left_open:
                    marks["colour"].append(any((kind, colour) == (k, c) for _, k, c in other))
    return {name: {"right": sum(some) / len(some), "n": len(some)} for name, some in marks.items() if some}


def places(found):
    return {(place, kind, colour) for colour, kind, place in found["subjects"]}
