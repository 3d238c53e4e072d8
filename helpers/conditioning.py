"""Words as vectors: pieces and where they stand, what the U-Net reads, and words and pictures in one space.

Sources: Sennrich et al. 2016 (byte-pair encoding), Radford et al. 2021 (CLIP: two towers, one space).
"""

import itertools
import re
from dataclasses import dataclass
from typing import NamedTuple

from helpers.runtime import warn

import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTokenizer

from helpers import inputs
from helpers.components import MODELS, Components, SharedTokenizer
from helpers.latents import to_pixels
from helpers.pictures import upright

# A vocabulary is made of bytes, and a piece shows each as a letter: printable ones as the letter of that number, the
# other 68, in order, as letters from 256 on (Radford et al. 2019). This leads back: {letter: byte}.
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {chr(byte): byte for byte in PRINTABLE}
BYTES |= {chr(256 + k): byte for k, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))}


class Token(NamedTuple):
    """One of the places a prompt takes. text: what the piece spells; "" for start, end and padding. id: its number.

    kind: "start", "piece" (of a word), "end", "padding", or "cut": behind the last place, never read.
    word: which word of the prompt a piece belongs to, 0, 1, ...; None for the others.
    broken: the piece begins or ends inside a letter, whose bytes (UTF-8) lie in several pieces. Such a letter is
        written with the number of the piece: "\N{ROCKET}1/2" and "\N{ROCKET}2/2".
    """

    text: str
    id: int
    kind: str
    word: int | None
    broken: bool = False


@torch.inference_mode()
def encode_prompts(c: Components, prompts: list[str], warns: bool = True) -> torch.Tensor:
    """The embeddings that the U-Net reads, (B, 77, d), for a list of B strings. Warns where the end of a long prompt is cut off.

    warns: False where what is lost is shown in another way. TypeError for one string that is not in a list, and for what is no string.
    """
    prompts = inputs.texts(prompts, "prompts", least=1)
    for prompt in prompts:
        if warns and (said := too_long(c, prompt)):
            warn(said)
    tokens = c.tokenizer(prompts, padding="max_length", max_length=c.max_tokens, truncation=True)
    return c.text_encoder(torch.tensor(tokens.input_ids, device=c.device))[0]  # (B, 77) -> (B, 77, d)


# Prompt weights, as A1111's webui writes them


MARK = re.compile(r"\\[()\[\]\\]?|[()\[\]]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)")
OTHER_MARK = re.compile(
    r"(?<!\\)\[[^\[\]]*(?::\s*[\d.]+\s*|\|[^\[\]]*)\]|\b(?:BREAK|AND)\b"
)  # what A1111 reads besides weights


def weighted_parts(prompt):
    """[(text, weight), ...] of a prompt with weights: texts of one weight that follow each other are one.

    (word) counts 1.1 times, [word] 1 / 1.1, (word:1.2) 1.2 times; nested they multiply. A bracket that is not closed holds
    to the end, and one that was not opened is a letter; so is one behind a backslash; two backslashes are one, and any other is left out.
    ValueError for what A1111 reads besides: [a:b:0.5], [a|b], AND, BREAK. Source: parse_prompt_attention of A1111's webui.
    """
    if other := OTHER_MARK.search(inputs.text(prompt, "prompt")):
        raise ValueError(
            f"The prompt holds {inputs.shown(other[0])}, and of A1111's marks weights alone are read, such as "
            "(word:1.2): leave the others out."
        )
    parts, opened, place = [], {"(": [], "[": []}, 0  # opened: the number of the first part in each open bracket

    def multiply(first, weight):
        for part in parts[first:]:
            part[1] *= weight

    for mark in MARK.finditer(prompt):
        parts.append([prompt[place : mark.start()], 1.0])
        place, said = mark.end(), mark[0]
        kind = "[" if said == "]" else "("
        if said in opened:
            opened[said].append(len(parts))
        elif said[0] == "\\" or not opened[kind]:
            parts.append([said[1:] if said[0] == "\\" else said, 1.0])
        else:
            multiply(opened[kind].pop(), float(mark[1]) if mark[1] else 1 / 1.1 if kind == "[" else 1.1)
    parts.append([prompt[place:], 1.0])
    for first in opened["("]:
        multiply(first, 1.1)
    for first in opened["["]:
        multiply(first, 1 / 1.1)
    groups = itertools.groupby([part for part in parts if part[0]], lambda part: part[1])
    return [("".join(text for text, _ in group), weight) for weight, group in groups]


