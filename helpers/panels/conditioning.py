"""The panels of lesson 03. Cheap frames are drawn when asked, pictures that a model drew wait ready."""
import numpy as np

from .. import inputs
from ..attention import AttentionRecord
from ..conditioning import encode_prompts, split_prompt, token_positions
from ..figures import attention as maps
from ..figures import conditioning as figures
from ..figures import style
from .base import Panel, buttons, menu, sentence, slider, text

EXAMPLES = {"your own": None, "a rare word": "a red zebra beside a skateboard",
            "90 words": " ".join(["a red boat on a lake"] * 15), "empty": ""}
BROKEN = ("Pieces are made of bytes, and a letter outside of English takes two to four: where they lie in several pieces, "
          "the letter is shown with the number of the piece, such as 1/2 and 2/2.")


def inspector_panel(c, prompt):
    """F11 with a line to type a prompt into, and a menu of examples. c: Components."""
    inputs.components(c)

    def chosen(prompt, example):
        return prompt if EXAMPLES[example] is None else EXAMPLES[example]

    def frame(prompt, example):
        asked = chosen(prompt, example)
        return figures.ruler(split_prompt(c.tokenizer, asked), encode_prompts(c, [asked], warns=False)[0],
                             style.PANEL_DPI).png

    def readout(prompt, example):
        pieces = [one for one in split_prompt(c.tokenizer, chosen(prompt, example))
                  if one.kind in ("piece", "cut")]
        said = [f"{one.text} = {one.id}" for one in pieces[:24]]
        cut = sum(one.kind == "cut" for one in pieces)
        return sentence(", ".join(said) + (", ..." if len(pieces) > 24 else ""), f"({len(pieces)} pieces,",
                        f"{cut} of them never read)", BROKEN if any(one.broken for one in pieces) else "")

    return Panel({"prompt": text("prompt", prompt), "example": menu("example", EXAMPLES, "your own")}, frame,
                 readout, ahead=False)


def thermostat_panel(images, captions, cosines, learnt, brackets=()):
    """F12 with a slider over the scale; arguments as figures.conditioning.thermostat."""
    inputs.number(learnt, "learnt", "the learnt scale, a number above 0.5", lambda learnt: learnt > 0.5)
    images, captions = inputs.pictures(images, "images", least=1), inputs.texts(captions, "captions", least=1)
    if np.shape(cosines) != (len(images), len(captions)):
        raise ValueError(f"cosines must be of shape {(len(images), len(captions))}, a number for each image and caption, "
                         f"not {inputs.shown(cosines)}.")
    scales = sorted({1, 3, 10, 50, 100, round(learnt)})

    def readout(scale):
        return f"logits = {scale:g} &middot; cosine, loss {figures.contrast(np.asarray(cosines), scale):.3f}"

    return Panel({"scale": slider("scale", scales, round(learnt))},
                 lambda scale: figures.thermostat(images, captions, cosines, scale, learnt, brackets,
                                                  style.PANEL_DPI).png, readout)


def subtraction_panel(difference, values):
    """F13 for one attribute and its values. difference(first, second): a row for figures.subtraction."""
    inputs.function(difference, "difference", "a function of two values")
    values = inputs.list_of(values, "values", "values", object, least=1)

    def frame(first, second):
        return figures.subtraction([difference(first, second)], dpi=style.PANEL_DPI).png

    return Panel({"first": menu("A", values, values[0]), "second": menu("B", values, values[1])}, frame,
                 lambda first, second: sentence(f"mean picture vector of {first} minus that of {second}"),
                 ahead=False)


def recorded(attention):
    """TypeError for what is no AttentionRecord."""
    if not isinstance(attention, AttentionRecord):
        raise TypeError(f"attention must be what record_attention gives, not {inputs.shown(attention)}.")
    return attention


def places_panel(image, points, attention, tokens, budgets):
    """F14 with layer, head, step and top share. attention: recorded with heads=True."""
    names = {short_name(layer.name): layer.name for layer in recorded(attention).layers}
    maps_of_heads = attention.probabilities(attention.layers[-1].name, 0)
    if maps_of_heads.ndim != 4:
        raise ValueError("attention holds no single heads: record it with record_attention(unet, heads=True).")
    heads = maps_of_heads.shape[0]

    def frame(layer, head, step, top):
        probabilities = attention.probabilities(names[layer], step)             # (heads, h, w, T)
        shown = probabilities.mean(0) if head == "mean" else probabilities[head]
        return maps.dot_grid(image, points, shown, tokens, budgets, f"{layer}, head {head}, call {step}, "
                             f"top {top} %", top / 100, style.PANEL_DPI).png

    controls = {"layer": menu("layer", names, list(names)[-1]),
                "head": menu("head", ["mean", *range(heads)], "mean"),
                "step": slider("call", range(attention.steps), 0),
                "top": slider("top share, %", (50, 75, 90, 100), 100)}
    def readout(layer, head, step, top):
        return sentence(f"{layer}, head {head}, call {step}: each row sums to 1.")

    return Panel(controls, frame, readout, ahead=False)


