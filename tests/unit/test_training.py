"""The training loop goes on exactly where it was stopped; its parts do what they claim."""

import copy
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from helpers.postcards import COLOURS, HELDOUT_PAIRS, KINDS, caption, full_caption, render, sample_scene
from training import card, clip, common, data, optimizers, vae
from training.settings import PRESETS, Loop, settings
from training.tokenizer import learn_merges, save_tokenizer

ROOT = Path(__file__).resolve().parents[2]
LOOP = Loop(steps=12, batch=4, lr=1e-2, warmup=3, decay=0.5, ema=0.9, log_every=2)


class Line(torch.nn.Module):
    """A tiny task with noise of its own: fit y = A x."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inside, self.outside = torch.nn.Linear(5, 6), torch.nn.Linear(6, 3)

    def forward(self, x, stop=False):
        y = self.outside(torch.tanh(self.inside(x + 0.1 * torch.randn_like(x))))
        return dict(loss=(y - x[:, :3]).square().mean())


def line_batch(rng, step, steps):
    return dict(x=torch.tensor([[rng.gauss(0, 1) for _ in range(5)] for _ in range(4)]))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTCARD_RUNS", str(tmp_path))
    return tmp_path


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def same_state(a, b):
    return all(torch.equal(a["model"][k], b["model"][k]) and torch.equal(a["ema"][k], b["ema"][k]) for k in a["model"])


@pytest.mark.parametrize("stop_after", [1, 5, 6, 9])
def test_a_stopped_run_ends_in_the_same_bits(folder, stop_after):
    whole = common.train("whole", Line(), line_batch, LOOP)

    def stopping_batch(rng, step, steps):
        if step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return line_batch(rng, step, steps)

    with pytest.raises(SystemExit) as left:
        common.train("stopped", Line(), stopping_batch, LOOP)
    assert left.value.code == 128 + signal.SIGTERM
    assert common.read_checkpoint(folder / "stopped" / "last.pt")["step"] == stop_after + 1
    resumed = common.train("stopped", Line(), line_batch, LOOP)
    assert torch.equal(weights(whole), weights(resumed))
    assert same_state(*(common.read_checkpoint(folder / stage / "last.pt") for stage in ("whole", "stopped")))
    rows = [json.loads(line)["step"] for line in (folder / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert rows == sorted(set(rows)) and rows[-1] == LOOP.steps


@pytest.mark.parametrize("at", [5, *(pytest.param(step, marks=pytest.mark.hard) for step in (1, 3, 8, 11))])
def test_a_killed_run_ends_in_the_same_bits(folder, at):
    """kill -9 in the middle: what was saved last is whole, and the run goes on from there."""
    program = "\n".join(
        [  # of this file only what it needs: its imports take longer than the training
            "import time, torch",
            "from training import common",
            "from training.settings import Loop",
            inspect.getsource(Line),
            inspect.getsource(line_batch),
            "common.SAVE_SECONDS = 0",
            f"def slow(rng, step, steps):\n    time.sleep(0.05 if step < {at} else 100); return line_batch(rng, step, steps)",
            f"common.train('killed', Line(), slow, {LOOP})",
        ]
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)
    last = folder / "killed" / "last.pt"
    try:
        for _ in range(2400):
            if last.exists() and common.read_checkpoint(last)["step"] == at:
                break
            assert child.poll() is None
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    whole, resumed = common.train("whole", Line(), line_batch, LOOP), common.train("killed", Line(), line_batch, LOOP)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_longer_run_goes_on_from_before_the_rate_fell(folder, capsys):
    common.train("line", Line(), line_batch, LOOP)
    longer = common.train("line", Line(), line_batch, replace(LOOP, steps=20))
    assert "going on from step 6, before the learning rate fell" in capsys.readouterr().out
    assert torch.equal(weights(longer), weights(common.train("fresh", Line(), line_batch, replace(LOOP, steps=20))))


def test_a_run_that_is_further_than_asked_for_ends(folder, capsys):
    """A finished one stays as it is; one that was stopped on its way says what to do."""
    done = common.train("line", Line(), line_batch, LOOP)
    again = common.train("line", Line(), line_batch, replace(LOOP, steps=5))
    assert torch.equal(weights(done), weights(again))
    assert "5 steps are asked for, and a run of 12 is done: it stays as it is" in capsys.readouterr().out
    path = folder / "line" / "last.pt"
    torch.save(torch.load(path, weights_only=True) | {"steps": 30}, path)
    with pytest.raises(ValueError, match="stands at step 12 of 30, and 5 are asked for: give --steps 30 to go on, or"):
        common.train("line", Line(), line_batch, replace(LOOP, steps=5))


def test_a_run_by_the_clock_ends(folder):
    def state_of():
        return common.read_checkpoint(folder / "clock" / "last.pt")

    common.train("clock", Line(), line_batch, replace(LOOP, minutes=0.01))
    assert state_of()["step"] == state_of()["steps"] > 2 and state_of()["minutes"] == 0.01
    common.train("clock", Line(), line_batch, replace(LOOP, minutes=0.01))
    assert state_of()["step"] == state_of()["steps"]


def test_workers_prepare_the_same_batches(folder):
    alone = common.train("alone", Line(), line_batch, LOOP)
    helped = common.train("helped", Line(), line_batch, replace(LOOP, workers=1))
    assert torch.equal(weights(alone), weights(helped))


def test_a_run_that_stands_on_other_parts_says_so(folder):
    common.train("line", Line(), line_batch, LOOP, given={"vae": "one"})
    with pytest.raises(ValueError, match="vae changed since"):
        common.train("line", Line(), line_batch, LOOP, given={"vae": "two"})
    common.train("line", Line(), line_batch, LOOP, given={"vae": "two"}, fresh=True)


def test_a_damaged_checkpoint_says_so(folder):
    common.train("line", Line(), line_batch, LOOP)
    last = folder / "line" / "last.pt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(ValueError, match="last.pt is damaged"):
        common.train("line", Line(), line_batch, LOOP)


def test_another_shape_or_optimizer_says_so(folder):
    common.train("line", Line(), line_batch, LOOP)
    with pytest.raises(ValueError, match="another optimizer"):
        common.train("line", Line(), line_batch, replace(LOOP, optimizer="adamw"))
    other = Line()
    other.outside = torch.nn.Linear(6, 4)
    with pytest.raises(ValueError, match="another shape"):
        common.train("line", other, line_batch, LOOP)


def test_rate():
    rates = [common.rate(step, 100, warmup=10, decay=0.3) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in zip(rates[70:], rates[71:])) and 0 < rates[-1] < 0.02
    assert common.rate(100, 100, 10, 0.3) == 0


def test_step_seeds_differ():
    assert (
        len({common.step_seed(seed, step, process) for seed in range(3) for step in range(50) for process in range(2)})
        == 300
    )


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_muon_does_what_torch_does(shape):
    torch.manual_seed(1)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    a = optimizers.Muon([ours], lr=0.01, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        a.step(), b.step()
    step = 3 * 0.01 * 0.2 * max(shape) ** 0.5
    assert (ours - theirs).abs().max() < 0.03 * step  # theirs works in bfloat16


def test_orthogonalize():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optimizers.orthogonalize(torch.randn(3, 12, 30)))
    assert values.shape == (3, 12) and values.min() > 0.6 and values.max() < 1.3


def test_muon_takes_kernels_and_leaves_the_plain():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3), torch.nn.Linear(8, 2))
    muon, adamw = optimizers.make_optimizers(net, LOOP, plain=("0.",))
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(8, 8, 3, 3), (2, 8)]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 4
    with pytest.raises(ValueError, match='"sgd" is unknown'):
        optimizers.make_optimizers(net, replace(LOOP, optimizer="sgd"))


def test_settings(capsys):
    chosen, extra = settings(
        "vae", ["--preset", "gpu", "--steps", "7", "--full-from", "0.5"], fresh=(False, "begin anew")
    )
    assert chosen == replace(PRESETS["gpu"]["vae"], steps=7, full_from=0.5) and extra.fresh is False
    assert settings("unet", [])[0] == PRESETS["cpu"]["unet"]
    for wrong in (["--preset", "tpu"], ["--stepps", "7"], ["--steps", "many"], ["--decay", "1"], ["--batch", "0"]):
        with pytest.raises(SystemExit):
            settings("vae", wrong)
    assert "--batch is 0: give at least 1" in capsys.readouterr().err
    assert PRESETS["cpu"].keys() == PRESETS["gpu"].keys()


def test_rendered_pictures_are_their_seeds_scenes(folder, monkeypatch):
    data.make("train", 3, 2, processes=1)
    data.make("train", 3, 2, processes=1)  # nothing is missing now
    pictures = data.Pictures("train", 3)
    scene = sample_scene(data.scene_rng(2))
    assert pictures.scenes[2] == scene and len(pictures) == 3 and pictures.boxes.shape == (3, 2, 4)
    assert np.array_equal(pictures.one(2), np.asarray(data.render(scene, 128).image))
    x0, y0, x1, y1 = pictures.boxes[2, 0]
    assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
    assert vae.cut(Random(0), pictures, 64, 1.0).shape == (64, 64, 3)
    with pytest.raises(FileNotFoundError, match="run `python -m training.data` first"):
        data.Pictures("validation")
    with pytest.raises(
        SystemExit, match="holds 2 pictures, and files of 3 are asked for: give --shard 2, or remove the"
    ):
        data.make("train", 6, 3, processes=1)


def test_the_judge_learns_from_the_pairs_that_the_model_never_sees(folder):
    from training import judge

    for split, n in (("train", 20), ("heldout", 6)):
        data.make(split, n, n, processes=1)
    pictures, heldout = data.Pictures("train"), data.Pictures("heldout")
    pairs = [
        [(s.colour, s.kind) in HELDOUT_PAIRS for s in scene.subjects] for scene in [*pictures.scenes, *heldout.scenes]
    ]
    assert not any(map(any, pairs[:20])) and all(pair[0] for pair in pairs[20:])
    for share, unseen in ((0.25, 4), (0.0, 0)):
        batch = judge.Batches(pictures, heldout, replace(PRESETS["cpu"]["judge"], batch=16, heldout=share))(
            Random(0), 0, 1
        )
        rows = zip(batch["kind"].tolist(), batch["colour"].tolist())
        held = [
            any((c < len(COLOURS)) and (COLOURS[c], KINDS[k]) in HELDOUT_PAIRS for k, c in zip(*row)) for row in rows
        ]
        assert batch["pixels"].shape == (16, 3, 128, 128) and sum(held) == unseen == sum(held[16 - unseen :])


@torch.no_grad()
def test_centring_the_latents_changes_no_picture():
    torch.manual_seed(0)
    net = vae.make_vae((8, 8, 8, 8), 1, 4).eval()
    net.quant_conv.bias[:4] = torch.tensor([3.0, -2.0, 1.0, 0.5])
    pixels = torch.rand(6, 3, 32, 32) * 2 - 1
    before = vae.reconstruct(net, pixels)
    vae.centre(net, pixels)
    latents = net.encode(pixels).latent_dist.mean
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert (latents.std() * net.config.scaling_factor).item() == pytest.approx(1, abs=1e-3)
    assert torch.allclose(vae.reconstruct(net, pixels), before, atol=1e-4)
    assert net.encode(pixels).latent_dist.logvar.max() < -5


@pytest.fixture(scope="module")
def captions():
    rng = Random(0)
    scenes = [sample_scene(rng) for _ in range(400)]
    return scenes, [caption(scene, rng) for scene in scenes]


@pytest.fixture(scope="module")
def tokenizer(captions, tmp_path_factory):
    return save_tokenizer(learn_merges(captions[1]), tmp_path_factory.mktemp("tokenizer"))


def test_tokenizer_has_clips_format(tokenizer, captions, tmp_path):
    from transformers import CLIPTokenizer

    vocabulary = tokenizer.get_vocab()
    assert len(tokenizer) == len(vocabulary) == max(vocabulary.values()) + 1 and tokenizer.model_max_length == 77
    assert vocabulary["!"] == 0 and vocabulary["!</w>"] == 256
    assert vocabulary["<|startoftext|>"] == len(tokenizer) - 2 == tokenizer.bos_token_id
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == len(tokenizer) - 1
    ids = tokenizer("A red boat", padding="max_length").input_ids
    assert len(ids) == 77 and ids[0] == tokenizer.bos_token_id and set(ids[4:]) == {tokenizer.eos_token_id}
    assert tokenizer.tokenize("a RED boat") == ["a</w>", "red</w>", "boat</w>"]
    assert all(len(tokenizer.tokenize(word)) == 1 for text in captions[1] for word in text.split())
    strange = "teal windmill, naïve 東京 <3"
    assert len(tokenizer.tokenize("windmill")) > 1 and tokenizer.decode(tokenizer(strange).input_ids[1:-1]).replace(
        " ", ""
    ) == strange.replace(" ", "")
    tokenizer.save_pretrained(tmp_path / "again")
    again = CLIPTokenizer.from_pretrained(tmp_path / "again")
    assert all(again(text).input_ids == tokenizer(text).input_ids for text in [strange, *captions[1][:20]])


def test_a_caption_is_true_of_its_scene_and_a_near_miss_is_not(captions):
    scenes, texts = captions
    rng = Random(1)
    codes, said = np.array([clip.scene_codes(s) for s in scenes]), np.array([clip.caption_codes(t) for t in texts])
    true = clip.true_of(codes, said)
    assert true.diagonal().all() and true.mean() < 0.05
    full = [clip.caption_codes(full_caption(clip.altered(scene, rng))) for scene in scenes]
    assert clip.true_of(codes, np.array(full)).diagonal().mean() < 0.35  # what is "none" now is not said: true as well
    one = clip.caption_codes("a boat")
    assert (
        clip.true_of(codes, np.array([one]))[:, 0]
        == [any(s.kind == "boat" for s in scene.subjects) for scene in scenes]
    ).all()


def test_near_misses_stay_in_the_training_world():
    rng = Random(0)
    for _ in range(300):
        scene = sample_scene(rng)
        other = clip.altered(scene, rng)
        assert other != scene and not any((s.colour, s.kind) in clip.HELDOUT_PAIRS for s in other.subjects)


def test_readers_ask_only_what_is_named():
    readers = clip.Readers(8)
    codes = torch.tensor([clip.caption_codes("a red boat"), clip.caption_codes("a house on the left at night")])
    loss, right = readers(torch.randn(2, 8), codes)
    loss.backward()
    sizes = readers.sizes
    gradient = readers.answers.weight.grad.split(sizes)
    assert gradient[0].abs().sum() > 0 and gradient[3].abs().sum() == 0  # the sky is named, the backdrop is not
    colours = gradient[len(clip.WHOLE) + 1].unflatten(0, (len(KINDS), -1))  # (kinds, colours, width)
    assert [g.abs().sum().item() > 0 for g in colours] == [kind == "boat" for kind in KINDS]


def test_the_text_state_does_not_depend_on_padding(tokenizer):
    torch.manual_seed(0)
    model = clip.make_clip(tokenizer, 32, 2, 2, 16).eval()
    short = tokenizer(["a red boat", "a blue house at night"], padding="longest", return_tensors="pt").input_ids
    long = tokenizer(["a red boat", "a blue house at night"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.allclose(
            model.text_model(input_ids=short).pooler_output, model.text_model(input_ids=long).pooler_output, atol=1e-5
        )


def test_clip_learns_in_a_few_steps(tokenizer, captions):
    torch.manual_seed(0)
    objective = clip.Objective(clip.make_clip(tokenizer, 16, 1, 2, 32), 0.5)

    class Drawn:
        scenes = captions[0][:8]

        def __len__(self):
            return 8

        def take(self, indices):
            return np.stack([np.full((128, 128, 3), 20 * i, np.uint8) for i in indices])

    batch = clip.Batches(Drawn(), tokenizer, replace(PRESETS["cpu"]["clip"], batch=8))(Random(0), 1, 10)
    assert batch["excluded"].shape == (8, 16) and not batch["excluded"].diagonal().any()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        loss = objective(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_unet_objective_weighs_by_snr(tokenizer):
    from training import unet

    torch.manual_seed(0)
    text_encoder = clip.make_clip(tokenizer, 16, 1, 2, 32).text_model
    net = unet.make_unet((16, 16), 1, 2, 8, 16)
    objective = unet.Objective(net, text_encoder, 5.0, grounding=0.0)
    assert not any(name.startswith("frozen") for name, _ in objective.named_parameters())
    losses = objective(**unet_batch(tokenizer, torch.randn(8, 4, 16, 16)))
    assert losses["error"].item() == pytest.approx(1, abs=0.1)  # it starts by predicting zero, and noise has variance 1
    assert losses["loss"] < losses["error"]
    losses["loss"].backward()
    assert net.conv_out.weight.grad.abs().sum() > 0


class SomePictures:
    """Stands in for data.Pictures: scenes, and where their things are."""

    def __init__(self, n):
        self.scenes = [sample_scene(data.scene_rng(i)) for i in range(n)]
        self.cells = np.stack([data.cells_of(scene, render(scene).masks) for scene in self.scenes])


def unet_batch(tokenizer, latents, **settings):
    from training.unet import Batches

    chosen = replace(PRESETS["cpu"]["unet"], batch=len(latents), **settings)
    return Batches(latents, SomePictures(len(latents)), tokenizer, chosen)(Random(0), 0, 1)


def test_cells_share_out_the_picture():
    cells = SomePictures(6).cells
    assert cells.shape == (6, len(data.THINGS), 16, 16)
    assert (cells.sum(1, dtype=int) <= 255).all() and cells.sum(
        1, dtype=int
    ).mean() > 240  # islands and rounding are left


def test_some_captions_are_read_by_their_words_alone(tokenizer):
    latents = torch.zeros(6, 4, 16, 16)
    whole, words = (unet_batch(tokenizer, latents, empty=0, words_only=part) for part in (0.0, 1.0))
    assert whole["read"].all()
    ends = words["ids"] == tokenizer.eos_token_id
    assert not words["read"][ends].any() and words["read"][~ends].all()
    assert unet_batch(tokenizer, latents, empty=1, words_only=1.0)["read"].all()  # something has to be read


def test_words_know_their_things(tokenizer):
    from helpers.postcards.scene import Scene, Subject
    from training.grounding import things_of_tokens

    scene = Scene(
        "sunset", "none", "snow field", "red cliffs", weather="falling snow", subjects=(Subject("tent", "red", "left"),)
    )
    text = "a red tent in a snow field in falling snow below red cliffs"
    things = things_of_tokens(tokenizer, text, scene)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
    said = {}
    for piece, thing in zip(pieces, things):
        said.setdefault(thing, []).append(piece.removesuffix("</w>"))
    assert len(things) == 77 and "".join(said[4]) == "redtent" and "".join(said[2]) == "snowfield"
    assert "".join(said[3]) == "redcliffs" and 0 not in said  # the sky is not named


def test_the_share_of_reading_that_lies_on_a_thing():
    from training.grounding import grounding_loss, share_on_things

    cells = torch.zeros(1, 6, 16, 16)
    cells[0, 0, :8] = 1  # sky: the upper half; nothing is seen of a light
    things = torch.full((1, 77), -1)
    things[0, 3], things[0, 5] = 0, 1
    reads = torch.zeros(1, 256, 77)
    reads[0, 0, 3], reads[0, 255, 3], reads[0, 7, 5] = 0.3, 0.1, 1.0
    assert share_on_things([reads], things, cells).tolist() == pytest.approx([0.75])
    coarse = torch.full((1, 64, 77), 0.2)
    shares = share_on_things([reads, coarse], things, cells)
    assert shares.tolist() == pytest.approx([0.75, 0.5])
    assert grounding_loss(shares).item() == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2)
    assert grounding_loss(shares[:0]) == 0


def test_grounding_moves_words_to_their_things(tokenizer):
    from training import unet

    torch.manual_seed(0)
    text_encoder = clip.make_clip(tokenizer, 16, 1, 2, 32).text_model
    objective = unet.Objective(unet.make_unet((16, 16), 1, 2, 8, 16), text_encoder, 5.0, grounding=1.0)
    batch = unet_batch(tokenizer, torch.randn(8, 4, 16, 16), empty=0)
    optimizer = torch.optim.Adam(objective.parameters(), 1e-2)
    shares = []
    for _ in range(25):
        losses = objective(**batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        shares.append(losses["on_things"].item())
    assert shares[-1] > shares[0] + 0.05 and objective.attention.maps is None


def test_the_card_says_what_was_not_measured_and_types_no_number():
    parameters = dict(text_encoder=10**6, vae=2 * 10**6, unet=3 * 10**6)
    bare = card.write(dict(steps=25, guidance=3.0, parameters=parameters, megabytes=12.3))
    assert bare.count("not measured") > 20 and "12.3 MB" in bare and "2.00 M" in bare
    score = dict(right=0.931, n=77)
    full = card.write(
        dict(
            steps=25,
            guidance=3.0,
            parameters=parameters,
            megabytes=12.3,
            fidelity={"sky": score},
            vae=dict(n=5, psnr=33.333, ssim=0.97, judge={"sky": 0.99}),
        )
    )
    sharp = card.write(
        dict(
            steps=25,
            guidance=3.0,
            parameters=parameters,
            megabytes=12.3,
            edges=dict(n=9, kept=0.952),
            vae=dict(n=5, psnr=33.333, ssim=0.97, edges=0.966, judge={"sky": 0.99}),
        )
    )
    assert (
        "SSIM 0.970, 96.6 % of the edges over 5" in sharp
        and "have 95.2 % of the edges" in sharp
        and "of 9 renders" in sharp
    )
    assert "93.1 % (of 77)" in full and "33.33 dB" in full and "99.0 %" in full


@pytest.mark.parametrize("masked", [False, True])
def test_attention_for_training_is_the_librarys(masked):
    from training.grounding import TrainingAttention
    from training.unet import make_unet

    torch.manual_seed(0)
    net = make_unet((16, 32), layers=1, heads=2, groups=8, text_width=12)
    torch.nn.init.normal_(net.conv_out.weight)
    latents, texts = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 12)  # 256 positions: fused; 77 words: written out
    read = torch.arange(77)[None] < torch.tensor([[9], [77]]) if masked else None
    said = dict(encoder_hidden_states=texts, encoder_attention_mask=read)
    with torch.no_grad():
        expected = net(latents, 500, **said).sample
        attention = TrainingAttention()
        net.set_attn_processor(attention)
        found = net(latents, 500, **said).sample
        attention.maps = []
        again = net(latents, 500, **said).sample
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max() and torch.equal(found, again)
    assert {maps.shape[1:] for maps in attention.maps} == {(256, 77), (64, 77)}
    assert all(torch.allclose(maps.sum(-1), torch.ones(())) for maps in attention.maps)
    assert not masked or all(maps[0, :, 9:].max() < 1e-6 for maps in attention.maps)


def test_a_release_can_be_trained_on(folder):
    from helpers.components import load_components
    from training import restore
    from training.export import BUNDLE

    restore.restore(BUNDLE)
    released = load_components("postcard", device="cpu")
    for stage, net in (("vae", released.vae), ("unet", released.unet)):
        back = type(net).from_pretrained(folder / stage / "model")
        assert torch.equal(weights(back), weights(net)) and next(back.parameters()).dtype == torch.float32
    assert (folder / "clip" / "tokenizer" / "merges.txt").is_file() and (
        folder / "judge" / "model" / "config.json"
    ).is_file()
    with pytest.raises(FileExistsError, match="already holds a run of vae, clip, judge, unet"):
        restore.restore(BUNDLE)


def test_captions_are_drawn_as_often_as_their_weights_say(tokenizer):
    """What a caption names is weighed; what captions leave open, and the empty ones, keep the world's frequencies."""
    from training.unet import Batches

    pictures = SomePictures(1)
    pictures.scenes = [sample_scene(data.scene_rng(i)) for i in range(300)]
    rng, named = Random(1), lambda scene, text: scene.weather != "none" and scene.weather in text
    batches = {
        w: Batches(torch.zeros(300, 4, 16, 16), pictures, tokenizer, replace(PRESETS["cpu"]["unet"], weather=w, two=w))
        for w in (1.0, 3.0)
    }
    drawn = {
        w: [(pictures.scenes[i], text) for i, text in (made.draw(rng) for _ in range(6000))]
        for w, made in batches.items()
    }
    filled = {w: [pair for pair in pairs if pair[1]] for w, pairs in drawn.items()}

    def odds(asked, pairs):
        part = np.mean([asked(*pair) for pair in pairs])
        return part / (1 - part)

    for w, pairs in drawn.items():
        assert len(filled[w]) / len(pairs) == pytest.approx(0.9, abs=0.015)
        empty = [(scene, text) for scene, text in pairs if not text]
        assert np.mean([len(scene.subjects) == 2 for scene, _ in empty]) == pytest.approx(
            np.mean([len(scene.subjects) == 2 for scene in pictures.scenes]), abs=0.07
        )
    for asked in (named, lambda scene, text: len(scene.subjects) == 2):
        assert odds(asked, filled[3.0]) / odds(asked, filled[1.0]) == pytest.approx(3, rel=0.2)
    quiet = {
        w: [pair for pair in pairs if not named(*pair)] for w, pairs in filled.items()
    }  # weather there, but not named
    there = {w: np.mean([scene.weather != "none" for scene, _ in pairs]) for w, pairs in quiet.items()}
    assert there[3.0] == pytest.approx(there[1.0], abs=0.04)
    assert not any((s.colour, s.kind) in clip.HELDOUT_PAIRS for scene, _ in drawn[3.0] for s in scene.subjects)