@torch.inference_mode()
def encode_weighted(c: Components, prompts: list[str], restore_mean: bool = False) -> torch.Tensor:
    """What `encode_prompts` gives, (B, 77, d), with the vectors of every piece of a prompt times its weight.

    A weight is no instruction that the model was taught: the text encoder reads the prompt without it, and then the vectors
    where the piece stands are made longer or shorter. Start, end and padding, which know the whole prompt, stay.
    restore_mean: True scales all of a prompt's numbers together until their mean is the one without weights, as A1111 does
        by default "to prevent artifacts" (sd_emphasis.py), in the bundled model by 0.97 to 1.03 for one or two words of weight
        0.5 to 2. False, the weights alone, is A1111's "No norm": a mean near 0 would make any factor of them.
    The parts of `weighted_parts` become pieces one by one, as in A1111, so a weight inside a word splits it. TypeError and
    ValueError as there; FloatingPointError where a mean is 0 but for rounding, and cannot be restored.
    """
    rows, weights = [], []
    for prompt in inputs.texts(prompts, "prompts", least=1):
        texts, counts = zip(*weighted_parts(prompt) or [("", 1.0)])
        room, said = c.max_tokens - 2, too_long(c, "".join(texts))
        ids, words = _pieces(c.tokenizer, prompt, weights=True)
        if said or len(ids) > room:
            warn(
                said
                or f"The weights split words of the prompt into {len(ids)} tokens, and the model reads the first {room}."
            )
        scale = [counts[part] for part, _ in words][:room]
        ids, padding = ids[:room], max(0, room - len(ids))
        rows.append([c.tokenizer.bos_token_id, *ids, c.tokenizer.eos_token_id, *[c.tokenizer.pad_token_id] * padding])
        weights.append([1.0, *scale, 1.0, *[1.0] * padding])
    plain = c.text_encoder(torch.tensor(rows, device=c.device))[0].float()  # (B, 77) -> (B, 77, d)
    weighted = plain * torch.tensor(weights, device=c.device)[..., None]
    if restore_mean:
        means = [one.mean((1, 2), keepdim=True) for one in (plain, weighted)]  # (B, 1, 1)
        if min(mean.abs().min() for mean in means) < 1e-5 * plain.std():
            raise FloatingPointError(
                "The mean of a prompt's vectors is 0 here and cannot be restored: use restore_mean=False."
            )
        weighted = weighted * (means[0] / means[1])
    return weighted.to(c.dtype)


def too_long(c, prompt):
    """One sentence on the end of a prompt that the model does not read; "" where it reads all of it."""
    return _cut_off(inputs.components(c).tokenizer, inputs.text(prompt, "prompt"), c.max_tokens)


def _cut_off(tokenizer, prompt, places):
    """`too_long`, of a text encoder that reads so many places, start and end among them."""
    ids = tokenizer(prompt, verbose=False).input_ids
    if len(ids) <= places:
        return ""
    cut = tokenizer.decode(ids[places - 1 : -1]).strip()
    if "\N{REPLACEMENT CHARACTER}" in cut:  # it begins inside a letter: see Token.broken
        lost = [one for one in split_prompt(tokenizer, prompt) if one.kind == "cut"]
        cut = " ".join("".join(one.text for one in word) for _, word in itertools.groupby(lost, lambda one: one.word))
    cut = cut if len(cut) <= 80 else f"{cut[:50].strip()} ... {cut[-25:].strip()}"
    return f'The prompt has {len(ids) - 2} tokens and the model reads the first {places - 2}; this was cut: "{cut}"'


