"""The panels of lesson 03. Cheap frames are drawn when asked, pictures that a model drew wait ready."""

import html
import io
from functools import cache

import ipywidgets as widgets
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from helpers import inputs
from helpers.attention import AttentionRecord
from helpers.conditioning import Token, encode_prompts, split_prompt, token_positions
from helpers.figures import attention as maps
from helpers.figures import conditioning as figures
from helpers.figures import style
from helpers.figures.attention import short_name
from helpers.panels.base import FITTING, Panel, Still, buttons, menu, named, row, sentence, slider, text

EXAMPLES = {
    "your own": None,
    "a rare word": "a red zebra beside a skateboard",
    "90 words": " ".join(["a red boat on a lake"] * 15),
    "empty": "",
}
MEAN = "mean of all words"
SPACE = "\N{ZERO WIDTH SPACE}"
BROKEN = (
    "Pieces are made of bytes, and a letter outside of English takes two to four: where they lie in several pieces, "
    "the letter is shown with the number of the piece, such as 1/2 and 2/2."
)


def inspector_panel(c, prompt, example="your own"):
    """F11 with a line to type a prompt into, and a menu that writes an example, or the reader's own again, into that line.

    c: Components. prompt: the reader's own until another is typed. example: the one of EXAMPLES that it begins with.
    """
    empty = encode_prompts(inputs.components(c), [""])[0]
    choice = menu("example", EXAMPLES, example)
    own = [inputs.text(prompt, "prompt")]  # what was typed last
    line = text("prompt", own[0] if EXAMPLES[example] is None else EXAMPLES[example])

    def frame(prompt, example):
        return figures.ruler(
            split_prompt(c.tokenizer, prompt), encode_prompts(c, [prompt], warns=False)[0], empty, style.PANEL_DPI
        ).png

    def readout(prompt, example):
        pieces = [one for one in split_prompt(c.tokenizer, prompt) if one.kind in ("piece", "cut")]
        said = [f"{one.text} = {one.id}" for one in pieces[:24]]
        cut = sum(one.kind == "cut" for one in pieces)
        return sentence(
            ", ".join(said) + (", ..." if len(pieces) > 24 else ""),
            f"({len(pieces)} pieces,",
            f"{cut} of them never read)",
            BROKEN if any(one.broken for one in pieces) else "",
        )

    def write(change):
        line.value = own[0] if EXAMPLES[choice.value] is None else EXAMPLES[choice.value]

    def typed(change):
        """The menu says what stands in the line."""
        if change.new not in EXAMPLES.values():
            own[0] = change.new
        if change.new != EXAMPLES[choice.value]:
            choice.value = next((name for name, one in EXAMPLES.items() if one == change.new), "your own")

    line.observe(typed, "value")
    panel = Panel({"prompt": line, "example": choice}, frame, readout, ahead=False)
    choice.unobserve(panel.show, "value")  # the line it writes into draws
    choice.observe(write, "value")
    panel.paper_width = 864  # so small a print is not made smaller
    return panel


def temperature_panel(cards, captions, cosines, learnt, brackets=()):
    """F12 with a slider for the scale, from 1 to 100, the learnt one among its stops. Arguments as for figures.thermostat."""
    inputs.pictures(cards, "cards", least=2)
    if np.shape(cosines) != (len(cards), len(cards)) or len(inputs.texts(captions, "captions")) != len(cards):
        raise ValueError(
            f"{len(cards)} cards need as many captions and cosines of shape {(len(cards), len(cards))}, not "
            f"{len(captions)} and {np.shape(cosines)}."
        )
    inputs.number(learnt, "learnt", "the model's scale, a number above 0", lambda learnt: learnt > 0)
    scales = {f"{one:.0f}": one for one in (1.0, 3.0, 10.0, 50.0, 100.0, float(learnt))}  # the learnt one unrounded
    scales = dict(sorted(scales.items(), key=lambda both: both[1]))

    def frame(scale):
        return figures.thermostat(cards, captions, cosines, scales[scale], float(learnt), brackets, style.PANEL_DPI).png

    def readout(scale):
        rows, columns = (figures.softmax(scales[scale] * np.asarray(cosines), axis) for axis in (1, 0))
        return sentence(
            f"At scale {scale}, picture 1 gives its own caption {rows[0, 0]:.0%}, caption 2 its own picture "
            f"{columns[1, 1]:.0%}; the loss of these pairs is {figures.contrast(np.asarray(cosines), scales[scale]):.2f}."
        )

    panel = Panel({"scale": slider("scale", scales, f"{learnt:.0f}")}, frame, readout, ahead=False)
    panel.paper_width = 864  # captions are small print
    return panel