@pytest.fixture
def small_vae():
    torch.manual_seed(0)
    return vae.make_vae((8, 8, 8, 8), 1, 4).eval()


DECODER = replace(PRESETS["cpu"]["decoder"], steps=4, batch=2, warmup=1, lr=1e-2, critic_width=4, features=0.0, crop=32)


def test_a_sharper_decoder_leaves_the_latents_alone(small_vae):
    """Trained on, with its critic: the encoder's latents stay the same bits, the decoder moves, the critic too."""
    from training import decoder

    before, objective = common.copy.deepcopy(small_vae), decoder.Objective(small_vae, DECODER)
    critic = weights(objective.critic)

    def batch_of(rng, step, steps):
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step)) * 2 - 1
        return dict(pixels=pixels, critic=None if step < 2 else 1.0)

    ema = common.train("decoder", objective, batch_of, DECODER, plain=("conv_in", "conv_out", "quant_conv"))
    after = common.copy.deepcopy(before)
    after.load_state_dict(ema.vae.state_dict())  # into the same layout in memory, which moves the last bits
    assert decoder.latents_gap(after, before) == 0
    assert not torch.equal(weights(ema.vae.decoder), weights(before.decoder)) and not torch.equal(
        weights(ema.critic), critic
    )
    decoder.check_latents(after, before, ("new", "old"))
    with torch.no_grad():
        before.quant_conv.bias[:4] += 0.01
    with pytest.raises(ValueError, match="new writes other latents than old"):
        decoder.check_latents(after, before, ("new", "old"))


