"""The model card as text, from the figures `training.evaluate` measured. No number in it is typed."""

from helpers.postcards.scene import BACKDROPS, COLOURS, GROUNDS, HELDOUT_PAIRS, KINDS, LIGHTS, PLACES, SKIES, WEATHERS
from training.eye import PARTS

ATTRIBUTES = {
    "sky": "sky",
    "light": "light",
    "ground": "ground",
    "backdrop": "backdrop",
    "weather": "weather",
    "kind": "kind: each named subject is there",
    "colour": "colour: it has its colour",
    "place": "place: it stands where it was put",
}
SUMS = {"mean": "**all of these together**", "binding": "both of two subjects in their own colours"}
PROMPTS = {"fidelity": "fresh prompts", "heldout": "held-out pairs", "binding": "two subjects"}
UNKNOWN = "not measured"


def percent(value):
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def named_right(figures, part, key):
    score = (figures.get(part) or {}).get(key)
    return UNKNOWN if score is None else f"{percent(score['right'])} (of {score['n']})"


def fidelity_table(figures):
    def cell(part, key):
        return named_right(figures, part, key)

    columns = PROMPTS | {"rendered": "held-out pairs, rendered"}
    return table(
        ["what the prompt names", *columns.values()],
        [[text, *(cell(part, key) for part in columns)] for key, text in (ATTRIBUTES | SUMS).items()],
    )


def judge_table(figures):
    renders, again = figures.get("judge") or {}, (figures.get("vae") or {}).get("judge") or {}
    return table(
        ["attribute", "on fresh renders", "on the VAE's reconstructions"],
        [[key, percent(renders.get(key)), percent(again.get(key))] for key in ATTRIBUTES],
    )


def eye_lines(figures):
    found = figures.get("eye")
    if not found:
        return ""
    columns = [
        (words, part, what)
        for what, words in (("judge", "judge and eye agree"), ("shown", "the eye sees what was asked for"))
        for part in found
    ]
    rows = [
        [
            name,
            *(
                f"{percent(found[part][what][name]['right'])} (of {found[part][what][name]['n']})"
                if name in found[part][what]
                else ""
                for _, part, what in columns
            ),
        ]
        for name in ATTRIBUTES
    ]
    return (
        "The judge on pictures drawn by the second release's U-Net and decoded by the third's, against labels that were made by "
        "eye before any judge had read them (`training/eye.py`; of subjects, those that either side names):\n\n"
        + table(["attribute", *(f"{words}, {PARTS[part]}" for words, part, _ in columns)], rows)
        + "\n\n"
    )


def attention_lines(figures):
    pointing = figures.get("attention")
    if not pointing:
        return f"Pointing game of the cross-attention maps: {UNKNOWN}."

    def row(words, scores):
        ours, centre, shuffled = (scores[name] for name in ("default", "centre prior", "shuffled words"))
        return [
            words,
            *(percent(score["pointing"]) for score in (ours, centre, shuffled)),
            f"{ours['iou']:.2f}",
            str(ours["n"]),
        ]

    return (
        "Pointing game: the brightest cell of a word's cross-attention map lies on the thing it names. The training asked "
        "for that, on other pictures, whose masks it had (`training/grounding.py`): Stable Diffusion's maps were never "
        "taught, so expect less of them. The U-Net is asked once at each of four noise levels, without guidance, on renders.\n\n"
        + table(
            ["words", "hits", "a bell in the middle instead", "another word's map instead", "IoU", "n"],
            [row(words, scores) for words, scores in pointing.items()],
        )
    )


def listed(values):
    return ", ".join(value for value in values if value != "none")


def write(figures):
    """The card (Markdown), from figures as in metrics.json; what is missing is called not measured."""
    vae, speed, size = figures.get("vae"), figures.get("speed"), figures["parameters"]
    steps, guidance = figures["steps"], f"{figures['guidance']:g}"
    kept = f", {percent(vae['edges'])} of the edges" if vae and "edges" in vae else ""
    quality = (
        f"PSNR {vae['psnr']:.2f} dB, SSIM {vae['ssim']:.3f}{kept} over {vae['n']} fresh renders" if vae else UNKNOWN
    )
    variants = "".join(
        f" `unet/` also holds the weights of the variant `{name}`, which has [a card of its own](README.{name}.md)."
        for name in figures.get("variants", ())
    )
    edges = figures.get("edges")
    sharp = (
        (
            f"Sharpness: drawn pictures have {percent(edges['kept'])} of the edges (mean difference of neighbouring pixels) of {edges['n']} "
            "renders with the same captions.\n\n"
        )
        if edges
        else ""
    )
    pace = (
        (
            f"{speed['seconds']:.2f} s a picture ({steps} steps with guidance, batch 1) on {speed['device']}, "
            f"{speed['threads']} threads, median of {speed['repeats']}"
        )
        if speed
        else UNKNOWN
    )
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---
# The postcard model

A small Stable Diffusion, trained from nothing on the postcard world of this course (`helpers/postcards`): pictures
that a program drew, with captions it wrote. It has the parts and the folder layout of Stable Diffusion 1.x:

```python
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("helpers/models/postcard")
prompt = "a red boat on a lake below snowy mountains at sunset"
pipe(prompt, num_inference_steps={steps}, guidance_scale={guidance}).images[0]
```

| part | class | parameters |
|---|---|---|
| text encoder | `CLIPTextModel` | {size["text_encoder"] / 1e6:.2f} M |
| VAE | `AutoencoderKL`, 8x smaller, 4 channels | {size["vae"] / 1e6:.2f} M |
| U-Net | `UNet2DConditionModel`, epsilon, `scaled_linear` | {size["unet"] / 1e6:.2f} M |

Beside them: `clip/`, the text encoder together with the image encoder it was trained with (a `CLIPModel`, pixels in
-1..1); `judge/`, the network that reads pictures for the figures below; `course.json`, the guidance to use. All of it
is {figures["megabytes"]:.1f} MB, in float16.{variants}

## What it can draw

- sky: {listed(SKIES)}; light: {listed(LIGHTS)}; weather: {listed(WEATHERS)}
- ground: {listed(GROUNDS)}; behind it: {listed(BACKDROPS)}
- one or two of {listed(KINDS)}, each {listed(COLOURS)}, on the {listed(PLACES)}

## What it can not

Anything else. It has never seen a photograph, a person, an animal or a written word, and does not know what other
words mean. Boats were always on lakes. Two subjects always had different kinds and colours; three there never were.
These pairs were kept out of training, to measure whether it puts together what it only knows apart:
{listed(f"{colour} {kind}" for colour, kind in sorted(HELDOUT_PAIRS))}.
It is a teaching model: use it to learn how such models work.

## Measured

By `python -m training.evaluate`, on scenes drawn anew, from seeds that no part of the training had, {steps} DDIM steps, guidance
{guidance}. Does a picture show what its prompt names? The judge reads it; what was named counts, and only that.

{fidelity_table(figures)}

The last column is the control for the held-out pairs: the same scenes, rendered by the program, so that what was asked
for is certainly there. The model never saw these pairs; the judge did, in renders. What it misses in renders is its error,
and only what it misses beyond that in drawn pictures can be the model's.

How far the judge can be trusted, and what the VAE leaves of a picture ({quality}):

{judge_table(figures)}

{eye_lines(figures)}{sharp}{attention_lines(figures)}

Speed: {pace}.

## Licence

CC BY 4.0 (see LICENSE). The pictures it was trained on were all drawn by the course's own program.
"""


def write_variant(figures, plain):
    """The card (Markdown) of the fast U-Net, from figures as in metrics.fast.json, those of the plain one beside them."""
    steps, scale, beside = figures["steps"], f"{figures['distilled_guidance']:g}", figures.get("beside")
    rows = [
        [text, *(named_right(one, "fidelity", key) for one in (figures, plain))]
        for key, text in (ATTRIBUTES | SUMS).items()
    ]
    rows += [
        [f"{text}: all of these together", *(named_right(one, part, "mean") for one in (figures, plain))]
        for part, text in PROMPTS.items()
        if part != "fidelity"
    ]
    edges = [percent((one.get("edges") or {}).get("kept")) for one in (figures, plain)]
    points = [
        percent((one.get("attention") or {}).get("nouns", {}).get("default", {}).get("pointing"))
        for one in (figures, plain)
    ]
    pace = (
        (
            f"{beside['seconds']:.2f} s a picture where the plain U-Net takes {beside['plain_seconds']:.2f} s ({beside['plain_steps']} "
            f"steps, guidance {beside['plain_guidance']:g}): {percent(beside['ratio'])} of its time (batch 1, {beside['device']}, "
            f"{beside['threads']} threads, both in turn, medians of {beside['repeats']}). From the same noise its pictures are "
            f"{beside['psnr']:.1f} dB from the plain one's (PSNR, median of {beside['n']})"
        )
        if beside
        else f"Speed: {UNKNOWN}"
    )
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---
# The postcard model, fast

A second U-Net for [the postcard model](README.md), of the same shape, which draws in {steps} calls what the first draws in
{2 * (beside["plain_steps"] if beside else 25)}. All other parts are the same files. In the course:

```python
c = load_components("postcard-fast")
generate(c, "a red boat on a lake below snowy mountains at sunset")
```

and in the library alone:

```python
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("helpers/models/postcard", variant="fast")
prompt = "a red boat on a lake below snowy mountains at sunset"
pipe(prompt, num_inference_steps={steps}, guidance_scale=1).images[0]
```

## How it was made

By `python -m training.fast`, from the first U-Net as its teacher: one call of it was trained to arrive where the teacher
arrives after some steps of two calls each, with guidance {scale} and an empty negative prompt (Meng et al. 2023; Salimans and Ho 2022).
It still predicts noise and is used with the same scheduler. Its weights are {figures["megabytes"]:.1f} MB, in float16.

## What it gave up

- Another guidance scale, and a negative prompt: guidance {scale} is in its weights, and the library is to be told
  `guidance_scale=1`. `generate` says so where either is asked for.
- Other numbers of steps, and other schedulers: it was trained for {steps} steps of DDIM.
- Training: it does not answer with the mean of the noise any more, so a LoRA or a concept is to be trained on the first.

## Measured

By `python -m training.evaluate --variant fast`, on the prompts of the plain model's card, {steps} DDIM steps:

{table(["what the prompt names", "fast", "plain"], rows)}

{table(["", "fast", "plain"], [["edges of drawn pictures, of renders with the same captions", *edges], ["pointing game, nouns", *points]])}

{pace}.

## Licence

CC BY 4.0 (see LICENSE). The pictures it was trained on were all drawn by the course's own program.
"""


