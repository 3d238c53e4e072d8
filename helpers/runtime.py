"""Where the course runs: device and number format, seeds and noise, threads, the kind of machine.

Import this module before transformers or diffusers: it tells both to speak up about errors only. Source: the
reproducibility guides of PyTorch and diffusers (noise from a generator on the CPU).
"""

import contextlib
import functools
import inspect
import os
import platform
import sys
import threading
import warnings
from pathlib import Path

from helpers import kernel

if not kernel.plain():
    for _variable, _level in kernel.VERBOSITY.items():
        os.environ.setdefault(_variable, _level)

import torch  # noqa: E402

from helpers import inputs  # noqa: E402
from helpers.inputs import whole_number  # noqa: E402

DTYPES = {  # device -> number formats it computes in, the default first
    "cuda": (torch.float16, torch.bfloat16, torch.float32),
    "mps": (torch.float32,),  # float16 turns into NaN in places
    "cpu": (torch.float32,),  # float16 and bfloat16 are emulated, and slow
}

# What stands between a reader's line and the course's: the course itself, and the wrappers of torch and Python.
PANELS = os.path.join(os.path.dirname(__file__), "panels") + os.sep
INSIDE = (
    os.path.dirname(__file__) + os.sep,
    os.path.dirname(torch.__file__) + os.sep,
    contextlib.__file__,
    threading.__file__,
)


def device(name=None):
    """The torch.device to compute on: `name` ("cuda", "cuda:1", "mps", "cpu"), or the best one present.

    Raises ValueError where there is no such device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    best = next(kind for kind in present if present[kind])
    if name is not None and not isinstance(name, (str, torch.device)):
        raise TypeError(f"device must be one of {', '.join(present)}, not {inputs.shown(name)}.")
    try:
        wanted = torch.device(best if name is None else name)
    except RuntimeError:
        raise ValueError(f"There is no device called {inputs.shown(name)}: use one of {', '.join(present)}.") from None
    beyond = (wanted.index or 0) >= (torch.cuda.device_count() if wanted.type == "cuda" else 1)
    if beyond or not present.get(wanted.type):
        raise ValueError(f"This machine has no {wanted} device for torch: device=None uses its {best}.")
    return wanted


def dtype(device, wanted=None):
    """The number format for a device: `wanted` (a torch.dtype), or float16 on cuda, float32 on mps and cpu.

    Raises ValueError for a format that the device can not do, or not well (see `DTYPES`).
    """
    kind = torch.device(device).type
    if wanted is not None and not isinstance(wanted, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype, such as torch.float32, not {inputs.shown(wanted)}.")
    if wanted is not None and wanted not in DTYPES[kind]:
        usable = " or ".join(str(one).removeprefix("torch.") for one in DTYPES[kind])
        raise ValueError(f"A {kind} device runs this course in {usable}, not in {wanted}: leave dtype=None.")
    return wanted or DTYPES[kind][0]


def seeded_generator(seed):
    """A torch.Generator on the CPU. seed: a whole number from 0 to 2**63 - 1."""
    return torch.Generator("cpu").manual_seed(whole_number(seed, "seed", 0, 2**63 - 1))


def seeded_noise(
    shape: tuple[int, ...],
    seed: int | torch.Generator | list[int],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Gaussian noise of mean 0 and variance 1: for the same seed the same numbers on every device.

    shape: of the result, such as (B, C, h, w). seed: a whole number, or a torch.Generator on the CPU, for all
    of it; or a list of B of them, one a row, and then a row does not depend on what else is in the batch.
    Drawn on the CPU in float32, then moved: the noise of a float32 diffusers pipeline that is given
    generator=torch.Generator("cpu").manual_seed(seed), or a list of those. A float16 pipeline draws in float16, and
    some versions of torch (2.11, for one) draw other numbers then: give it latents=seeded_noise(...) instead.
    """
    if not isinstance(shape, (list, tuple)):
        raise TypeError(f"shape must be whole numbers, such as (1, 4, 16, 16), not {inputs.shown(shape)}.")
    for side in shape:
        whole_number(side, "a side of shape", 0, 2**40)
    if not isinstance(seed, (list, tuple)):
        generator = seed if isinstance(seed, torch.Generator) else seeded_generator(seed)
        return torch.randn(tuple(shape), generator=generator).to(device=device, dtype=dtype)
    if len(seed) != (shape[0] if shape else None):
        raise ValueError(f"{len(seed)} seeds for a batch of {shape[0] if shape else 1}: give one seed a row.")
    return torch.cat([seeded_noise((1, *shape[1:]), one, device, dtype) for one in seed])


def threads():
    """How many CPU threads torch computes with."""
    return torch.get_num_threads()


@contextlib.contextmanager
def _one_thread():
    """Works that overlap, such as two generators in turn, end in any order: the last one puts back what the first one found."""
    _found.append(torch.get_num_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        found = _found.pop()
        if not _found:
            torch.set_num_threads(found)


_found = []  # how many threads each work that is under way found; the first one's number is the last to go


def one_thread(work):
    """A decorator: torch computes this function, or this generator from step to step, on one CPU thread.

    For nets of some thousand weights. Their threads meet after every layer, and each wait for the last one is longer than
    what they compute: with another program on one of two cores, a training takes three times as long on two threads as
    on one. docs/kernel.md has the numbers. Between two steps of a generator the caller's own work has one thread, too.
    """

    @functools.wraps(work)
    def steps(*args, **kwargs):
        with _one_thread():
            yield from work(*args, **kwargs)

    @functools.wraps(work)
    def whole(*args, **kwargs):
        with _one_thread():
            return work(*args, **kwargs)

    return steps if inspect.isgeneratorfunction(work) else whole


def processor():
    """The name of this machine's processor, as precisely as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def place():
    """Where this runs: "colab", "ci", or "lab" for any other Jupyter or Python."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "colab"
    return "ci" if os.environ.get("CI", "").lower() in ("1", "true") else "lab"


def warn(sentence):
    """Warn the reader at the line that called the course: the nearest one outside of it.

    A panel's thread has no such line: panels show a sentence on their own, and nothing is said a second time.
    """
    frame, level, by_panel = sys._getframe(1), 2, False
    while frame is not None and frame.f_code.co_filename.startswith(INSIDE):
        by_panel = by_panel or frame.f_code.co_filename.startswith(PANELS)
        frame, level = frame.f_back, level + 1
    if frame is not None or not by_panel:
        warnings.warn(sentence, stacklevel=level)