@torch.no_grad()
def test_a_deeper_decoder_begins_as_the_same_autoencoder(small_vae):
    from training import decoder

    deeper = decoder.deepen(small_vae, 3).eval()
    assert deeper.config.layers_per_block == 3 and len(weights(deeper)) > 1.3 * len(weights(small_vae))
    assert decoder.latents_gap(deeper, small_vae) == 0
    latents = torch.randn(2, 4, 4, 4)
    assert torch.equal(deeper.decode(latents).sample, small_vae.decode(latents).sample)
    with pytest.raises(ValueError, match="has 3 a block already"):
        decoder.deepen(deeper, 2)


@pytest.mark.parametrize("part", [0.25, 0.5])
def test_the_critics_gradient_is_held_to_its_part(small_vae, part):
    """At the decoder's last layer, whatever the critic's own scale."""
    from training.sharpness import Critic, held, oklab

    x = torch.rand(2, 3, 32, 32) * 2 - 1
    y, last = small_vae.decode(small_vae.encode(x).latent_dist.mean).sample, small_vae.decoder.conv_out.weight
    for scale in (1e-3, 1.0, 1e3):
        critic = Critic(4)
        with torch.no_grad():
            critic.layers[-1].weight.mul_(scale)
        rest = (oklab(y) - oklab(x)).abs().mean()
        likes = critic.likes(y)
        factor = held(likes, rest, last, part)
        whole, of_rest = (
            torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (rest + factor * likes, rest)
        )
        assert ((whole - of_rest).norm() / of_rest.norm()).item() == pytest.approx(part, rel=1e-3)


