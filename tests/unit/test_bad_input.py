"""A thousand calls with something wrong in them: each gives one sentence, from the course, and changes nothing.

The table is in `tests/bad_calls.py`, in the groups of the trial that it repeats.
"""

import gc
import os
import random
import re
import threading
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_calls import TABLE, World
from studios import draw

import helpers
from helpers import attention, concepts, conditioning, denoise, diffusion, generate, latents, load_components, lora
from helpers.panels.sampling import Studio
from helpers.postcards.judge import load_judge
from helpers.postcards.lessons import concept_cards
from helpers.postcards.measures import load_measures

HELPERS = str(Path(helpers.__file__).parent)
KINDS = (TypeError, ValueError, FileNotFoundError, FloatingPointError)
MOST_FRAMES = 5  # functions of the course from the call to the check, what `inputs` does not counted
LONGEST = 320  # characters
TRIED = {
    "concepts": 91,
    "lora": 74,
    "load": 42,
    "tokens": 22,
    "latents": 38,
    "prepare": 28,
    "diffusion": 39,
    "postcards": 47,
    "panels": 24,
    "generate": 77,
    "img2img": 25,
    "inpaint": 16,
    "extend": 12,
    "attention": 65,
}

# A sentence says what to do: what is taken, or what to use instead.
ADVICE = re.compile(
    r"\b(must|use|give|choose|takes?|needs?|read|open|name|see|check|lower|make|put|call|there is no|such as|"
    r"get|ask for|bring|record|leave|uses|lists|its steps are|is an?|is one|holds one or two)\b",
    re.I,
)
# Words of the libraries under the course, and of Python, when they are handed something they cannot use.
THEIRS = re.compile(
    r"'NoneType'|has no attribute|not subscriptable|not iterable|unsupported operand|positional argument|not supported between|"
    r"TextEncodeInput|TextInputSequence|expected (str|np|Tensor|scalar|all)|HFValidationError|Repo id|dimension out of range|"
    r"size of tensor|Sizes of tensors|broadcast|cannot reshape|\bdim\b|einsum|must match|embedded null|unhashable|Errno|"
    r"could not convert|trait|__\w+__|<class|object at 0x|argument '\w+'|Traceback|\bbool\(\)|ambiguous|conv2d|"
    r"os\.PathLike|not a valid|can't multiply|concatenat|unexpected keyword",
    re.I,
)


@pytest.fixture(scope="module")
def world(tiny_postcard, tmp_path_factory):
    return World(tiny_postcard, tmp_path_factory.mktemp("world"))


def state_of(world):
    """{what: value} of all that a call might change, and should not."""
    state = {
        "torch's random numbers": zlib.crc32(torch.get_rng_state().numpy()),
        "random": random.getstate(),
        "numpy's random numbers": zlib.crc32(np.random.get_state()[1].tobytes()),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "folder": os.getcwd(),
        "files": sorted(map(str, world.folder.rglob("*"))),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "garbage collector": (gc.isenabled(), gc.get_threshold()),
        "threads": torch.get_num_threads(),
        "number format": torch.get_default_dtype(),
        "filters": list(warnings.filters),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "words": (len(world.tokenizer), world.tokenizer.model_max_length, world.tokenizer.padding_side),
        "scheduler": (dict(world.c.scheduler.config), world.c.scheduler.timesteps.tolist()),
        "processors": {name: id(one) for name, one in world.unet.attn_processors.items()},
        "generator": world.rng.getstate(),
    }
    networks = {
        "unet": world.unet,
        "vae": world.c.vae,
        "text encoder": world.c.text_encoder,
        "towers": world.towers.clip,
        "judge": world.judge.reader,
        "measures": world.measures.reader,
    }
    for name, network in networks.items():
        state[f"{name}: modules"] = [
            (path, id(one), one.training, *map(len, hooks_of(one))) for path, one in network.named_modules()
        ]
        state[f"{name}: weights"] = [
            (path, one.data_ptr(), one._version, one.requires_grad, one.grad is None)
            for path, one in network.named_parameters()
        ]
    return state


def numbers_of(world):
    """A check sum of every weight, which no version counter has to tell of."""
    networks = {"unet": world.unet, "vae": world.c.vae, "text encoder": world.c.text_encoder}
    return {
        name: [zlib.crc32(one.detach().numpy().tobytes()) for one in network.parameters()]
        for name, network in networks.items()
    }


def hooks_of(module):
    return (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._state_dict_hooks)


def changes(before, after):
    return [what for what in before if before[what] != after[what]]


