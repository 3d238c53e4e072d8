"""The page's loop draws what `denoise` and `generate` draw."""

import numpy as np
import pytest
from test_export import MODEL

from helpers import generate
from helpers.library import brought_in
from helpers.sampling import denoise, make_scheduler
from tools.setup_cell import ROOT

LORAS = [("windmill", 1), ("snowman", 0.5), ("cyanotype", 1.5)]
DRAW = (
    MODEL
    + """
const drawn = [];
for (const settings of given) {
  const steps = [];
  for await (const { index, timestep, latents, x0 } of model.denoise({ variant: "plain", ...settings })) {
    steps.push({ index, timestep, latents: [...latents], x0: [...x0] });
  }
  drawn.push({ steps, picture: [...await model.decode(Float32Array.from(steps.at(-1).latents))] });
}
return drawn;
"""
)
ASKED = [  # with guidance; with a negative prompt and more guidance; without any, for the prompt alone
    dict(prompt="a red boat on the left on a lake at sunset", negative_prompt="", steps=4, guidance=3, seed=0),
    dict(
        prompt="a <western> tent in the desert by night \N{ROCKET}",
        negative_prompt="rain",
        steps=4,
        guidance=7.5,
        seed=2**32 - 1,
    ),
    dict(prompt="a blue house in a meadow", negative_prompt="", steps=4, guidance=1, seed=7),
]
FAST = [dict(prompt="a <teal> tent in the desert by night", negative_prompt="", steps=8, guidance=1, seed=11)]


@pytest.fixture(scope="module")
def drawn(javascript, exported):
    return javascript(DRAW, ASKED + [one | {"variant": "fast"} for one in FAST])


@pytest.mark.parametrize("number", range(len(ASKED + FAST)))
def test_every_step_and_the_picture(c, fast, drawn, number):
    page, asked = drawn[number], (ASKED + FAST)[number]
    c = c if number < len(ASKED) else fast
    steps = list(denoise(c, **asked))
    assert len(steps) == len(page["steps"]) == asked["steps"]
    for mine, torchs in zip(page["steps"], steps):
        assert (mine["index"], mine["timestep"]) == (torchs.index, torchs.timestep)
        for name in ("latents", "x0"):
            wanted = getattr(torchs, name).numpy().ravel()
            assert np.abs(np.array(mine[name]) - wanted).max() < 1e-3, (name, torchs.index)
    picture = np.array(page["picture"]).reshape(c.image_size, c.image_size, 4)
    assert np.abs(picture[..., :3] - np.asarray(generate(c, **asked), int)).max() <= 2
    assert (picture[..., 3] == 255).all()


def test_a_lora_draws_what_it_draws_in_the_course(javascript, exported, c):
    asked = dict(negative_prompt="", steps=6, guidance=3, seed=5)
    page = javascript(
        MODEL
        + """
        const drawn = [];
        for (const settings of given) {
          let last = null;
          for await (const { latents } of model.denoise({ variant: "plain", ...settings })) last = latents;
          drawn.push([...await model.decode(last)]);
        }
        const said = (prompt) => model.said({ ...given[0], prompt });
        return [drawn, said("A white Windmill"), said("a boat"), model.sessions.size];""",
        [
            asked | dict(prompt=f"a {name} on a lake at dawn", lora=name, lora_strength=strength)
            for name, strength in LORAS
        ],
    )
    drawn, called, uncalled, kept = page
    assert (
        called == [] and "windmill is not in the prompt" in uncalled[0] and kept == 3
    )  # text, decoder, the last U-Net
    for (name, strength), picture in zip(LORAS, drawn, strict=True):
        model, _ = brought_in(c, [(ROOT / "concepts" / name, strength)])
        wanted = np.asarray(generate(model, f"a {name} on a lake at dawn", **asked), int)
        plain = np.asarray(generate(c, f"a {name} on a lake at dawn", **asked), int)
        mine = np.array(picture).reshape(c.image_size, c.image_size, 4)[..., :3]
        assert np.abs(mine - wanted).max() <= 2 < np.abs(plain - wanted).max(), (name, strength)