def subtraction_panel(difference, values):
    """F13 for one attribute and its values. difference(first, second): a row for figures.subtraction."""
    inputs.function(difference, "difference", "a function of two values")
    values = inputs.list_of(values, "values", "values", object, least=2)

    def frame(first, second):
        return figures.subtraction([difference(first, second)], dpi=style.PANEL_DPI).png

    def readout(first, second):
        alike = "A and B are the same: there is no difference, and no word is near to it." * (first == second)
        return sentence(alike or f"mean picture vector of {first} minus that of {second}")

    return Panel(
        {"first": menu("A", values, values[0]), "second": menu("B", values, values[1])}, frame, readout, ahead=False
    )


def recorded(attention):
    """TypeError for what is no AttentionRecord."""
    if not isinstance(attention, AttentionRecord):
        raise TypeError(f"attention must be what record_attention gives, not {inputs.shown(attention)}.")
    return attention


def places_panel(image, points, attention, tokens, timesteps):
    """F14 with layer, head, noise level and top share. attention: recorded with heads=True at these timesteps, in order."""
    names = {short_name(layer.name): layer.name for layer in recorded(attention).layers}
    maps_of_heads = attention.probabilities(attention.layers[-1].name, 0)
    if maps_of_heads.ndim != 4:
        raise ValueError("attention holds no single heads: record it with record_attention(unet, heads=True).")
    if len(inputs.list_of(timesteps, "timesteps", "the timesteps of the record", int, least=1)) != attention.steps:
        raise ValueError(
            f"{len(timesteps)} timesteps are given for {attention.steps} recorded calls: give one a call, in order."
        )
    heads, end = maps_of_heads.shape[0], next(place for place, one in enumerate(tokens) if one.kind == "end")

    @cache  # a layer, head or top share changes none
    def budgets(step):
        spent = {short: attention.spent(name, step) for short, name in names.items()}  # (77,) each, adds up to 1
        return {short: (one[0], one[1], one[2:end].sum(), one[end:].sum()) for short, one in spent.items()}

    def frame(layer, head, t, top):
        step = list(timesteps).index(t)
        probabilities = attention.probabilities(names[layer], step)  # (heads, h, w, T)
        shown = probabilities.mean(0) if head == "mean" else probabilities[head]
        which = "mean over heads" if head == "mean" else f"head {head}"
        return maps.dot_grid(
            image,
            points,
            shown,
            tokens,
            budgets(step),
            f"{layer}, head {head}, t = {t}, top {top} %",
            top / 100,
            style.PANEL_DPI,
            f"What the cells read in {layer}, {which}",
        ).png

    controls = {
        "layer": menu("layer", names, list(names)[-1]),
        "head": menu("head", ["mean", *range(heads)], "mean"),
        "t": slider("noise level t", timesteps, timesteps[0]),
        "top": slider("top share, %", (50, 75, 90, 100), 100),
    }

    def readout(layer, head, t, top):
        return sentence(f"{layer}, head {head}, t = {t}: each row sums to 1.")

    panel = Panel(controls, frame, readout, ahead=False)
    panel.paper_width = 864  # names of tokens are small print
    return panel


def explorer_panel(image, attention, c, prompt):
    """The prompt itself, a button for every word: the one that is down is mapped over the picture.

    Start, end and padding are buttons too. Layer, step, and what is taken away can be chosen below the prompt.
    """
    recorded(attention), inputs.picture(image, "image")
    tokens = split_prompt(inputs.components(c).tokenizer, prompt)[: c.max_tokens]
    places, pieces = words_of(tokens), token_positions(c.tokenizer, prompt)
    layers = {"pooled": None} | {short_name(layer.name): layer.name for layer in attention.layers}
    size = max(layer.height for layer in attention.layers)

    def frame(word, layer, step, against):
        heat = attention.heatmap(
            places[word],
            layers[layer],
            None if step == "all" else step,
            size,
            against=pieces if against == MEAN else None,
        )
        return maps.explorer_frame(image, heat)

    def readout(word, layer, step, against):
        spent = attention.spent(layers[layer], None if step == "all" else step)[places[word]].sum()
        where = f"position {places[word][0]}" if len(places[word]) == 1 else f"{len(places[word])} positions"
        return sentence(
            f"{word.strip(SPACE)}, {where} of the prompt: yellow is where it was read most"
            f"{'' if against == 'nothing' else ', compared with the words on average'}. A "
            f"cell of the picture spends {spent:.1%} of its attention on it, on average."
        )

    controls = {
        "word": buttons("", places, list(places)[min(3, len(places) - 1)]),
        "layer": menu("layer", layers, "pooled"),
        "step": slider("step", ["all", *range(attention.steps)], "all"),
        "against": menu("subtracted", [MEAN, "nothing"], MEAN),
    }
    panel = Panel(controls, frame, readout, ahead=False)
    panel.speaks = True
    return panel


def words_of(tokens):
    """{word as it stands in the prompt: its positions}, in order, start, end and padding among them.

    A word that stands there twice has two entries: the second ends in a space of no width, so that the browser, which
    tells buttons apart by what is written on them, marks the right one.
    """
    found, words = {}, {}
    for place, one in enumerate(tokens):
        words.setdefault(one.kind if one.word is None else one.word, []).append(place)
    for places in words.values():
        name = "".join(tokens[place].text for place in places) or tokens[places[0]].kind
        while name in found:
            name += SPACE
        found[name] = places
    return found


