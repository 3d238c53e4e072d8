"""helpers.runtime: devices, number formats, seeds, noise, place."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from helpers import runtime

SHAPE = (2, 4, 16, 16)


def test_importing_helpers_imports_no_heavy_library():
    code = (
        "import sys, helpers; heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy; assert {'load_components', 'generate', 'denoise'} <= set(dir(helpers))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_in_helpers_is_an_attribute_error():
    import helpers

    with pytest.raises(AttributeError, match="it offers load_components"):
        _ = helpers.nonsense


def test_device_is_one_that_is_there():
    assert runtime.device().type in ("cuda", "mps", "cpu")
    assert runtime.device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="no device called 'abacus'"):
        runtime.device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no cuda device"):
        runtime.device("cuda")


def test_dtype_by_device():
    assert runtime.dtype("cuda") == torch.float16
    assert runtime.dtype("cuda:0", torch.bfloat16) == torch.bfloat16
    assert runtime.dtype("mps") == runtime.dtype("cpu") == torch.float32


@pytest.mark.parametrize("device, dtype", [("cpu", torch.float16), ("cpu", torch.bfloat16), ("mps", torch.float16)])
def test_dtype_a_device_can_not_do_is_refused(device, dtype):
    with pytest.raises(ValueError, match=f"A {device} device runs this course in float32, not in {dtype}"):
        runtime.dtype(device, dtype)


def test_noise_is_what_a_pipeline_draws():
    ours = runtime.seeded_noise(SHAPE, 7)
    assert torch.equal(ours, randn_tensor(SHAPE, generator=torch.Generator("cpu").manual_seed(7)))
    ours = runtime.seeded_noise(SHAPE, [7, 8])
    theirs = randn_tensor(SHAPE, generator=[torch.Generator("cpu").manual_seed(seed) for seed in (7, 8)])
    assert torch.equal(ours, theirs)


def test_a_row_of_noise_does_not_depend_on_its_batch():
    assert torch.equal(runtime.seeded_noise(SHAPE, [3, 4])[1:], runtime.seeded_noise((1, *SHAPE[1:]), 4))


def test_noise_goes_on_where_its_generator_is():
    generator = runtime.seeded_generator(0)
    first, second = (runtime.seeded_noise(SHAPE, generator) for _ in range(2))
    assert torch.equal(first, runtime.seeded_noise(SHAPE, 0)) and not torch.equal(first, second)


def test_noise_is_drawn_in_float32_whatever_is_asked():
    half = runtime.seeded_noise(SHAPE, 0, dtype=torch.float16)
    assert torch.equal(half, runtime.seeded_noise(SHAPE, 0).half())


def test_one_seed_a_row():
    with pytest.raises(ValueError, match="3 seeds for a batch of 2"):
        runtime.seeded_noise(SHAPE, [1, 2, 3])


@pytest.mark.parametrize("seed", ["abc", 1.5, None, True])
def test_a_seed_that_is_not_whole_is_refused(seed):
    with pytest.raises(TypeError, match="seed must be a whole number"):
        runtime.seeded_generator(seed)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed must lie between 0 and"):
        runtime.seeded_generator(seed)


def test_a_numpy_seed_is_a_whole_number():
    assert runtime.whole_number(np.int64(5), "seed", 0, 10) == 5


def test_threads():
    assert runtime.threads() == torch.get_num_threads() >= 1


def test_place(monkeypatch):
    for variable in ("CI", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(variable, raising=False)
    assert runtime.place() == "lab"
    monkeypatch.setenv("CI", "true")
    assert runtime.place() == "ci"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert runtime.place() == "colab"


def test_a_processor_has_a_name_on_every_system(monkeypatch):
    assert runtime.processor() == runtime.processor().strip() != ""

    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(runtime.Path, "read_text", missing)  # not Linux
    monkeypatch.setattr(runtime.platform, "processor", lambda: "")
    assert runtime.processor() == runtime.platform.machine() != ""


def test_one_thread_lasts_as_long_as_the_work():
    two = torch.get_num_threads()
    torch.set_num_threads(2)
    try:

        @runtime.one_thread
        def whole(a, b=0):
            if a == "bad":
                raise ValueError(a)
            return torch.get_num_threads(), a, b

        @runtime.one_thread
        def steps(n):
            for _ in range(n):
                yield torch.get_num_threads()

        assert whole(3, b=4) == (1, 3, 4) and torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="bad"):
            whole("bad")
        assert torch.get_num_threads() == 2, "after an error"
        assert [*steps(3)] == [1, 1, 1] and torch.get_num_threads() == 2
        dropped = steps(3)
        assert torch.get_num_threads() == 2, "before its first step"
        assert next(dropped) == 1 == torch.get_num_threads()
        dropped.close()
        assert torch.get_num_threads() == 2, "after it was dropped half-way"
        first, second = steps(1), steps(2)
        next(first), next(second)
        assert next(first, None) is None and torch.get_num_threads() == 1, "the second goes on"
        assert [*second] == [1] and torch.get_num_threads() == 2, "after two that ran in turn"
        assert whole.__name__ == "whole" and steps.__name__ == "steps"
    finally:
        torch.set_num_threads(two)
