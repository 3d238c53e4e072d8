// The page: controls, what the worker tells, and what is kept of it.

import { heat } from "./maps.mjs";
import { parameters, png } from "./png.mjs";
import { defaults, fromLink, inside, number, toLink, wrong } from "./settings.mjs";

const at = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const CONTROLS = ["prompt", "negative_prompt", "steps", "guidance", "seed", "variant", "lora", "lora_strength"];
const NUMBERS = ["steps", "guidance", "seed", "lora_strength"];

let facts = null, worker = null, drawing = 0; // the drawings are counted: an older one is not listened to any more
let asked = null; // the settings of the drawing under way
let shown = null; // {settings, pixels} of the picture shown
let failed = ""; // a sentence, where nothing can be drawn until the page is loaded anew

// Settings and controls

const settings = () => Object.fromEntries(CONTROLS.map((name) =>
  [name, NUMBERS.includes(name) ? number(at[name].value) : at[name].value]));

function show(given) {
  for (const name of CONTROLS) at[name].value = Number.isNaN(given[name]) ? "" : given[name];
  fold();
}

// The guidance that the chosen model has in its weights, null where it has none.
const folded = () => facts.models[at.variant.value]?.distilled_guidance ?? null;

// The fast model takes neither guidance nor a negative prompt, so their fields are closed, unless a link has put
// something there that is to be taken out; a strength is that of a LoRA. A single model is no choice, unless a link has
// chosen another.
function fold() {
  const scale = folded();
  at.guidance.disabled = scale !== null && number(at.guidance.value) === 1;
  at.negative_prompt.disabled = scale !== null && at.negative_prompt.value === "";
  at.lora_strength.disabled = !at.lora.value;
  at.variants.hidden = at.variant.length < 2 && at.variant.value !== "";
  at.given_up.hidden = scale === null;
  at.given_up.textContent = `The fast model has guidance ${scale} in it. For another guidance or a negative prompt `
    + "take the plain model; a concept takes it by itself.";
}

// Another model, with the steps and the guidance that are its own.
function choose() {
  const { steps, guidance, distilled_guidance } = facts.models[at.variant.value];
  at.steps.value = steps;
  at.guidance.value = guidance;
  if (distilled_guidance !== null) at.negative_prompt.value = at.lora.value = "";
  fold();
}

// The LoRAs were made for the plain model, so one that is picked brings it with it.
function pick() {
  if (at.lora.value && folded() !== null) {
    at.variant.value = "plain";
    choose();
    if (!asked) at.line.textContent = "The plain model is chosen: the concepts in this list were made for it.";
  }
  fold();
}

function begin() {
  const names = Object.keys(facts.models);
  at.variant.replaceChildren(...names.map((name) => new Option(name)));
  at.lora.replaceChildren(new Option("none", ""), ...Object.keys(facts.loras).map((name) => new Option(name)));
  at.concepts.hidden = Object.keys(facts.loras).length === 0;
  at.words.open = !matchMedia("(max-width: 32rem)").matches; // on a phone the picture is to be in reach
  at.chips.replaceChildren(...Object.entries(facts.words).filter(([, words]) => words.length).map(([kind, words]) => {
    const row = document.createElement("div");
    row.className = "kind";
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", kind);
    row.append(Object.assign(document.createElement("span"), { textContent: kind }), ...words.map(adding));
    return row;
  }));
  follow();
}

const chip = (word) => Object.assign(document.createElement("button"), { type: "button", textContent: word });

function adding(word) {
  const button = chip(word);
  button.addEventListener("click", () => put(word));
  return button;
}

// A word where the cursor is, or in place of what is selected, with spaces round it.
function put(word) {
  const { value, selectionStart, selectionEnd } = at.prompt;
  const before = value.slice(0, selectionStart), after = value.slice(selectionEnd);
  const said = `${/\S$/.test(before) ? " " : ""}${word}${/^\S/.test(after) ? " " : ""}`;
  at.prompt.setRangeText(said, selectionStart, selectionEnd, "end");
}

// What the link asks for.
function follow() {
  const link = location.hash.slice(1), variant = new URLSearchParams(link).get("variant");
  const { settings: given, said } = fromLink(link, defaults(facts, variant));
  show(given);
  complain([said, wrong(given, facts)].filter(Boolean).join(" "));
}

// Drawing

function draw() {
  const given = settings();
  const problem = facts ? wrong(given, facts) : failed || "The model is not loaded yet: wait a moment.";
  complain(problem);
  if (problem) return;
  drawing += 1;
  work(given);
  at.progress.value = 0;
  at.count.textContent = "";
  at.line.textContent = "Drawing ...";
  worker.postMessage({ draw: given, id: drawing });
}

function heard({ data }) {
  if (data.facts) {
    facts = data.facts;
    begin();
  } else if (data.loaded) {
    const [loaded, size] = [data.loaded, data.size].map((bytes) => (bytes / 1e6).toFixed(1));
    at.count.textContent = data.loaded < data.size ? `Loaded: ${loaded} of ${size} MB` : "";
  } else if (data.ready) {
    at.count.textContent = "";
    if (!asked) at.line.textContent = "Ready.";
  } else if (data.id === drawing) told(data);
}

