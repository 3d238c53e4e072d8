"""Where the course runs: device and number format, seeds and noise, threads, whose machine it is.

Import this module before transformers or diffusers: it tells both to speak up about errors only. Source: the
reproducibility guides of PyTorch and diffusers (noise from a generator on the CPU).
"""

import operator
import os
import platform
import sys
from pathlib import Path

# Both libraries read these once, when they are first imported.
for _variable in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
    os.environ.setdefault(_variable, "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one prompt at a time needs no pool

import torch  # noqa: E402

DTYPES = {  # device -> number formats it computes in, the default first
    "cuda": (torch.float16, torch.bfloat16, torch.float32),
    "mps": (torch.float32,),  # float16 turns into NaN in places
    "cpu": (torch.float32,),  # float16 and bfloat16 are emulated, and slow
}


def device(name=None):
    """The torch.device to compute on: `name` ("cuda", "cuda:1", "mps", "cpu"), or the best one present.

    Raises ValueError where there is no such device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    best = next(kind for kind in present if present[kind])
    try:
        wanted = torch.device(best if name is None else name)
    except (RuntimeError, TypeError):
        raise ValueError(f"There is no device called {name!r}: use one of {', '.join(present)}.") from None
    beyond = wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count()
    if beyond or not present.get(wanted.type):
        raise ValueError(f"This machine has no {wanted} device for torch: device=None uses its {best}.")
    return wanted


def dtype(device, wanted=None):
    """The number format for a device: `wanted` (a torch.dtype), or float16 on cuda, float32 on mps and cpu.

    Raises ValueError for a format that the device can not do, or not well (see `DTYPES`).
    """
    kind = torch.device(device).type
    if wanted is not None and wanted not in DTYPES[kind]:
        usable = " or ".join(str(one).removeprefix("torch.") for one in DTYPES[kind])
        raise ValueError(f"A {kind} device runs this course in {usable}, not in {wanted}: leave dtype=None.")
    return wanted or DTYPES[kind][0]


def whole_number(value, name, low, high):
    """`value` as an int with low <= value <= high.

    Raises TypeError if it is not whole, ValueError if it is out of range; `name` is what the sentence calls
    it.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    if not low <= number <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, not {number}.")
    return number


def seeded_generator(seed):
    """A torch.Generator on the CPU. seed: a whole number from 0 to 2**63 - 1."""
    return torch.Generator("cpu").manual_seed(whole_number(seed, "seed", 0, 2**63 - 1))


def seeded_noise(shape, seed, device="cpu", dtype=torch.float32):
    """Gaussian noise of mean 0 and variance 1: for the same seed the same numbers on every device.

    shape: of the result, such as (B, C, h, w). seed: a whole number, or a torch.Generator on the CPU, for all
    of it; or a list of B of them, one a row, and then a row does not depend on what else is in the batch.
    Drawn on the CPU in float32, then moved: the noise of a float32 diffusers pipeline that is given
    generator=torch.Generator("cpu").manual_seed(seed), or a list of those.
    """
    if not isinstance(seed, (list, tuple)):
        generator = seed if isinstance(seed, torch.Generator) else seeded_generator(seed)
        return torch.randn(tuple(shape), generator=generator).to(device=device, dtype=dtype)
    if len(seed) != shape[0]:
        raise ValueError(f"{len(seed)} seeds for a batch of {shape[0]}: give one seed a row.")
    return torch.cat([seeded_noise((1, *shape[1:]), one, device, dtype) for one in seed])


def threads():
    """How many CPU threads torch computes with."""
    return torch.get_num_threads()


def processor():
    """The name of this machine's processor, as well as its system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def place():
    """Whose machine this is: "colab", "ci", or "lab" for any other Jupyter or Python."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "colab"
    return "ci" if os.environ.get("CI", "").lower() in ("1", "true") else "lab"