def test_the_critic_and_the_decoder_each_learn_from_their_own_loss(small_vae):
    from training.sharpness import Critic, quantised

    critic, x = Critic(4), torch.rand(2, 3, 32, 32) * 2 - 1
    y = torch.tanh(small_vae.decode(torch.randn(2, 4, 4, 4)).sample)
    critic.likes(y).backward(retain_graph=True)
    assert all(p.grad is None for p in critic.parameters()) and small_vae.decoder.conv_out.weight.grad.abs().sum() > 0
    small_vae.zero_grad(set_to_none=True)
    critic.learns(y, x).backward()
    assert small_vae.decoder.conv_out.weight.grad is None
    assert all(p.grad.abs().sum() > 0 for p in critic.parameters() if p.ndim == 4)
    steps = (quantised(y) + 1) * 127.5
    assert torch.allclose(steps, steps.round(), atol=1e-3) and (quantised(y) - y).abs().max() <= 0.5 / 127.5 + 1e-6


def test_the_critic_comes_in_late_and_slowly():
    from training import decoder

    class Drawn(SomePictures):
        boxes = np.array([[[10, 10, 30, 30]] * 2] * 2)
        one = staticmethod(lambda i: np.zeros((128, 128, 3), np.uint8))

        def __len__(self):
            return 2

    batches = decoder.Batches(Drawn(2), replace(DECODER, critic_from=0.5, full_from=0.8))
    rises = {step: batches(Random(0), step, 100) for step in (0, 49, 50, 52, 55, 99)}
    assert [made["critic"] for made in rises.values()] == [None, None, 0, pytest.approx(0.4), pytest.approx(1), 1]
    assert rises[0]["pixels"].shape[-1] == 32 and rises[99]["pixels"].shape[-1] == 128


