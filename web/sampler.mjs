// The denoising loop: from noise and words to latents, one step at a time. The same loop as helpers/sampling.py.
// Sources: Song et al. 2021 (DDIM), Ho and Salimans 2022 (guidance).

import { randn } from "./random.mjs";

// The noise levels of DDIM, highest first, as diffusers spaces them ("leading").
export function timesteps(facts, steps) {
  const between = Math.floor(facts.alphas_cumprod.length / steps);
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * between + facts.steps_offset);
}

// Yields {index, timestep, latents, x0} after each of `steps` steps; latents and x0 are Float32Arrays of C * h * w.
// unet(latents, timestep, prompt_embeds): async, the noise it sees in `latents`, a Float32Array as long as latents.
// prompt_embeds: of the negative prompt, then of the prompt; of the prompt alone where guidance is 1.
// signal: an AbortSignal; after it nothing more is computed, and its reason is thrown.
export async function* denoise(unet, facts, { prompt_embeds, steps, guidance, seed, signal }) {
  const [channels, height, width] = facts.latent_shape;
  const count = channels * height * width, halves = guidance === 1 ? 1 : 2;
  const between = Math.floor(facts.alphas_cumprod.length / steps);
  let latents = randn(count, seed);

  for (const [index, timestep] of timesteps(facts, steps).entries()) {
    await turn();
    signal?.throwIfAborted();
    const input = new Float32Array(halves * count);
    for (let half = 0; half < halves; half++) input.set(latents, half * count);
    const answer = await unet(input, timestep, prompt_embeds);
    const noise_pred = halves === 1 ? answer : guided(answer, guidance);

    const abar = facts.alphas_cumprod[timestep], signalled = Math.sqrt(abar), noise = Math.sqrt(1 - abar);
    const next = facts.alphas_cumprod[timestep - between] ?? facts.final_alpha_cumprod;
    const x0 = latents.map((x, i) => (x - noise * noise_pred[i]) / signalled);
    latents = x0.map((x, i) => Math.sqrt(next) * x + Math.sqrt(1 - next) * noise_pred[i]);
    yield { index, timestep, latents, x0 };
  }
  if (!latents.every(Number.isFinite)) {
    throw new Error("The latents hold NaN or infinite numbers, so there is no picture: lower the guidance.");
  }
}

// noise_pred with guidance. answer: without the prompt, then with it.
function guided(answer, guidance) {
  const without = answer.subarray(0, answer.length / 2), with_prompt = answer.subarray(answer.length / 2);
  return without.map((noise, i) => noise + guidance * (with_prompt[i] - noise));
}

// Lets messages in, "cancel" among them: between two steps, for as short as a timer can.
const turn = () => new Promise((resolve) => { setTimeout(resolve); });
