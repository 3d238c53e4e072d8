// A PNG file with settings inside, as helpers/panels/sampling.py writes it, so that other programs read them too.

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const CALLED = { guidance: "CFG scale", scheduler: "Sampler" }; // what A1111 calls them

// The settings as AUTOMATIC1111's web UI writes them. settings: {prompt, negative_prompt, and the rest in its order}.
// Numbers with a point stand as strings, "3.0".
export function parameters({ prompt, negative_prompt, ...settings }, width, height) {
  const named = Object.entries(settings).map(([name, value]) => [CALLED[name] ?? capital(name), String(value)]);
  const rest = [...named.filter(([, value]) => value !== ""), ["Size", `${width}x${height}`]]
    .map(([name, value]) => `${name}: ${/[,:\n]/.test(value) ? JSON.stringify(value) : value}`);
  return [prompt, ...(negative_prompt ? [`Negative prompt: ${negative_prompt}`] : []), rest.join(", ")].join("\n");
}

const capital = (name) => name[0].toUpperCase() + name.slice(1).toLowerCase().replaceAll("_", " ");

// rgba: bytes of width * height pixels, all opaque. text: written under "parameters". A Uint8Array.
export async function png(rgba, width, height, text) {
  const rows = new Uint8Array(height * (1 + 3 * width)); // each row begins with a 0: no filter
  for (let i = 0; i < width * height; i++) {
    const row = Math.floor(i / width);
    rows.set(rgba.subarray(4 * i, 4 * i + 3), row * (1 + 3 * width) + 1 + 3 * (i % width));
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint16(8, 0x0802); // 8 bits a colour, red, green and blue
  return joined(SIGNATURE, chunk("IHDR", new Uint8Array(header.buffer)), noted(text),
    chunk("IDAT", await deflated(rows)), chunk("IEND", new Uint8Array()));
}

// The text: as tEXt where Latin-1 has all its letters, else as iTXt.
function noted(text) {
  const letters = Array.from(text, (letter) => letter.codePointAt(0));
  if (letters.every((letter) => letter < 256)) {
    return chunk("tEXt", joined(ascii("parameters\0"), Uint8Array.from(letters)));
  }
  return chunk("iTXt", joined(ascii("parameters\0\0\0\0\0"), new TextEncoder().encode(text)));
}

function chunk(kind, data) {
  const body = joined(ascii(kind), data), numbers = new DataView(new ArrayBuffer(8));
  numbers.setUint32(0, data.length);
  numbers.setUint32(4, crc(body));
  const bytes = new Uint8Array(numbers.buffer);
  return joined(bytes.subarray(0, 4), body, bytes.subarray(4));
}

// The checksum of PNG (CRC-32).
function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}

async function deflated(bytes) {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

const ascii = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}
