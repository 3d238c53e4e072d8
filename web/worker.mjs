// Computes pictures beside the page, so that the page answers meanwhile.
// It is told {draw: settings, id} or {cancel: true}. It tells {facts}, {loaded, size: bytes of the model so far and in
// all} and {ready}; then, with the id of a drawing, {step, of, x_t, x_0} after each step, and at its end
// {picture, seconds, said, words, read: what maps.mjs makes maps of}, {cancelled: steps done} or {problem: a sentence}. Pictures are RGBA bytes.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { Model } from "./model.mjs";

ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;

const loading = { loaded: 0, size: 0 };
let before = Promise.resolve(); // the file that is coming
const model = new Model(ort, read);
const loaded = load();
loaded.catch((problem) => postMessage({ problem: sentence(problem), id: 0 }));

let stop = new AbortController(), drawing = Promise.resolve();

// The facts, then what the first picture needs, while its words are being written.
async function load() {
  const facts = await model.load();
  postMessage({ facts });
  const needed = ["text_encoder", facts.models.fast ? "unet-fast" : "unet", "decoder"];
  await Promise.all(needed.map((name) => model.session(name)));
  postMessage({ ready: true });
}

onmessage = ({ data }) => {
  stop.abort();
  if (!data.draw) return;
  stop = new AbortController();
  const { signal } = stop;
  drawing = drawing.then(() => draw(data.draw, data.id, signal));
};

// One picture, from words to pixels. The latest request wins: the one before has been told to stop.
async function draw(settings, id, signal) {
  let done = 0;
  try {
    const began = performance.now();
    const read = [];
    for await (const { latents, x0 } of model.denoise(settings, signal, read)) {
      done += 1;
      postMessage({ step: done, of: settings.steps, id, x_t: model.preview(latents), x_0: model.preview(x0) });
      if (done === settings.steps) {
        const picture = await model.decode(latents, signal);
        const said = model.said(settings);
        const words = model.words(settings.prompt);
        postMessage({ picture, read, words, seconds: (performance.now() - began) / 1000, said, id });
      }
    }
  } catch (problem) {
    postMessage(signal.aborted ? { cancelled: done, id } : { problem: sentence(problem), id });
  }
}

// A file of model/, one after the other: so the runtime starts with the first while the next ones come.
function read(name) {
  const size = model.facts?.sizes[name] ?? 0; // 0: the facts themselves
  loading.size += size;
  const bytes = before.then(() => come(name, size));
  before = bytes.catch(() => {});
  return bytes;
}

// A file of model/, and how much of it has come so far. What did not come whole is not counted: it is asked for again.
async function come(name, size) {
  let count = 0;
  try {
    const answer = await fetch(new URL(`./model/${name}`, import.meta.url)).catch(() => null);
    if (!answer?.ok) throw new Error(`The file ${name} of the model could not be loaded: load the page anew, online.`);
    const parts = [];
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read().catch(() => {
        throw new Error(`The file ${name} of the model came in part only: load the page anew, online.`);
      });
      if (done) break;
      parts.push(value);
      if (!size) continue;
      count += value.length;
      loading.loaded += value.length;
      postMessage({ ...loading });
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  } catch (problem) {
    loading.loaded -= count;
    loading.size -= size;
    throw problem;
  }
}

function sentence(problem) {
  const said = String(problem?.message ?? problem).split("\n")[0];
  return /memory|allocat/i.test(said)
    ? "There is not enough memory left for the model: close other tabs, then load the page anew." : said;
}