class MutingPanel(Still):
    """The words of a prompt as buttons: those that are down are muted when Draw is pressed.

    tokens: of `split_prompt`. draw(positions): called with a sorted list of positions, returns (PNG bytes, one sentence).
    down: positions whose words are down at first. Start, end and padding are buttons too; all padding is one.
    """

    speaks = True

    def __init__(self, tokens, draw, down=()):
        self.draw = inputs.function(draw, "draw", "a function of a list of positions")
        places = words_of(
            [
                one
                for one in inputs.list_of(tokens, "tokens", "Tokens of split_prompt", Token, least=1)
                if one.kind != "cut"
            ]
        )
        down = set(inputs.list_of(down, "down", "positions, whole numbers", int))
        if not down <= set(range(len(tokens))):
            raise ValueError(f"down is {inputs.shown(sorted(down))}: give positions from 0 to {len(tokens) - 1}.")
        self.places = list(places.values())
        self.controls = {
            name: named(
                widgets.ToggleButton(bool(down & set(some)), description=name, layout=widgets.Layout(width="auto"))
            )
            for name, some in places.items()
        }
        self.press = widgets.Button(description="Draw", button_style="primary")
        self.press.on_click(self.show)
        self.picture, self.line = widgets.Image(format="png", layout=widgets.Layout(**FITTING)), widgets.HTML()
        super().__init__([row(self.controls.values()), self.press, self.picture, self.line])
        self.show()

    @property
    def positions(self):
        """The positions of all words that are down, sorted."""
        return sorted(
            place for control, some in zip(self.controls.values(), self.places) if control.value for place in some
        )

    def about(self):
        return "Controls: a button for each word, and Draw."

    def still(self):
        """Its buttons and the pictures it drew last, and its line."""
        if not self.picture.value:
            return None
        return with_buttons(self.picture.value, self.controls), html.unescape(self.line.value)

    def show(self, button=None):
        """Draw with what is down now."""
        count = len(self.positions)
        self.line.value, self.press.disabled = "Drawing ...", True
        try:
            self.picture.value, said = self.draw(self.positions)
            self.line.value = sentence(f"{count} position{'s' * (count != 1)} muted.", said)
        except Exception as problem:
            self.line.value = f"<b>This could not be drawn: {html.escape(str(problem))}</b>"
        finally:
            self.press.disabled = False


def with_buttons(png, controls):
    """PNG bytes: a picture, and above it a row of buttons, those that are down dark. controls: {name: ToggleButton}."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    size = max(picture.width // 60, 8)
    font, gap, boxes, x, y = ImageFont.load_default(size), size // 2, [], size // 2, size // 4
    for control in controls.values():
        wide = int(font.getlength(control.description.strip(SPACE))) + size
        if x > gap and x + wide > picture.width - gap:
            x, y = gap, y + 2 * size + gap
        boxes.append((x, y, x + wide, y + 2 * size))
        x += wide + gap
    page = Image.new("RGB", (picture.width, y + 3 * size + picture.height), "white")
    pen = ImageDraw.Draw(page)
    for box, control in zip(boxes, controls.values()):
        pen.rectangle(box, "#444444" if control.value else "#EEEEEE")
        pen.text(
            (box[0] + gap, box[1] + size // 3),
            control.description.strip(SPACE),
            "white" if control.value else "black",
            font,
        )
    page.paste(picture, (0, y + 3 * size))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def walk_panel(ways, shares):
    """Pictures between two prompts, side by side at one share. ways: {name: PIL images, one a share}. shares: 0..1."""
    inputs.table(ways, "ways", "{name: PIL pictures, one a share}")
    rounded = [
        round(inputs.number(share, "A share", "a number from 0 to 1", lambda share: 0 <= share <= 1), 2)
        for share in inputs.list_of(shares, "shares", "numbers from 0 to 1", object, least=1)
    ]
    for name, drawn in ways.items():
        if len(inputs.pictures(drawn, f"ways[{name!r}]")) != len(rounded):
            raise ValueError(f"ways[{name!r}] holds {len(drawn)} pictures for {len(rounded)} shares: give one a share.")

    def frame(share):
        return maps.side_by_side({name: drawn[rounded.index(share)] for name, drawn in ways.items()})

    return Panel(
        {"share": slider("share", rounded, rounded[len(rounded) // 2])},
        frame,
        lambda share: sentence(f"{' and '.join(ways)}: {share:.0%} of the way to the second prompt"),
    )


__all__ = [
    "MutingPanel",
    "explorer_panel",
    "inspector_panel",
    "places_panel",
    "short_name",
    "subtraction_panel",
    "temperature_panel",
    "walk_panel",
]
