"""Ctrl-C at any line of the course's own code: what was being changed is whole, and the interrupt is heard.

The trial follows the Python lines of helpers/ while an operation runs, and sends SIGINT at the k-th of them, for many
k. Whether it is heard there or a few milliseconds later: afterwards the model is what it was, and it draws the same.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from studios import same, state_of

from helpers import generate, interrupts, record_attention
from helpers.attention import reweight_attention
from helpers.components import copy_of
from helpers.concepts import Concept, loaded, train_concept
from helpers.conditioning import encode_prompts
from helpers.lora import add_lora, load_lora, save_lora, train_lora
from helpers.panels.job import Job

HELPERS = str(Path(interrupts.__file__).parent)
PROMPT = "a red boat on a lake"


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """As a notebook has it when a cell begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    yield
    signal.signal(signal.SIGINT, before[0])
    sys.unraisablehook = before[1]


def lines_of(operation, at=None):
    """Run it and count the lines of helpers/ it takes. at: at this one, press Ctrl-C. Returns (lines, interrupted)."""
    seen = 0

    def local(frame, event, argument):
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == at:
                signal.raise_signal(signal.SIGINT)
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename.startswith(HELPERS) else None

    try:
        sys.settrace(trace)
        try:
            operation()
        finally:
            sys.settrace(None)
        for _ in range(2000 if at is not None and at <= seen else 0):  # it was put off: it comes within a moment
            time.sleep(0.001)
    except KeyboardInterrupt:
        return seen, True
    return seen, False


def call(c, embeds):
    with torch.inference_mode():
        c.unet(torch.zeros(2, *c.latent_shape), 400, encoder_hidden_states=embeds)


def put_in_and_out(c, embeds):
    with add_lora(c.unet, rank=1, targets=("to_k",)) as lora:
        lora.strength = 0.5


def merge_and_undo(c, embeds):
    with add_lora(c.unet, rank=1, targets=("attn2.to_k",)) as lora:
        lora.merge()
        lora.unmerge()
        lora.merge()


def record(c, embeds):
    with record_attention(c.unet):
        call(c, embeds)


def reweight_and_record(c, embeds):
    with reweight_attention(c.unet, {2: 0}), record_attention(c.unet):
        call(c, embeds)


def draw(c, embeds):
    generate(c, PROMPT, steps=2)


def with_a_concept(c, embeds):
    with loaded(c, Concept("<teal>", c.text_encoder.get_input_embeddings().weight[:2].detach() * 1.5)) as model:
        generate(model, "a <teal> boat", steps=1)


def copy(c, embeds):
    with add_lora(copy_of(c.unet), rank=1):
        call(c.snapshot(), embeds)


def train(c, embeds):
    images = [Image.new("RGB", (128, 128), "blue")]
    with add_lora(c.unet, rank=1, targets=("attn2.to_k",)) as lora:
        for _ in train_lora(c, lora, images, [PROMPT], (images, [PROMPT]), steps=1, batch=3):
            pass


def read_a_file(c, embeds, folder=[]):  # noqa: B006  filled by what follows
    with load_lora(c, folder[0]):
        pass


OPERATIONS = [
    put_in_and_out,
    merge_and_undo,
    record,
    reweight_and_record,
    draw,
    with_a_concept,
    copy,
    train,
    read_a_file,
]


@pytest.fixture(scope="module")
def model(tiny_postcard, tmp_path_factory):
    with add_lora(tiny_postcard.unet, rank=1, targets=("attn2.to_k",)) as lora:
        torch.nn.init.ones_(lora.parameters()[1].data)
        read_a_file.__defaults__[0][:] = [save_lora(lora, tmp_path_factory.mktemp("lora"))]
    return tiny_postcard, encode_prompts(tiny_postcard, ["", PROMPT])


@pytest.mark.parametrize("places", [9, pytest.param(125, marks=pytest.mark.hard)])  # 9 times 125: more than 950
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.__name__)
def test_ctrl_c_at_any_line_leaves_nothing_behind(operation, model, places):
    c, embeds = model
    picture, before = generate(c, PROMPT, steps=1), state_of(c)
    whole, interrupted = lines_of(lambda: operation(c, embeds))
    assert whole > 10 and not interrupted and state_of(c) == before
    for k in range(places):
        at = 1 + k * whole // places if places < whole else 1 + k % whole
        _, interrupted = lines_of(lambda: operation(c, embeds), at)
        assert interrupted, f"the interrupt at line {at} of {whole} was lost"
        assert state_of(c) == before, f"something stayed behind after an interrupt at line {at} of {whole}"
    assert same(generate(c, PROMPT, steps=1), picture)
    with record_attention(c.unet) as attention:
        call(c, embeds)
    assert attention.steps == 1


def train_a_vector(c, embeds):
    for _ in train_concept(
        c, [Image.new("RGB", (128, 128), "blue")], "<mine>", start="blue", prompts=["a <mine> boat"], steps=2, batch=2
    ):
        pass


def paint(c, embeds):
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    generate(c, PROMPT, steps=3, image=Image.new("RGB", (128, 128), "red"), mask=mask)