def test_oklab_is_the_published_one_and_smooth_everywhere():
    from training.sharpness import oklab

    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).view(4, 3, 1, 1)
    known = torch.tensor(
        [[1.0, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.17950], [0.45201, -0.03246, -0.31153]]
    )
    assert torch.allclose(oklab(corners).view(4, 3), known, atol=2e-4)
    wide = torch.linspace(-1.5, 1.5, 3001).view(-1, 1, 1, 1).expand(-1, 3, 1, 1).clone().requires_grad_(True)
    lightness = oklab(wide)[:, 0].flatten()
    slope = torch.autograd.grad(lightness.sum(), wide)[0]
    assert slope.isfinite().all() and (lightness.diff() > 0).all() and lightness.diff().max() < 0.01


def test_edges_fall_when_a_picture_is_blurred():
    from training.evaluate import kept_edges
    from training.sharpness import differences, edge_energy, energy_gap

    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::4] = 1
    blurred = torch.nn.functional.avg_pool2d(stripes, 3, 1, 1)
    assert edge_energy(blurred) < 0.7 * edge_energy(stripes) and energy_gap(blurred, stripes) > 0.1
    moved = stripes.roll(1, -1)  # as strong, elsewhere: this is no fault of sharpness
    assert energy_gap(moved, stripes) < 0.1 < sum(d.abs().mean() for d in differences(moved - stripes))
    images = np.array(render(sample_scene(Random(0))).image)[None]
    assert kept_edges(images, images) == pytest.approx(1) and kept_edges(images // 2, images) == pytest.approx(
        0.5, abs=0.1
    )


def test_image_features_are_compared_for_the_picture_alone():
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from training.sharpness import feature_gap

    torch.manual_seed(0)
    shape = dict(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16
    )
    tower = CLIPVisionModel(CLIPVisionConfig(**shape)).eval().requires_grad_(False)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    y = (x * 0.5).requires_grad_(True)
    gap = feature_gap(tower, y, x)
    gap.backward()
    assert gap > 0.01 and y.grad.abs().sum() > 0 and feature_gap(tower, x, x) == 0


def test_carried_weights_are_gone_on_from(folder, tmp_path):
    from diffusers import AutoencoderKL

    from training import carry, decoder, restore
    from training.export import BUNDLE

    released = AutoencoderKL.from_pretrained(BUNDLE / "vae").float()
    trained = AutoencoderKL.from_pretrained(BUNDLE / "vae").float()
    with torch.no_grad():
        trained.decoder.conv_out.bias.add_(0.25)
    trained.save_pretrained(tmp_path / "trained")
    sizes = carry.carry({"vae": tmp_path / "trained"}, tmp_path / "carried")
    assert sizes["vae"] < 6 and not (tmp_path / "carried" / "unet").exists()

    assert restore.restore_carried(BUNDLE, tmp_path / "carried") == ["vae"]
    back = AutoencoderKL.from_pretrained(folder / "decoder" / "model")
    assert torch.allclose(back.decoder.conv_out.bias, released.decoder.conv_out.bias + 0.25, atol=1e-3)
    assert decoder.latents_gap(back, AutoencoderKL.from_pretrained(folder / "vae" / "model")) < 1e-4
    assert (folder / "unet" / "model" / "config.json").is_file()
    with pytest.raises(FileExistsError, match="already holds a run of vae, clip, judge, unet, decoder"):
        restore.restore_carried(BUNDLE, tmp_path / "carried")
    with pytest.raises(FileNotFoundError, match="holds no vae, unet or fast"):
        restore.restore_carried(BUNDLE, tmp_path / "nowhere")