def fault_of(call, world):
    """What is wrong with what a bad call does; "" where it does what it should."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = call.make(world)
    except Exception as error:
        return fault_of_error(call, error)
    return f"accepted: {repr(made)[:80]}"


def fault_of_error(call, error):
    words, frames = str(error), [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    said = f"{type(error).__name__}: {words[:200]}"
    if not isinstance(error, KINDS):
        return f"of another kind: {said}"
    if not frames[-1].startswith(HELPERS):
        return f"raised by {frames[-1]}: {said}"
    deep = sum(one.startswith(HELPERS) and not one.endswith("inputs.py") for one in frames)
    if deep > MOST_FRAMES:
        return f"{deep} frames deep: {said}"
    if "\n" in words or not 20 <= len(words) <= LONGEST:
        return f"not one line of a sentence: {said}"
    if not re.search(call.names, words):
        return f"does not name {call.names}: {said}"
    if not ADVICE.search(words):
        return f"does not say what to do: {said}"
    under = error.__cause__ or error.__context__
    if THEIRS.search(words) or (under is not None and str(under) and str(under)[:25] in words):
        return f"a library's words: {said}"
    return ""


def test_there_are_as_many_calls_as_in_the_trial():
    tried = Counter(call.group for call in TABLE)
    assert not {group: (tried[group], count) for group, count in TRIED.items() if tried[group] < count}


@pytest.mark.parametrize("group", TRIED)
def test_bad_input_gets_one_sentence_and_changes_nothing(group, world):
    faults, before, numbers = [], state_of(world), numbers_of(world)
    for call in TABLE:
        if call.group == group:
            fault = fault_of(call, world)
            now = state_of(world)
            changed = changes(before, now)
            before = now
            if fault or changed:
                faults.append(f"{call.what}: {fault}{f' changed: {changed}' if changed else ''}")
    assert numbers_of(world) == numbers
    assert not faults, f"{len(faults)} of {sum(call.group == group for call in TABLE)}:\n" + "\n".join(faults)


# Good calls leave what belongs to all as it was, too


def trained(world):
    with lora.add_lora(world.unet, rank=1) as one:
        list(lora.train_lora(world.c, one, [world.image], ["a boat"], steps=1))


GOOD = {
    "load_components": lambda w: load_components(w.c.path, device="cpu"),
    "load_towers": lambda w: conditioning.load_towers(w.c),
    "load_judge": lambda w: load_judge(),
    "load_measures": lambda w: load_measures(),
    "generate": lambda w: generate(w.c, "a red boat", steps=2, scheduler="ddpm"),
    "pipeline": lambda w: w.c.pipeline(),
    "inpaint": lambda w: generate(w.c, "a boat", steps=2, image=w.image, mask=w.mask),
    "encode_prompts": lambda w: conditioning.encode_prompts(w.c, ["a boat"]),
    "towers": lambda w: w.towers.embed_texts(["a boat"]),
    "encode and decode": lambda w: latents.decode_latents(w.c, latents.encode_image(w.c, w.image)),
    "preview_of": lambda w: (latents._previews.pop(w.c.vae), latents.preview_of(w.c)),
    "jpeg": lambda w: latents.jpeg(w.image, 50),
    "loaded": lambda w: w.enter(concepts.loaded(w.c, w.concept)),
    "read_concept": lambda w: concepts.read_concept(w.concept_folder),
    "train_concept": lambda w: list(w.train_concept()),
    "train_lora": trained,
    "load_lora": lambda w: lora.load_lora(w.c, w.lora_file).remove(),
    "record": lambda w: w.enter(attention.record_attention(w.unet)),
    "word_maps": lambda w: attention.word_maps(w.c, [w.scene], (500,)),
    "score_maps": lambda w: attention.score_maps(w.c, [w.scene], (500,)),
    "judge": lambda w: w.judge.read([w.image]),
    "concept_cards": lambda w: concept_cards("windmill", 2),
    "measures": lambda w: w.measures.teal([w.image]),
    "studio": lambda w: Studio(w.c, prompt="a boat"),
    "ddim_path": lambda w: diffusion.ddim_path(lambda x, t: x, torch.zeros(4, 2), [9, 1], w.alphas),
    "make_shape": lambda w: diffusion.make_shape("glyph"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_calls_change_nothing_that_belongs_to_all(name, world):
    before, numbers = state_of(world), numbers_of(world)
    GOOD[name](world)
    assert changes(before, state_of(world)) == [] and numbers_of(world) == numbers


# Whose line a warning names

LONG = " ".join(["boat"] * 100)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: conditioning.encode_prompts(c, [LONG]),
        lambda c: generate(c, LONG, steps=1),
        lambda c: denoise(c, LONG, steps=1),
        lambda c: list(denoise(c, LONG, steps=1)),
        lambda c: [generate(c, "a", negative_prompt=LONG, steps=1) for _ in "a"],
    ],
)
def test_a_warning_names_the_line_of_who_called_the_course(call, tiny_postcard):
    with pytest.warns(UserWarning, match="the model reads the first 75") as caught:
        call(tiny_postcard)
    line = call.__code__.co_firstlineno
    assert [(one.filename, line <= one.lineno <= line + 3) for one in caught] == [(__file__, True)]


def test_a_thread_of_the_readers_own_is_warned_too(tiny_postcard):
    with pytest.warns(UserWarning, match="the model reads the first 75"):
        thread = threading.Thread(target=generate, args=(tiny_postcard, LONG), kwargs={"steps": 1})
        thread.start()
        thread.join()


def test_a_studio_says_itself_what_is_cut_and_warns_nobody(tiny_postcard):
    studio = Studio(tiny_postcard, prompt=LONG, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = draw(studio)
    assert "the model reads the first 75" in said