def token_positions(tokenizer: CLIPTokenizer, prompt: str, word: str | None = None, weights: bool = False) -> list[int]:
    """Where `word` stands among the tokens of `prompt`: a sorted list of positions, the start token being 0.

    tokenizer: a CLIPTokenizer. word: one word, or several that follow each other ("snowy mountains");
    capitals do not matter. Every piece of the word and every occurrence is listed: in "a red boat and a red
    car", "red" is [2, 6]. None: every piece of the prompt that is read, of whatever word.
    weights: True where the prompt was drawn with weights=True: marks as in (red:1.2) then take no places.
    Raises ValueError where the word is empty, not in the prompt, or behind the last token that is read; TypeError for
    what is no string.
    """
    ids, words = _pieces(tokenizer, prompt, weights)
    room = tokenizer.model_max_length - 2  # without start and end
    if word is None:
        return list(range(1, min(len(ids), room) + 1))
    pieces = tokenizer(inputs.text(word, "word")).input_ids[1:-1]
    if not pieces:
        raise ValueError(f"word is {word!r}: give a word of the prompt {prompt!r}.")
    starts = [
        i
        for i in range(len(ids) - len(pieces) + 1)
        if ids[i : i + len(pieces)] == pieces and (i == 0 or words[i][1] is None or words[i] != words[i - 1])
    ]
    if not starts:
        raise ValueError(f"The word {word!r} is not in the prompt {prompt!r}: use one that is in it.")
    read = [i for i in starts if i + len(pieces) <= room]
    if not read:
        raise ValueError(
            f"The word {word!r} comes too late in the prompt: the model reads the first "
            f"{room} tokens, so shorten what stands before it."
        )
    return sorted({1 + i + offset for i in read for offset in range(len(pieces))})


def _pieces(tokenizer, prompt, weights):
    """(ids, words) of a prompt's pieces, however many, without start and end. words: (part, word in it) of each; the parts are
    those of `weighted_parts`, which become pieces one by one, or the whole prompt."""
    inputs.tokenizer(tokenizer), inputs.text(prompt, "prompt")
    texts = [text for text, _ in weighted_parts(prompt)] if inputs.flag(weights, "weights") else [prompt]
    rows = [tokenizer(text, verbose=False) for text in texts]  # whole: what is too long is looked at by who asks
    ids = [piece for row in rows for piece in row.input_ids[1:-1]]
    return ids, [(part, word) for part, row in enumerate(rows) for word in row.word_ids()[1:-1]]


def split_prompt(tokenizer: CLIPTokenizer, prompt: str, weights: bool = False) -> list[Token]:
    """The places of a prompt, a list of `Token`: all that are read, in order, and then what is cut off.

    The list is tokenizer.model_max_length long, or longer where something is cut. weights: as in `token_positions`.
    """
    ids, words = _pieces(tokenizer, prompt, weights)
    places, texts = tokenizer.model_max_length, tokenizer.convert_ids_to_tokens(ids)
    numbers = {one: number for number, one in enumerate(dict.fromkeys(one for one in words if one[1] is not None))}
    words = [numbers.get(one) for one in words]
    pieces, own = [], tokenizer.added_tokens_decoder  # new words, such as a concept's, are spelled as they are
    for _, group in itertools.groupby(zip(texts, ids, words), lambda one: (one[2], one[1] in own)):
        group = list(group)
        texts = [text for text, *_ in group]
        said = (
            [(text, False) for text in texts]
            if group[0][1] in own
            else spelled([text.removesuffix("</w>") for text in texts])
        )
        pieces += [Token(text, number, "piece", word, broken) for (text, broken), (_, number, word) in zip(said, group)]
    read, cut = pieces[: places - 2], pieces[places - 2 :]
    marks = [Token("", tokenizer.bos_token_id, "start", None), Token("", tokenizer.eos_token_id, "end", None)]
    padding = [Token("", tokenizer.pad_token_id, "padding", None)] * (places - 2 - len(read))
    return [marks[0], *read, marks[1], *padding, *(one._replace(kind="cut") for one in cut)]