def test_a_carried_vae_of_another_encoder_is_refused(folder, tmp_path):
    from diffusers import AutoencoderKL

    from training import carry, restore
    from training.export import BUNDLE

    other = AutoencoderKL.from_pretrained(BUNDLE / "vae").float()
    with torch.no_grad():
        other.encoder.conv_in.weight.mul_(1.1)
    other.save_pretrained(tmp_path / "other")
    carry.carry({"vae": tmp_path / "other"}, tmp_path / "carried")
    with pytest.raises(ValueError, match="writes other latents than"):
        restore.restore_carried(BUNDLE, tmp_path / "carried")
    assert not (folder / "vae" / "model").exists()  # nothing is written before all is known to fit


def test_what_is_in_training_is_measured_without_touching_the_model(folder, tmp_path, monkeypatch):
    from training import evaluate
    from training.export import BUNDLE

    card_before = (BUNDLE / "README.md").read_bytes(), (BUNDLE / "metrics.json").read_bytes()
    evaluate.main(["--only", "vae", "--captions", "3", "--vae", str(BUNDLE / "vae")])
    found = json.loads((folder / "evaluate" / "metrics.json").read_text())
    assert 0.5 < found["vae"]["edges"] < 1 and found["in_place"] == {"vae": str(BUNDLE / "vae")}
    assert card_before == ((BUNDLE / "README.md").read_bytes(), (BUNDLE / "metrics.json").read_bytes())


# The fast U-Net


@pytest.fixture
def fast_parts(tokenizer):
    """A tiny objective of the stage, a teacher whose answer depends on the words, and a batch."""
    from training import fast, unet

    torch.manual_seed(0)
    text_encoder = clip.make_clip(tokenizer, 16, 1, 2, 32).text_model
    teacher = unet.make_unet((16, 16), 1, 2, 8, 16)
    with torch.no_grad():
        torch.nn.init.normal_(teacher.conv_out.weight, std=0.2)
        for name, weight in teacher.named_parameters():
            if "attn2" in name and weight.ndim == 2:
                weight.mul_(4)
    chosen = replace(PRESETS["cpu"]["fast"], batch=8, calls=4, substeps=2, guidance=3.0)
    no_words = tokenizer("", padding="max_length", return_tensors="pt").input_ids
    batch = fast.Batches(torch.randn(6, 4, 16, 16), SomePictures(6), tokenizer, chosen)(Random(0), 0, 1)

    def objective(**changed):
        return fast.Objective(
            copy.deepcopy(teacher), copy.deepcopy(teacher), text_encoder, no_words, replace(chosen, **changed)
        )

    return objective, batch


@pytest.mark.parametrize("calls", [1, 3, 4, 7, 8, 25])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_call_ends_where_the_schedulers_step_does(calls, spacing):
    """A chain of `ddim_step` along the levels is the library's own drawing, bar rounding."""
    from training import fast, unet

    scheduler = unet.make_scheduler()
    scheduler = scheduler.from_config(scheduler.config, timestep_spacing=spacing)
    told, ways = fast.call_levels(scheduler, calls, 2, 25)
    scheduler.set_timesteps(25)
    assert ways[0, 0] == scheduler.timesteps[0]  # the teacher begins where its own drawings do
    assert torch.equal(ways[1:, 0], told[1:]) and ways[-1, -1] <= 0 and (ways.diff(dim=1) <= 0).all()
    scheduler.set_timesteps(calls)
    assert torch.equal(told, scheduler.timesteps)
    levels = torch.cat([scheduler.alphas_cumprod, scheduler.final_alpha_cumprod.view(1)])
    torch.manual_seed(0)
    theirs = ours = torch.randn(1, 4, 16, 16)
    for i, t in enumerate(scheduler.timesteps):
        noise_pred = torch.randn(1, 4, 16, 16)
        theirs = scheduler.step(noise_pred, t, theirs).prev_sample
        ours = fast.ddim_step(ours, noise_pred, levels[told[i]], levels[ways[i, -1]])
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_the_teacher_guides(fast_parts):
    """Two substeps of `teach` are two of the course's own guided steps."""
    from training import fast

    objective, batch = fast_parts
    o, latents = objective(), torch.randn(2, 4, 16, 16)
    way, teacher = o.ways[[1, 2]], o.frozen[0]
    ids = torch.cat([o.no_words.expand(2, -1), batch["ids"][:2]])
    prompt_embeds = o.frozen[1](ids).last_hidden_state
    arrived = o.teach(latents, way, prompt_embeds)
    for i in range(2):
        x = latents[i : i + 1]
        for begin, end in zip(way[i, :-1], way[i, 1:]):
            uncond, text = (
                teacher(x, begin, encoder_hidden_states=prompt_embeds[k : k + 1]).sample for k in (i, i + 2)
            )
            assert (text - uncond).abs().mean() > 0.01
            x = fast.ddim_step(x, uncond + 3 * (text - uncond), o.abar(begin), o.abar(end))
        assert torch.allclose(x, arrived[i : i + 1], atol=1e-4)


def test_a_student_without_anything_to_learn_has_no_loss(fast_parts):
    """One substep without guidance, and the teacher's own first level: the student is the teacher."""
    objective, batch = fast_parts
    assert objective(guidance=1.0, substeps=1, teacher_steps=4)(**batch)["loss"] < 1e-9
    assert objective(guidance=1.0, substeps=2, teacher_steps=4)(**batch)["loss"] > 1e-6
    assert objective(guidance=3.0, substeps=1, teacher_steps=4)(**batch)["loss"] > 1e-6
    assert objective(guidance=1.0, substeps=1, teacher_steps=25)(**batch)["first"] > 1e-6


def test_the_fast_unet_learns_and_only_it(fast_parts):
    objective, batch = fast_parts
    o = objective()
    assert {name.split(".")[0] for name, p in o.named_parameters()} == {"unet"} and not any(
        "frozen" in k for k in o.state_dict()
    )
    before, optimizer, losses = weights(o.frozen[0]), torch.optim.Adam(o.parameters(), 1e-2), []
    for _ in range(30):
        torch.manual_seed(1)
        loss = o(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0] and torch.equal(before, weights(o.frozen[0]))