def share(score):
    """A share with its 95 % interval and its n, as `training.own_card` writes them."""
    if not score:
        return UNKNOWN
    between = f"{100 * score['low']:.0f} to {100 * score['high']:.0f} %, " if score["low"] is not None else ""
    return f"{percent(score['right'])} ({between}n = {score['n']})"


def write_own(figures):
    """The card (Markdown) of a model of one's own world, from the figures of `training.own_card`."""
    words = listed((*figures["kinds"], *figures["colours"]))
    drawn, vae, text, judge = (figures.get(part) or {} for part in ("drawn", "vae", "text", "judge"))
    prompts = {
        "all": "prompts of the new world, by lot",
        "own": f"prompts with {words}",
        "after": "prompts without, after",
        "before": "the same prompts, the released model before",
    }
    each = [[called, share(drawn.get(name, {}).get("each"))] for name, called in prompts.items()]
    own = [
        [called, share((drawn.get("own", {}).get("own") or {}).get(key))]
        for key, called in (("kind", "it is there"), ("colour", "in its colour"), ("place", "where it was put"))
    ]
    attributes = [
        [key, *(share((drawn.get(name, {}).get("all") or {}).get(key)) for name in ("own", "before", "after"))]
        for key in (*ATTRIBUTES, "binding")
    ]
    again = []
    for name, called in (("own", words), ("known", "the course's kinds")):
        for when, decoder in (("before", "released decoder"), ("after", "this one")):
            one = vae.get(f"{name} {when}")
            figures_of = (
                [f"{one['thing_psnr']:.2f} dB", percent(one["thing_edges"]), f"{one['psnr']:.2f} dB"]
                if one
                else [UNKNOWN] * 3
            )
            again.append([f"{called}, {decoder}", *figures_of])
    readings = [[key, *(percent((judge.get(name) or {}).get(key)) for name in ("all", "own"))] for key in ATTRIBUTES]
    runs = [
        [stage, str(one["steps"]), str(one["batch"]), f"{one['seconds'] / 60:.0f} min"]
        for stage, one in figures["stages"].items()
    ]
    unasked = drawn.get("unasked")
    said = (
        (
            f"Of {unasked[1]} pictures whose prompts name nothing new, in {unasked[0]} the judge reads something new. Held against the released model's "
            f"from the same noise, {drawn['better']} show more of their prompt and {drawn['worse']} less."
        )
        if unasked
        else UNKNOWN
    )
    moved = (
        (
            f"The text tower's states of {text['n']} captions that name nothing new moved by {percent(text['moved'])} (root of the mean square). "
            + "; ".join(f'"{word}" is {len(pieces)} tokens' for word, pieces in text["pieces"].items())
            + "."
        )
        if text
        else UNKNOWN
    )
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---
# The postcard model with {words}

Trained on from the course's postcard model by `python -m training.own_world`, on pictures of the course's world with {words} in it;
`world.py` beside this card is the file. Load it with `load_components("this folder")`, its judge with `load_judge("this folder/judge")`.
The VAE's encoder and the tokenizer are the released ones.

| stage | steps | batch | time |
|---|---|---|---|
{chr(10).join("| " + " | ".join(row) + " |" for row in runs)}

On {figures["device"]}, {figures["threads"]} thread{"s" if figures["threads"] != 1 else ""}.

## Measured

On scenes that no stage has seen, {figures["steps"]} DDIM steps, guidance {figures["guidance"]:g}. The new judge reads all pictures, those of the
released model too. In brackets 95 % intervals: of shares of what a prompt names from picture to picture, of counts Wilson's.
<!-- figures -->
{table(["share of what a prompt names that its picture shows", ""], each)}

{table([f"of {words} named in a prompt", ""], own)}

{said}
<!-- end of figures -->
{table(["what the prompt names", f"with {words}", "without, before", "without, after"], attributes)}

What the VAE leaves of {vae["own after"]["n"] if vae else UNKNOWN} renders of each sort; its encoder never saw what is new:

{table(["", "PSNR on the thing alone", "edges kept there", "PSNR of the whole picture"], again)}

The judge on fresh renders ({judge["all"]["n"] if judge else UNKNOWN} of each sort):

{table(["attribute", "of the whole world", f"with {words}"], readings)}

{moved}

## Licence

CC BY 4.0 (see LICENSE of the course). The pictures it was trained on were all drawn by a program.
"""