def explorer_panel(image, attention, c, prompt):
    """Every token, start, end and padding too, in every layer, at every step, over the picture."""
    recorded(attention), inputs.picture(image, "image")
    tokens = split_prompt(inputs.components(c).tokenizer, prompt)[:c.max_tokens]
    pieces = token_positions(c.tokenizer, prompt)
    end = pieces[-1] + 1 if pieces else 1
    places = {f"{i} {tokens[i].text}": [i] for i in pieces}
    places |= {"start": [0], "end": [end], "padding": list(range(end + 1, c.max_tokens))}
    layers = {"pooled": None} | {short_name(layer.name): layer.name for layer in attention.layers}
    size = max(layer.height for layer in attention.layers)

    def heat(token, layer, step, against):
        return attention.heatmap(places[token], layers[layer], None if step == "all" else step, size,
                                 against=pieces if against == "the other words" else None)

    controls = {"token": menu("token", places, list(places)[min(2, len(places) - 1)]),
                "layer": menu("layer", layers, "pooled"),
                "step": slider("step", ["all", *range(attention.steps)], "all"),
                "against": menu("against", ["the other words", "nothing"], "the other words")}
    return Panel(controls, lambda **state: maps.explorer_frame(image, heat(**state)),
                 lambda token, layer, step, against: sentence(
                     f"{token}: {layer}, step {step}. Yellow is where it was read most."), ahead=False)


def dial_panel(weights, dials, before, mask):
    """One card with a word turned down or up; every frame waits ready.

    dials: {word: (inside, outside, pictures)}: mean changes (weights, cards), and a picture for each weight.
    before: the picture as it is. mask: of its thing, (H, W) bool.
    """
    inputs.table(dials, "dials", "{word: (inside, outside, pictures)}")

    def frame(word, weight):
        return maps.dial_frame(before, dials[word][2][weights.index(weight)], mask)

    def readout(word, weight):
        inside, outside = (np.mean(dials[word][k][weights.index(weight)]) for k in (0, 1))
        return sentence(f"{word} x {weight:g}, all cards: a pixel changes by {inside:.1f} inside the mask "
                        f"and by {outside:.1f} outside. Shown: as it is, turned, the change (64 is yellow).")

    return Panel({"word": menu("word", dials, next(iter(dials))),
                  "weight": slider("weight", weights, weights[0])}, frame, readout)


def walk_panel(ways, shares):
    """Pictures between two prompts. ways: {name: PIL images, one a share}. shares: 0..1."""
    inputs.table(ways, "ways", "{name: PIL pictures, one a share}")
    rounded = [round(inputs.number(share, "A share", "a number from 0 to 1", lambda share: 0 <= share <= 1), 2)
               for share in inputs.list_of(shares, "shares", "numbers from 0 to 1", object, least=1)]
    for name, drawn in ways.items():
        if len(inputs.pictures(drawn, f"ways[{name!r}]")) != len(rounded):
            raise ValueError(f"ways[{name!r}] holds {len(drawn)} pictures for {len(rounded)} shares: give one a share.")

    def frame(way, share):
        return style.encode(np.asarray(ways[way][rounded.index(share)].resize((384, 384), 0).convert("RGB")))

    return Panel({"way": buttons("", ways, next(iter(ways))), "share": slider("share", rounded, rounded[0])},
                 frame, lambda way, share: sentence(f"{way}: {share:.0%} of the way to the second prompt"))


def short_name(path):
    """The path of a layer without what all of them have: "up_blocks.1.attentions.0..." -> "up 1.0"."""
    parts = path.split(".")
    numbers = [part for part in parts[:4] if part.isdigit()]
    return f"{parts[0].removesuffix('_blocks').removesuffix('_block')} {'.'.join(numbers)}"


__all__ = ["dial_panel", "explorer_panel", "inspector_panel", "places_panel", "short_name",
           "subtraction_panel", "thermostat_panel", "walk_panel"]