@pytest.fixture
def fast_runs(folder, tokenizer, monkeypatch):
    """runs/ with tiny parts, so that the stage itself can be run: main(steps, *words)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training import fast, unet

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=128,
    ).save_pretrained(folder / "vae" / "model")
    clip.make_clip(tokenizer, 16, 1, 2, 32).save_pretrained(folder / "clip" / "model")
    tokenizer.save_pretrained(folder / "clip" / "tokenizer")
    for seed, name in enumerate(("teacher", "other")):
        torch.manual_seed(seed)
        net = unet.make_unet((16, 16), 1, 2, 8, 16)
        torch.nn.init.normal_(net.conv_out.weight, std=0.2)
        net.save_pretrained(folder / name)
    monkeypatch.setattr(fast, "Pictures", lambda split, n=0: SomePictures(6))
    monkeypatch.setattr(
        fast,
        "cached_latents",
        lambda pictures, vae, name: torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(0)),
    )

    def run(steps, *words, teacher="teacher"):
        fast.main(
            [
                "--steps",
                str(steps),
                "--batch",
                "4",
                "--calls",
                "2",
                "--warmup",
                "1",
                "--log-every",
                "1",
                "--watch-captions",
                "1",
                "--teacher-steps",
                "2",
                "--teacher",
                str(folder / teacher),
                *words,
            ]
        )
        return UNet2DConditionModel.from_pretrained(folder / "fast" / "model")

    return run


def test_a_run_of_the_unet_measures_its_pictures_and_maps_on_the_way(fast_runs, folder, monkeypatch):
    from training import unet
    from training.export import BUNDLE

    shutil.copytree(BUNDLE / "judge", folder / "judge" / "model")
    monkeypatch.setattr(unet, "Pictures", lambda split, n=0: SomePictures(6))
    monkeypatch.setattr(unet, "cached_latents", lambda pictures, vae, name: torch.randn(6, 4, 16, 16))
    unet.main(
        [
            "--steps",
            "1",
            "--batch",
            "4",
            "--warmup",
            "1",
            "--log-every",
            "1",
            "--watch-captions",
            "2",
            "--watch-steps",
            "3",
            "--channels",
            "16,16",
            "--heads",
            "2",
            "--groups",
            "8",
        ]
    )
    seen = common.read_metrics(folder / "unet" / "metrics.jsonl")[-1]
    assert 0 <= seen["mean"] <= 1 and 0 <= seen["pointing"] <= 1 and (folder / "unet" / "samples.png").is_file()


def test_a_fast_run_that_was_stopped_ends_in_the_same_bits(fast_runs, folder, monkeypatch):
    from training import fast

    whole = weights(fast_runs(4))
    os.replace(folder / "fast", folder / "whole")
    drawn = fast.Batches.__call__

    def stopping(self, rng, step, steps):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(self, rng, step, steps)

    monkeypatch.setattr(fast.Batches, "__call__", stopping)
    with pytest.raises(SystemExit):
        fast_runs(4)
    monkeypatch.setattr(fast.Batches, "__call__", drawn)
    assert torch.equal(whole, weights(fast_runs(4)))
    own = json.loads((folder / "fast" / "model" / "course.json").read_text())
    assert (own["guidance"], own["steps"], own["distilled_guidance"]) == (1.0, 2, 3.0)
    assert (folder / "fast" / "samples.png").is_file() and "psnr" in (folder / "fast" / "metrics.jsonl").read_text()


def test_the_same_command_begins_anew_where_the_teacher_has_changed(fast_runs, folder, capsys):
    first = fast_runs(2)
    before = json.loads((folder / "fast" / "model" / "course.json").read_text())["of"]
    second = fast_runs(2, teacher="other")
    assert "has changed since (unet)" in capsys.readouterr().out and not torch.equal(weights(first), weights(second))
    assert json.loads((folder / "fast-before-1" / "model" / "course.json").read_text())["of"] == before  # and is kept
    assert json.loads((folder / "fast" / "model" / "course.json").read_text())["of"] != before


def test_a_fast_unet_is_exported_beside_the_unet_it_was_made_from_and_no_other(folder, capsys):
    from diffusers import UNet2DConditionModel

    from helpers.components import load_components
    from training import export, restore
    from training.unet import shipped_hash

    restore.restore(export.BUNDLE)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet" / "model")
    own = dict(guidance=1.0, steps=8, distilled_guidance=3.0, of=shipped_hash(unet))
    with torch.no_grad():
        unet.conv_out.bias.add_(0.5)
    restore.put_fast(unet, own)
    export.main(["--out", str(folder / "bundle")])
    plain, fast = (load_components(folder / "bundle", device="cpu", variant=one) for one in (None, "fast"))
    assert torch.allclose(fast.unet.conv_out.bias, plain.unet.conv_out.bias + 0.5, atol=1e-3) and (
        fast.steps,
        plain.steps,
    ) == (8, 25)
    os.environ["POSTCARD_RUNS"] = str(folder / "again")
    restore.restore(folder / "bundle")  # and comes back out of the bundle
    assert json.loads((folder / "again" / "fast" / "model" / "course.json").read_text()) == own

    restore.put_fast(unet, own | {"of": "another"})
    export.main(["--out", str(folder / "bundle")])
    assert "made from another U-Net than the one exported" in capsys.readouterr().out
    assert load_components(folder / "bundle", device="cpu").steps == 25
    with pytest.raises(ValueError, match="it has none"):
        load_components(folder / "bundle", device="cpu", variant="fast")


def test_a_carried_fast_unet_is_gone_on_from(folder, tmp_path):
    from diffusers import UNet2DConditionModel

    from training import carry, restore
    from training.export import BUNDLE

    own = dict(guidance=1.0, steps=8, distilled_guidance=3.0, of="0" * 12)
    restore.put_fast(UNet2DConditionModel.from_pretrained(BUNDLE / "unet"), own)
    carry.carry({"fast": folder / "fast" / "model"}, tmp_path / "carried")
    os.replace(folder / "fast", folder / "before")
    assert restore.restore_carried(BUNDLE, tmp_path / "carried") == ["fast"]
    assert json.loads((folder / "fast" / "model" / "course.json").read_text()) == own
    with pytest.raises(FileNotFoundError, match="course.json"):  # no fast U-Net: what was carried before stays
        carry.carry({"fast": folder / "unet" / "model"}, tmp_path / "carried")
    assert json.loads((tmp_path / "carried" / "fast" / "course.json").read_text()) == own
    assert UNet2DConditionModel.from_pretrained(folder / "fast" / "model").dtype == torch.float32


def test_a_variants_weights_are_told_from_the_plain_ones(tmp_path, fast_folder):
    from training.evaluate import weight_files

    plain, fast = weight_files(fast_folder), weight_files(fast_folder, "fast")
    assert (
        {file.parent.name for file in plain} == {file.parent.name for file in fast} == {"text_encoder", "vae", "unet"}
    )
    assert set(fast) - set(plain) == {fast_folder / "unet" / "diffusion_pytorch_model.fast.safetensors"}


def test_the_fast_card_says_what_was_not_measured():
    bare = card.write_variant(dict(steps=8, distilled_guidance=3.0, megabytes=8.6), {})
    assert bare.count("not measured") > 20 and "8.6 MB" in bare and 'variant="fast"' in bare and "guidance 3" in bare
    score = dict(right=0.931, n=77)
    beside = dict(
        n=5,
        psnr=31.26,
        seconds=0.12,
        plain_seconds=0.5,
        ratio=0.24,
        plain_steps=25,
        plain_guidance=3.0,
        device="a chip",
        threads=2,
        repeats=5,
    )
    full = card.write_variant(
        dict(steps=8, distilled_guidance=3.0, megabytes=8.6, fidelity={"sky": score}, beside=beside),
        dict(fidelity={"sky": score | {"right": 0.5}}),
    )
    assert (
        "93.1 % (of 77) | 50.0 % (of 77)" in full
        and "24.0 % of its time" in full
        and "31.3 dB" in full
        and "draws in 8 calls" in full
    )


# make train


def test_each_stage_of_make_train_comes_after_those_whose_runs_it_reads():
    """From nothing: the decoder learns through CLIP's eyes, so CLIP has to be there."""
    stages = re.search(r"(?m)^STAGES := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"))[1].split()
    for place, stage in enumerate(stages):
        read = set(re.findall(r'runs\("(\w+)"\)', (ROOT / "training" / f"{stage}.py").read_text(encoding="utf-8")))
        assert read - {stage} <= set(stages[:place]), f"{stage} reads what a later stage of make train makes"