@pytest.mark.parametrize(
    "tries", [1, pytest.param(12, marks=pytest.mark.hard)]
)  # 7 times 12: the 84 of the first trial
@pytest.mark.parametrize(
    "operation",
    [draw, record, reweight_and_record, train_a_vector, train, with_a_concept, paint],
    ids=lambda one: one.__name__,
)
def test_ctrl_c_at_a_random_moment_leaves_nothing_behind(operation, model, tries):
    c, embeds = model
    picture, before, chance = generate(c, PROMPT, steps=1), state_of(c), random.Random(operation.__name__)
    begun = time.perf_counter()
    operation(c, embeds)
    whole = time.perf_counter() - begun
    for _ in range(tries):
        ctrl_c = threading.Timer(chance.uniform(0, whole), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            ctrl_c.start()
            operation(c, embeds)
            time.sleep(60)  # where it comes after the end
        assert state_of(c) == before
    assert same(generate(c, PROMPT, steps=1), picture)


def test_ctrl_c_while_a_tokenizer_reads_keeps_no_other_thread_waiting(model):
    tokenizer = model[0].tokenizer
    for method in (tokenizer, tokenizer.encode, tokenizer.tokenize):
        lines, _ = lines_of(lambda: method(PROMPT))
        for at in range(1, lines + 1):
            assert lines_of(lambda: method(PROMPT), at)[1]
            studio = threading.Thread(target=method, args=(PROMPT,), daemon=True)
            studio.start()
            studio.join(10)
            assert not studio.is_alive(), f"{method} holds back another thread after Ctrl-C at line {at} of {lines}"


# The one mechanism


def test_a_whole_function_is_finished_and_then_the_interrupt_is_heard():
    done = []

    @interrupts.whole
    def change():
        done.append("begun")
        signal.raise_signal(signal.SIGINT)
        time.sleep(3 * interrupts.AGAIN)
        done.append("done")

    with pytest.raises(KeyboardInterrupt):
        change()
        time.sleep(2)
    assert done == ["begun", "done"]


def test_a_block_hears_it_between_its_ends_only():
    done = []

    @interrupts.block
    def seat():
        signal.raise_signal(signal.SIGINT)
        done.append("seated")
        try:
            yield
        finally:
            time.sleep(3 * interrupts.AGAIN)
            done.append("left")

    with pytest.raises(KeyboardInterrupt), seat():
        time.sleep(2)
        done.append("never")
    assert done == ["seated", "left"]


def test_an_interrupt_that_a_destructor_swallows_is_heard_after_it():
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
            time.sleep(2)

    interrupts.whole(lambda: None)()
    with pytest.raises(KeyboardInterrupt):
        Dying()
        time.sleep(2)


def test_an_interrupt_while_a_destructors_error_is_reported_is_heard_after_it(monkeypatch):
    """Where it is sent again sooner than the hook has ended, too: what a hook raises is dropped."""

    class Dying:
        def __del__(self):
            raise ValueError("no")

    def report(dropped):
        signal.raise_signal(signal.SIGINT)
        time.sleep(3 * interrupts.AGAIN)
        done.append(dropped.exc_type)

    done = []
    monkeypatch.setattr(sys, "unraisablehook", report)
    interrupts.whole(lambda: None)()
    with pytest.raises(KeyboardInterrupt):
        Dying()
        time.sleep(2)
    assert done == [ValueError]


def test_an_interrupt_is_put_off_for_long_by_one_thread():
    """A thread started for each time could be slower than what it waits for; handlers then come inside each other."""

    @interrupts.whole
    def change():
        signal.raise_signal(signal.SIGINT)
        end = time.perf_counter() + 40 * interrupts.AGAIN
        while time.perf_counter() < end:
            threads.append(threading.active_count())

    threads, before = [], threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        change()
        time.sleep(2)
    assert len(threads) > 40 and max(threads) <= before + 1


def test_other_errors_of_destructors_are_reported_as_ever(monkeypatch):
    class Dying:
        def __del__(self):
            raise ValueError("no")

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: reported.append(dropped.exc_type))
    interrupts.whole(lambda: None)()
    Dying()
    assert reported == [ValueError]


def test_a_plain_kernel_keeps_its_handlers(monkeypatch):
    monkeypatch.setenv("COURSE_PLAIN", "1")
    hook = sys.unraisablehook
    interrupts.whole(lambda: None)()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and sys.unraisablehook is hook


def test_the_handler_of_others_is_called_and_one_that_is_switched_off_stays_so():
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))

    @interrupts.whole
    def change():
        signal.raise_signal(signal.SIGINT)

    change()
    while not heard:
        time.sleep(0.001)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    change()
    assert heard == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_are_not_concerned():
    found = []
    thread = threading.Thread(target=interrupts.whole(lambda: found.append(signal.getsignal(signal.SIGINT))))
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_errors_pass_and_a_function_keeps_its_name():
    @interrupts.whole
    def change():
        """It says what it does."""
        raise ValueError("no")

    assert (change.__name__, change.__doc__) == ("change", "It says what it does.")
    with pytest.raises(ValueError, match="no"):
        change()


def test_ctrl_c_at_any_line_of_a_start_leaves_a_worker_that_works():
    """Whatever was begun ends, two never run at once, and the next request is answered."""

    def trial(at):
        inside, most, done = [], [0], []

        def work(name, steps):
            def make():
                inside.append(name)
                most[0] = max(most[0], len(inside))
                try:
                    for i in range(steps):
                        time.sleep(0.005)
                        yield name
                finally:
                    inside.remove(name)

            return make

        job = Job(
            lambda step, number, left: None, done.append, lambda problem: done.append(problem), lambda number: None
        )
        job.start(work("first", 3), 3)
        lines, interrupted = lines_of(lambda: job.start(work("second", 3), 3), at)
        job.start(work("third", 2), 2)
        assert job.wait(10) and not job.running and not inside and most == [1] and done[-1] == "third", (at, done)
        return lines, interrupted

    lines, _ = trial(None)
    heard = [trial(at)[1] for at in range(1, lines + 1)]
    assert lines >= 10 and sum(heard) >= lines - 2