def spelled(pieces):
    """What the pieces of one word spell, [(text, whether it breaks a letter), ...]. pieces: a letter for each byte."""
    if not set("".join(pieces)) <= BYTES.keys():  # a vocabulary of another kind
        return [(piece, False) for piece in pieces]
    data = [bytes(BYTES[letter] for letter in piece) for piece in pieces]
    owners = [k for k, part in enumerate(data) for _ in part]  # which piece each byte lies in
    texts, broken, place = [""] * len(pieces), [False] * len(pieces), 0
    for letter in b"".join(data).decode("utf-8", errors="surrogateescape"):
        length = len(letter.encode("utf-8", errors="surrogateescape"))
        own = sorted(set(owners[place : place + length]))
        place += length
        for number, k in enumerate(own, 1):
            shown = letter if letter.isprintable() else f"U+{ord(letter):04X}"
            texts[k] += shown if len(own) == 1 else f"{shown}{number}/{len(own)}"
            broken[k] = broken[k] or len(own) > 1
    return list(zip(texts, broken))


@dataclass(frozen=True, repr=False)
class Towers:
    """A text tower and an image tower that were trained together: both end in the same space.

    clip: a transformers CLIPModel, pixels in -1..1. tokenizer: its own. name: of the model it belongs to.
    world: what they were shown, as Components.world.
    """

    clip: CLIPModel
    tokenizer: CLIPTokenizer
    name: str
    world: str

    @property
    def scale(self):
        """What cosines are multiplied by before the softmax, a learnt number: 1 / temperature."""
        return self.clip.logit_scale.exp().item()

    def prepare(self, images=None, texts=None):
        """What the CLIPModel takes, as a dict: pixel_values (N, 3, H, H) in -1..1 of PIL images, input_ids
        and attention_mask (M, T) of strings. Warns where the end of a long text is cut off."""
        taken = {}
        if images is not None:
            side = self.clip.config.vision_config.image_size
            images = inputs.pictures(images, "images", least=1)
            taken["pixel_values"] = to_pixels([upright(one).resize((side, side)) for one in images])
        if texts is not None:
            length = self.clip.config.text_config.max_position_embeddings
            texts = inputs.texts(texts, "texts", least=1)
            for said in filter(None, (_cut_off(self.tokenizer, text, length) for text in texts)):
                warn(said)
            taken |= self.tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=length,
                return_tensors="pt",
            )
        return taken

    @torch.inference_mode()
    def embed_images(self, images):
        """Vectors of length 1, (N, d), of N PIL images."""
        images = inputs.pictures(images, "images", least=1)  # None too, which `prepare` leaves out
        pooled = self.clip.vision_model(**self.prepare(images)).pooler_output
        return F.normalize(self.clip.visual_projection(pooled), dim=-1)  # (N, width) -> (N, d)

    @torch.inference_mode()
    def embed_texts(self, texts):
        """Vectors of length 1, (N, d), of N strings."""
        texts = inputs.texts(texts, "texts", least=1)
        pooled = self.clip.text_model(**self.prepare(texts=texts)).pooler_output
        return F.normalize(self.clip.text_projection(pooled), dim=-1)  # (N, width) -> (N, d)


def load_towers(c: Components) -> Towers:
    """The two CLIP towers of a model, on the CPU in float32, as `Towers`.

    They lie in the folder clip/ of the model. Stable Diffusion ships its text encoder only; then the towers
    of the bundled model are taken, and one printed line says so. Raises ValueError where they are unreadable.
    """
    folder, name, world = inputs.components(c).path, c.name, c.world
    if not (folder / "clip" / "config.json").is_file():
        folder, name, world = MODELS["postcard"], "postcard", "postcards"
        print(
            "This model comes without an image tower: pictures and words are compared by the bundled "
            "model's two towers, so what is measured holds for them and for postcards."
        )
    try:
        clip = CLIPModel.from_pretrained(folder / "clip", local_files_only=True).float().eval()
        tokenizer = SharedTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except Exception as problem:  # whatever a library makes of a damaged file
        raise ValueError(f"The towers in {folder / 'clip'} are damaged: {inputs.first_line(problem, 200)}") from None
    return Towers(clip.requires_grad_(False), tokenizer, name, world)