def test_parts_that_were_not_trained_on_each_other_are_not_exported(folder, tmp_path):
    from diffusers import AutoencoderKL

    from training import export, restore, unet

    restore.restore(export.BUNDLE)
    torch.save(dict.fromkeys(common.STATE, 0) | {"given": unet.stands_on()}, folder / "unet" / "last.pt")
    (tmp_path / "out").mkdir()
    export.write_bundle(tmp_path / "out", 3.0)
    other = AutoencoderKL.from_pretrained(export.BUNDLE / "vae").float()
    with torch.no_grad():
        other.encoder.conv_in.weight.mul_(1.1)
    other.save_pretrained(folder / "decoder" / "model")
    with pytest.raises(ValueError, match="writes other latents than"):
        export.write_bundle(tmp_path / "out", 3.0)
    other.save_pretrained(folder / "vae" / "model")
    with pytest.raises(ValueError, match="trained on other parts .vae changed since"):
        export.write_bundle(tmp_path / "out", 3.0)


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_each_preset_makes_a_bundle_that_is_exported(preset, tokenizer):
    """Two bytes a number; the fast U-Net is a second one of the same shape; the judge and the rest take a megabyte or two."""
    from training import export, unet
    from training.settings import numbers

    chosen = PRESETS[preset]
    nets = [
        vae.make_vae(numbers(chosen["vae"].channels), chosen["decoder"].layers, chosen["vae"].groups),
        clip.make_clip(tokenizer, *(getattr(chosen["clip"], name) for name in ("width", "layers", "heads", "patch"))),
    ]
    asked, width = chosen["unet"], chosen["clip"].width
    nets += [unet.make_unet(numbers(asked.channels), asked.layers, asked.heads, asked.groups, width)] * 2
    text_encoder_twice = nets[1].text_model
    count = sum(weight.numel() for net in [*nets, text_encoder_twice] for weight in net.parameters())
    assert 2 * count / 1e6 + 2 < export.MOST_MB


def test_pictures_of_another_world_have_latents_of_their_own(folder, monkeypatch):
    from diffusers import AutoencoderKL

    from training import unet
    from training.export import BUNDLE

    data.make("train", 2, 2, processes=1)
    net, pictures = AutoencoderKL.from_pretrained(BUNDLE / "vae").float(), data.Pictures("train")
    first = unet.cached_latents(pictures, net, "vae")
    monkeypatch.setattr(unet, "fingerprint", lambda: "another")
    monkeypatch.setattr(pictures, "take", lambda indices: np.zeros((len(indices), 128, 128, 3), np.uint8))
    assert not torch.equal(first, unet.cached_latents(pictures, net, "vae"))


def test_a_tokenizer_stays_with_the_text_encoder_that_knows_its_numbers(folder, monkeypatch):
    """Other pictures have other captions, and these would number the same pieces in another order."""
    for split in ("train", "validation"):
        data.make(split, 2, 2, processes=1)
    monkeypatch.setattr(clip, "accuracy", lambda *arguments: {})
    words = [
        "--steps",
        "1",
        "--batch",
        "2",
        "--width",
        "16",
        "--layers",
        "1",
        "--heads",
        "2",
        "--patch",
        "64",
        "--readers",
        "0",
        "--warmup",
        "1",
    ]
    merges = [("a", "b</w>")]
    monkeypatch.setattr(clip, "learn_merges", lambda texts: list(merges))
    clip.main(words)
    before = (folder / "clip" / "tokenizer" / "merges.txt").read_text()
    merges[0] = ("c", "d</w>")
    clip.main(words)
    assert (folder / "clip" / "tokenizer" / "merges.txt").read_text() == before
    clip.main([*words, "--fresh"])
    assert (folder / "clip" / "tokenizer" / "merges.txt").read_text() != before


def test_figures_of_other_settings_do_not_stand_beside_each_other(tmp_path):
    from training import evaluate
    from training.export import BUNDLE

    copy_of_it = shutil.copytree(BUNDLE, tmp_path / "bundle")
    before = (copy_of_it / "metrics.json").read_bytes()
    with pytest.raises(
        SystemExit, match="measured with another steps: measure all parts anew, without --only, or give"
    ):
        evaluate.main(["--model", str(copy_of_it), "--only", "edges", "--steps", "3", "--captions", "2"])
    assert (copy_of_it / "metrics.json").read_bytes() == before


def test_ctrl_c_while_pictures_are_rendered_is_one_line_and_what_is_there_stays(folder):
    command = [
        sys.executable,
        "-m",
        "training.data",
        "--n",
        "4000",
        "--shard",
        "4",
        "--validation",
        "4",
        "--heldout",
        "4",
    ]
    environment = {**os.environ, "POSTCARD_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [*command, "--processes", "2"],
        cwd=ROOT,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not [*folder.glob("data/*/train-*.npy")]:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    said, problems = run.communicate(timeout=60)
    assert run.returncode == 130 and problems == "", problems
    assert said.endswith("data: stopped; the same command goes on from the files that are there\n")