def test_a_call_is_found_as_the_tokenizer_reads_it(javascript, exported):
    """In capitals too, also what is a token of its own."""
    page = javascript(
        MODEL
        + """
        return given.map(([call, prompt]) => {
          model.facts.loras.windmill.call = call;
          return model.said({ prompt, negative_prompt: "", lora: "windmill" }).length;
        });""",
        [
            ("windmill", "A WINDMILL"),
            ("Dutch Mill", "a dutch\nmill"),
            ("windmill", "a mill"),
            ("<teal>", "a <teal>"),
            ("<teal>", "a <Teal>"),
        ],
    )
    assert page == [0, 0, 1, 0, 0]


def test_timesteps_are_those_of_the_scheduler(javascript, c, exported):
    page = javascript(
        MODEL
        + """
        const { timesteps } = await import("./sampler.mjs");
        return given.map((steps) => timesteps(model.facts, steps));""",
        list(range(1, 51)),
    )
    scheduler = make_scheduler(c, "ddim")
    for steps, mine in enumerate(page, 1):
        scheduler.set_timesteps(steps)
        assert mine == scheduler.timesteps.tolist()


def test_of_loras_asked_for_while_others_come_the_last_is_kept(javascript, exported):
    """Each drawing is cancelled while its files come; the networks are stand-ins, which say when they are released."""
    cancelled, kept, released = javascript(
        """
        const fs = await import("node:fs");
        const { Model } = await import("./model.mjs");
        let arrive;
        const here = new Promise((resolve) => { arrive = resolve; }), released = [];
        let made = 0;
        const ort = {
          InferenceSession: { create: async () => {
            const mine = made++;
            return { outputNames: ["output"], run: async () => ({ output: { data: new Float32Array(77 * 128) } }),
              release: async () => { released.push(mine); } };
          } },
          Tensor: class {} };
        const model = new Model(ort, async (name) => {
          if (name.startsWith("unet")) await here;
          return new Uint8Array(fs.readFileSync(`model/${name}`));
        });
        await model.load();
        const cancelled = [];
        for (const lora of given) {
          const stop = new AbortController();
          const drawing = model.denoise({ prompt: "", negative_prompt: "", steps: 1, guidance: 1, seed: 0,
            variant: "plain", lora }, stop.signal).next();
          setTimeout(() => stop.abort(), 20);
          cancelled.push(await drawing.then(() => "drawn", (problem) => problem.name));
        }
        arrive();
        await Promise.all(model.sessions.values());
        return [cancelled, [...model.sessions.keys()], released];""",
        ["windmill", "snowman", "windmill"],
    )
    assert cancelled == ["AbortError"] * 3 and kept == ["text_encoder", "unet with 1 of windmill"]
    assert released == [1, 2]  # 0 is the text encoder


# The loop with a U-Net that answers 0 and counts its calls
STUB = """
const { denoise } = await import("./sampler.mjs");
const facts = { latent_shape: [4, 16, 16], alphas_cumprod: Array(1000).fill(0.5), final_alpha_cumprod: 1,
  steps_offset: 1 };
let calls = 0;
const loop = (signal, answer = 0, guidance = 3) => denoise(
  async (latents) => { calls += 1; return latents.map(() => answer); }, facts,
  { prompt_embeds: null, steps: 10, guidance, seed: 0, signal });
"""


def test_cancel_stops_before_the_next_call(javascript):
    assert javascript(
        STUB
        + """
        const stop = new AbortController();
        let said = null;
        try {
          for await (const { index } of loop(stop.signal)) if (index === 2) setTimeout(() => stop.abort());
        } catch (problem) { said = problem.name; }
        return [calls, said];"""
    ) in ([3, "AbortError"], [4, "AbortError"])


def test_cancelled_before_it_begins_calls_nothing(javascript):
    assert javascript(
        STUB
        + """
        try { for await (const step of loop(AbortSignal.abort())); } catch (problem) { return [calls, problem.name]; }
        """
    ) == [0, "AbortError"]


def test_what_is_not_finite_is_named(javascript):
    assert "NaN" in javascript(
        STUB
        + """
        try { for await (const step of loop(undefined, NaN)); } catch (problem) { return problem.message; }"""
    )
