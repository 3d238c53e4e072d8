"""Kinds and colours that a reader adds to the world: those of the Python file that $POSTCARD_WORLD names.

The file is run once, when the world's tables are made, so that all that is derived from them (captions, judge, pictures, figures)
knows the new words from the beginning. It may hold

    KINDS = [teapot]                                                          # functions that draw as those of subjects.py do
    COLOURS = {"brown": ((132, 82, 44), (84, 48, 24), (180, 126, 84))}        # base, shade, highlight

docs/own-world.md says how such a world is made, `python -m training.own_world` checks the file, drawings and all, and trains it.
"""

import inspect
import os
import runpy
import traceback
from dataclasses import dataclass, field

import numpy as np

from helpers import inputs
from helpers.postcards.canvas import rgb

VARIABLE = "POSTCARD_WORLD"
# The words of the course's captions, and the names of what a picture's masks and answers hold beside them: a test holds this to both.
TAKEN = frozenset(
    """a an and as at backdrop balloon below black blue boat by car cliffs cloudy crescent cyanotype dawn day desert
    falling field flag front full green ground hills house in island lake left light lighthouse meadow middle mist moon mountains
    night none of on orange over pine pink place purple rain red right sky snow snowman snowy style sun sunset teal tent the tree
    trees under weather white windmill with yellow""".split()  # noqa: SIM905  a page of words, not of quotation marks
)
MOST = 4  # new words of a sort: each takes its part of an evening
NEAR = 24  # of 255: two colours that differ by less, in every channel, are one to the eye


@dataclass(frozen=True)
class World:
    """kinds: word -> the function that draws it. colours: word -> three float32 (3,), 0..1: base, shade, highlight."""

    kinds: dict = field(default_factory=dict)
    colours: dict = field(default_factory=dict)

    @property
    def words(self):
        return (*self.kinds, *self.colours)

    def in_scene(self, scene) -> bool:
        """Whether a scene holds a new kind, or a thing in a new colour."""
        return any(s.kind in self.kinds or s.colour in self.colours for s in scene.subjects)


def read(path) -> World:
    """The kinds and colours that a file adds.

    FileNotFoundError if it is not there; ValueError, in one sentence, where it does not run, adds nothing, or adds what the
    world can not take. What a drawing draws is not looked at here.
    """
    path = inputs.path(path, "path")
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: write one with KINDS, COLOURS or both in it (docs/own-world.md)"
        )
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        raise ValueError(f"{path} does not run: {_where(error, path)}") from error
    kinds, colours = found.get("KINDS", []), found.get("COLOURS", {})
    if not (isinstance(kinds, (list, tuple)) and isinstance(colours, dict)):
        raise ValueError(
            f"{path}: KINDS must be a list of functions, and COLOURS a dict of words and their three colours"
        )
    if not kinds and not colours:
        raise ValueError(
            f"{path} adds nothing: give it KINDS = [a function that draws], or COLOURS = {{word: (base, shade, highlight)}}"
        )
    for name, some in (("KINDS", kinds), ("COLOURS", colours)):
        if len(some) > MOST:
            raise ValueError(
                f"{path}: {name} holds {len(some)} new words: give it {MOST} at most, an evening teaches no more"
            )
    for kind in kinds:
        _check_function(path, kind)
    words = [kind.__name__ for kind in kinds] + list(colours)
    for word in words:
        _check_word(path, word)
        if words.count(word) > 1:
            raise ValueError(f'{path}: "{word}" is there twice: give each kind and colour a word of its own')
    return World(
        {kind.__name__: kind for kind in kinds}, {word: _paint(path, word, tones) for word, tones in colours.items()}
    )


def _where(error, path):
    """What went wrong in a reader's file, and in which of its lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    said = error.msg if isinstance(error, SyntaxError) else error
    hint = (
        ": take shapes from helpers.postcards.canvas, the rest of the world is not there yet"
        if isinstance(error, ImportError)
        else ""
    )
    return (f"line {line}: " if line else "") + f"{type(error).__name__}: {said}{hint}"


def _check_function(path, kind):
    if not inspect.isfunction(kind):
        raise ValueError(
            f"{path}: KINDS holds {inputs.shown(kind)}, which is no function: put the function itself there, def teapot(pen, look, r)"
        )
    if len(inspect.signature(kind).parameters) != 3:
        raise ValueError(
            f"{path}: {kind.__name__} must take three things, def {kind.__name__}(pen, look, r): what it draws with, its "
            "colours, and a random.Random"
        )


def _check_word(path, word):
    """Captions are lower case letters and spaces, and a word must say one thing only."""
    if not (isinstance(word, str) and word.isascii() and word.isalpha() and word.islower() and 2 <= len(word) <= 16):
        raise ValueError(
            f"{path}: {inputs.shown(word)} can not be a word of a caption: choose one of 2 to 16 letters a to z, lower case, no spaces"
        )
    if word in TAKEN:
        raise ValueError(f'{path}: "{word}" is taken, the course\'s captions or pictures use it: choose another word')


def _paint(path, word, tones):
    wrong = ValueError(
        f'{path}: COLOURS["{word}"] must be three colours, base, shade and highlight, each three numbers from 0 to 255'
    )
    try:
        values = np.array(tones, dtype=np.float64)
    except (TypeError, ValueError):
        raise wrong from None
    if values.shape != (3, 3) or not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
        raise wrong
    return tuple(rgb(*tone) for tone in values)


def nearest(tone, paints):
    """The word of the paint whose base is nearest to a colour (3,), and how far it is, 0..1, in the channel that differs most."""
    away = {word: float(np.abs(tone - paint[0]).max()) for word, paint in paints.items()}
    word = min(away, key=away.get)
    return word, away[word]


WORLD = read(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else World()
