// What a picture is drawn with: what it starts as, what is wrong with it, and as a link.

const LARGEST_SEED = 2 ** 32 - 1; // torch's generator looks at no more of a seed
const MOST = { steps: 50, guidance: 15 }; // what the course's panels offer
const STRENGTHS = [-1, 2]; // likewise
const NAMES = ["prompt", "negative_prompt", "steps", "guidance", "seed", "variant", "lora", "lora_strength"];

// What the page begins with: the model that is named, else the fast one where there is one. facts: facts.json.
export function defaults(facts, named = null) {
  const variant = Object.hasOwn(facts.models, named) ? named : facts.models.fast ? "fast" : "plain";
  const { steps, guidance } = facts.models[variant];
  return { prompt: "a red boat on a lake", negative_prompt: "", steps, guidance, seed: 0, variant, lora: "", lora_strength: 1 };
}

// One sentence that says what is wrong with settings, "" where nothing is.
export function wrong(settings, facts) {
  const { steps, guidance, seed, variant, lora, lora_strength } = settings;
  const whole = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
  if (!Object.hasOwn(facts.models, variant)) {
    return `There is no model called "${variant}" here: use ${Object.keys(facts.models).join(" or ")}.`;
  }
  if (!whole(steps, 1, MOST.steps)) return `Steps must be a whole number from 1 to ${MOST.steps}, not ${shown(steps)}.`;
  if (!(guidance >= 0 && guidance <= MOST.guidance)) {
    return `Guidance must be a number from 0 to ${MOST.guidance} (1 is none), not ${shown(guidance)}.`;
  }
  if (!whole(seed, 0, LARGEST_SEED)) {
    return `The seed must be a whole number from 0 to ${LARGEST_SEED}, not ${shown(seed)}.`;
  }
  if (lora && !Object.hasOwn(facts.loras, lora)) {
    return `There is no LoRA called "${lora}" here: use ${Object.keys(facts.loras).join(" or ")}, or none.`;
  }
  if (lora && variant !== "plain") return "The LoRAs were made for the plain model: take that one, or no LoRA.";
  if (lora && !(lora_strength >= STRENGTHS[0] && lora_strength <= STRENGTHS[1])) {
    return `The strength must be a number from ${STRENGTHS[0]} to ${STRENGTHS[1]} (0 is none), not ${shown(lora_strength)}.`;
  }
  const folded = facts.models[variant].distilled_guidance;
  if (folded !== null && (guidance !== 1 || settings.negative_prompt !== "")) {
    return "The fast model cannot draw with a guidance or a negative prompt: guidance "
      + `${folded} is folded into it, so leave both out (guidance 1), or take the plain model.`;
  }
  return "";
}

const shown = (value) => (Number.isNaN(value) ? "what is no number" : String(value));

// The settings as the part of an address behind "#"; a strength that is no number, of no LoRA, is left out.
export function toLink(settings) {
  const names = NAMES.filter((name) => !Number.isNaN(settings[name]));
  return new URLSearchParams(names.map((name) => [name, settings[name]])).toString();
}

// Settings read from there, in place of those given; what the link does not name stays. {settings, said}: said is one
// sentence on a name that nothing is called, or "".
export function fromLink(link, given) {
  const settings = { ...given }, unknown = [];
  for (const [name, value] of new URLSearchParams(link)) {
    if (!NAMES.includes(name)) unknown.push(name);
    else settings[name] = typeof given[name] === "number" ? number(value) : value;
  }
  const said = unknown.length ? `The link names ${unknown.join(", ")}, which this page does not know.` : "";
  return { settings, said };
}

// A number as somebody typed it; NaN for what is none, an empty field too.
export const number = (text) => (/^\s*[+-]?(\d+\.?\d*|\.\d+)\s*$/.test(text) ? Number(text) : NaN);

// The settings as they stand inside a picture: the names of `generate` and of the course's studio, and numbers as Python
// writes them.
export function inside({ prompt, negative_prompt, steps, guidance, seed, variant, lora = "", lora_strength }) {
  return { prompt, negative_prompt, steps, guidance: python(guidance), scheduler: "ddim", seed,
    model: variant === "fast" ? "postcard-fast" : "postcard",
    ...(lora ? { concept: lora, strength: python(lora_strength) } : {}) };
}

const python = (number) => (Number.isInteger(number) ? `${number}.0` : String(number));