function told({ step, of, x_t, x_0, picture, read, words, seconds, said, cancelled, problem }) {
  if (step) {
    paint(at.x_t, x_t);
    paint(at.x_0, x_0);
    Object.assign(at.progress, { max: of, value: step });
    at.count.textContent = `Step ${step} of ${of}`;
    return;
  }
  if (picture) {
    shown = { settings: asked, pixels: picture };
    at.asking.hidden = words.length === 0;
    at.read.replaceChildren(...words.map((one) => reader(one, words.flatMap(({ positions }) => positions), read)));
    paint(at.picture, picture); // last: a word that is taken away with the focus on it still hears that it loses it
    at.picture.setAttribute("aria-label", `The picture drawn for: ${asked.prompt || "an empty prompt"}`);
    at.save.disabled = at.share.disabled = false;
    history.replaceState(null, "", `#${toLink(asked)}`);
    at.line.textContent = `Done in ${seconds.toFixed(1)} s. ${said.join(" ")}`;
  } else if (problem) {
    fail(problem);
  } else at.line.textContent = `Cancelled after ${cancelled} steps. The same settings draw the same picture.`;
  work(null);
}

// What went wrong; without the facts nothing will go right on this page.
function fail(sentence) {
  if (!facts) failed = sentence;
  at.line.textContent = "";
  complain(sentence);
}

function cancel() {
  if (asked) worker.postMessage({ cancel: true });
}

// Whether something is being drawn: its settings, or null.
function work(given) {
  asked = given;
  at.cancel.disabled = given === null;
}

function complain(sentence) {
  at.problem.textContent = sentence;
}

// RGBA bytes of a square picture, enlarged to a canvas.
function paint(canvas, pixels) {
  const side = Math.sqrt(pixels.length / 4), small = new OffscreenCanvas(side, side), context = canvas.getContext("2d");
  small.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// A word of the picture's prompt: while the mouse or the keyboard is on it, the picture is dark where it was read little.
// The words of a picture that is not shown any more paint nothing.
function reader({ word, positions }, all, read) {
  const button = chip(word), { pixels } = shown, side = Math.sqrt(pixels.length / 4);
  const repaint = (values) => { if (shown.pixels === pixels) paint(at.picture, values()); };
  const look = () => repaint(() => {
    const map = heat(read, facts.grids, facts.tokenizer.length, positions, all, side);
    return pixels.map((value, i) => (i % 4 === 3 ? value : value * (0.15 + 0.85 * map[i >> 2])));
  });
  const leave = () => repaint(() => pixels);
  for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, look);
  for (const event of ["mouseleave", "blur"]) button.addEventListener(event, leave);
  return button;
}

// What is kept

async function save() {
  const side = Math.sqrt(shown.pixels.length / 4);
  const file = await png(shown.pixels, side, side, parameters(inside(shown.settings), side, side));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([file], { type: "image/png" }));
  const letters = Array.from(shown.settings.prompt.replace(/[^\p{L}\p{N}_]+/gu, " ").trim()); // none is halved
  const words = letters.slice(0, 40).join("").trim();
  link.download = `${words || "picture"} seed ${shown.settings.seed}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function share() {
  const link = `${location.origin}${location.pathname}#${toLink(shown.settings)}`;
  try {
    await navigator.clipboard.writeText(link);
    at.line.textContent = "The link is copied.";
  } catch {
    complain("This browser does not let the page copy: the link stands in the address bar.");
  }
}

// Events

at.form.addEventListener("submit", (event) => { event.preventDefault(); draw(); });
at.cancel.addEventListener("click", cancel);
at.save.addEventListener("click", save);
at.share.addEventListener("click", share);
at.variant.addEventListener("change", choose);
at.lora.addEventListener("change", pick);
at.another.addEventListener("click", () => { at.seed.value = Math.floor(Math.random() * 10000); });
addEventListener("hashchange", () => { if (facts) follow(); });
addEventListener("keydown", (event) => {
  if (event.key === "Escape") cancel();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at.form.requestSubmit();
});

// Offline: what the worker loads passes through the service worker, which keeps it; so this one comes first.
async function offline() {
  if (!("serviceWorker" in navigator)) return;
  const long = new Promise((resolve) => { setTimeout(resolve, 2000); });
  const controlled = new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
  });
  try {
    await navigator.serviceWorker.register("sw.js");
    if (!navigator.serviceWorker.controller) await Promise.race([controlled, long]);
  } catch { /* without it the page works while there is a network */ }
}

at.line.textContent = "The model is being loaded ...";
await offline();
worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
worker.addEventListener("message", heard);
worker.addEventListener("error", () => fail(
  "This browser cannot run the model, or a file of the page is missing: load it anew, or use a newer browser."));
