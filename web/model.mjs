// The model: words to vectors, the U-Net, latents to a picture, computed by onnxruntime.

import { withLora } from "./lora.mjs";
import { add } from "./maps.mjs";
import { normal, Tokenizer } from "./tokenizer.mjs";
import { denoise } from "./sampler.mjs";

const OPTIONS = { executionProviders: ["wasm"] };

export class Model {
  // ort: onnxruntime-web. read(name): async, the bytes of a file of web/model, a Uint8Array.
  constructor(ort, read) {
    Object.assign(this, { ort, read, sessions: new Map() });
  }

  // The facts about the model, and what every drawing needs.
  async load() {
    this.facts = JSON.parse(new TextDecoder().decode(await this.read("facts.json")));
    this.tokenizer = new Tokenizer(this.facts.tokenizer);
    return this.facts;
  }

  // A network, loaded when it is first asked for; its weights are widened to float32 then.
  session(name) {
    return this.sessions.get(name) ?? this.keep(name,
      this.read(`${name}.onnx`).then((bytes) => this.ort.InferenceSession.create(bytes, OPTIONS)));
  }

  // The plain U-Net with a LoRA in its weights. Only the last one is kept: each takes the memory of a U-Net. It takes its
  // place at once, since a drawing that was cancelled meanwhile leaves another to ask for one while this one comes.
  changed(lora, strength) {
    const name = `unet with ${strength} of ${lora}`;
    if (this.sessions.has(name)) return this.sessions.get(name);
    const others = [...this.sessions].filter(([other]) => other.startsWith("unet with"));
    others.forEach(([other]) => this.sessions.delete(other));
    const released = Promise.all(others.map(([, session]) => session.then((old) => old.release(), () => {})));
    const files = released.then(() => Promise.all([this.read("unet.onnx"), this.read(`lora-${lora}.bin`)]));
    return this.keep(name, files.then(([bytes, factors]) =>
      this.ort.InferenceSession.create(withLora(bytes, this.facts.loras[lora].layers, factors, strength), OPTIONS)));
  }

  // A network that is coming, unless it fails: so that the next drawing tries again.
  keep(name, coming) {
    this.sessions.set(name, coming);
    coming.catch(() => { if (this.sessions.get(name) === coming) this.sessions.delete(name); });
    return coming;
  }

  // signal: an AbortSignal, which ends the wait for the network, and not what it computes.
  async run(name, given, signal, network = this.session(name)) {
    const session = await unless(signal, network);
    const feeds = Object.entries(given).map(([input, [type, values, shape]]) =>
      [input, new this.ort.Tensor(type, values, shape)]);
    const outputs = await session.run(Object.fromEntries(feeds));
    return session.outputNames.length > 1 ? session.outputNames.map((output) => outputs[output].data) : outputs.output.data;
  }

  // What the U-Net reads of B strings, as one Float32Array of B * 77 * d.
  async encode(prompts, signal) {
    const parts = [];
    for (const prompt of prompts) {
      const ids = Int32Array.from(this.tokenizer.encode(prompt).ids);
      parts.push(await this.run("text_encoder", { ids: ["int32", ids, [1, this.tokenizer.length]] }, signal));
    }
    const prompt_embeds = new Float32Array(parts.length * parts[0].length);
    parts.forEach((part, row) => prompt_embeds.set(part, row * part.length));
    return prompt_embeds;
  }

  // What a prompt will not do: one sentence for each whose end is not read, and for a LoRA that nothing calls.
  said({ prompt, negative_prompt, lora }) {
    const said = [prompt, negative_prompt].map((one) => this.tokenizer.encode(one).said).filter(Boolean);
    const call = lora && this.facts.loras[lora].call;
    if (call && !normal(prompt).includes(normal(call))) said.push(`${call} is not in the prompt: write it where you want it.`);
    return said;
  }

  // Draw: yields what `denoise` of sampler.mjs does. variant: "plain", or "fast" where the facts have it.
  // read: is given what the prompt's words were read at all steps so far, see maps.mjs.
  // lora: "", or a name in the facts' loras, for the plain U-Net; lora_strength: how much of it is added.
  async* denoise({ prompt, negative_prompt, steps, guidance, seed, variant, lora = "", lora_strength = 1 }, signal,
    read = []) {
    const prompts = guidance === 1 ? [prompt] : [negative_prompt, prompt];
    const prompt_embeds = await this.encode(prompts, signal);
    const tokens = this.tokenizer.length, width = prompt_embeds.length / prompts.length / tokens;
    const name = variant === "fast" ? "unet-fast" : "unet";
    const network = lora ? this.changed(lora, lora_strength) : this.session(name);
    const unet = async (latents, timestep, embeds) => {
      const [noise, ...maps] = await this.run(name, {
        latents: ["float32", latents, [prompts.length, ...this.facts.latent_shape]],
        timestep: ["float32", Float32Array.of(timestep), [1]],
        prompt_embeds: ["float32", embeds, [prompts.length, tokens, width]] }, signal, network);
      add(read, maps, prompts.length);
      return noise;
    };
    yield* denoise(unet, this.facts, { prompt_embeds, steps, guidance, seed, signal });
  }

  // The words of a prompt that are read: [{word, positions: of its tokens}].
  words(prompt) {
    const found = new Map();
    this.tokenizer.pieces(prompt).slice(0, this.tokenizer.length - 2).forEach(([, owner], i) => {
      if (!found.has(owner)) found.set(owner, { word: owner.word, positions: [] });
      found.get(owner).positions.push(i + 1); // the start token is 0
    });
    return [...found.values()];
  }

  // The picture of scaled latents, as RGBA bytes.
  async decode(latents, signal) {
    const raw = latents.map((value) => value / this.facts.scaling_factor);
    return rgba(await this.run("decoder", { latents: ["float32", raw, [1, ...this.facts.latent_shape]] }, signal));
  }

  // Latents as colours, one for each cell: the linear map that helpers/latents.py fits. RGBA bytes.
  preview(latents) {
    const { weight, bias } = this.facts.preview, cells = latents.length / weight.length;
    const colours = new Float32Array(bias.length * cells);
    for (let k = 0; k < bias.length; k++) {
      for (let cell = 0; cell < cells; cell++) {
        colours[k * cells + cell] = weight.reduce((sum, row, c) => sum + row[k] * latents[c * cells + cell], bias[k]);
      }
    }
    return rgba(colours);
  }
}

// What a promise gives, or the reason of a signal, whichever comes first.
function unless(signal, promise) {
  if (!signal) return promise;
  return Promise.race([promise, new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  })]);
}

// Three planes of -1..1, one after the other, as RGBA bytes; what lies beyond is cut off, as for every picture here.
function rgba(planes) {
  const cells = planes.length / 3, bytes = new Uint8ClampedArray(4 * cells).fill(255);
  planes.forEach((value, i) => { bytes[4 * (i % cells) + Math.floor(i / cells)] = (value + 1) * 127.5; });
  return bytes;
}
