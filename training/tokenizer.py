"""A CLIP tokenizer learnt from captions: byte-level BPE, lower case, a word's last piece marked `</w>`."""

import json
from functools import partial
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from helpers.files import write_atomic

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def byte_characters():
    """The 256 characters that stand for bytes, in CLIP's order: printable bytes first (Radford et al. 2019)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def learn_merges(texts):
    """The merges that make every word of the texts one token: [("r", "e"), ("re", "d</w>"), ...], commonest first."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=10_000,
            min_frequency=2,
            initial_alphabet=byte_characters(),
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]


def save_tokenizer(merges, folder):
    """Write vocab.json, merges.txt and tokenizer_config.json. Returns the CLIPTokenizer loaded from them."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_characters()
    pieces = letters + [letter + "</w>" for letter in letters] + ["".join(merge) for merge in merges] + [START, END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}  # two merges can make the same piece
    config = dict(
        tokenizer_class="CLIPTokenizer",
        model_max_length=LENGTH,
        do_lower_case=True,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
    )
    lines = "\n".join(["#version: 0.2"] + [" ".join(merge) for merge in merges]) + "\n"
    for name, text in (
        ("vocab.json", json.dumps(vocabulary, ensure_ascii=False)),
        ("merges.txt", lines),
        ("tokenizer_config.json", json.dumps(config, indent=2) + "\n"),
    ):
        write_atomic(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
    return CLIPTokenizer.from_pretrained(folder)


def copy_tokenizer(source, folder):
    """Copy a tokenizer's files as they are: it writes new words with the pieces it has. Returns the CLIPTokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        write_atomic(
            folder / name, partial(Path.write_text, data=(source / name).read_text(encoding="utf-8"), encoding="utf-8")
        )
    return CLIPTokenizer.from_pretrained(folder)
