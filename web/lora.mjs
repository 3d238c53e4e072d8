// A LoRA added to the weights of a network, in the bytes of its ONNX file, before onnxruntime is given them:
// W + strength * B A, as helpers/lora does it. Source: Hu et al. 2021.

// bytes: the file, which is not changed. layers: [{at, rows, columns, rank, turned}], where each W (rows, columns) lies
// in it as float16, `turned` where its transpose does. factors: A (rank, columns) and B (rows, rank) of each layer, one
// after the other, as float16. Returns the bytes with the change in them.
export function withLora(bytes, layers, factors, strength) {
  const changed = bytes.slice(), numbers = halves(factors);
  let next = 0;
  for (const { at, rows, columns, rank, turned } of layers) {
    const A = numbers.subarray(next, next += rank * columns), B = numbers.subarray(next, next += rows * rank);
    const view = new DataView(changed.buffer, changed.byteOffset + at, 2 * rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let change = 0;
        for (let k = 0; k < rank; k++) change += B[i * rank + k] * A[k * columns + j];
        const place = 2 * (turned ? j * rows + i : i * columns + j);
        view.setUint16(place, half(number(view.getUint16(place, true)) + strength * change), true);
      }
    }
  }
  return changed;
}

// Float16 as numbers.
function halves(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / 2 }, (_, i) => number(view.getUint16(2 * i, true)));
}

// The number that 16 bits stand for; weights are finite.
function number(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

// The nearest float16 of a finite number, as 16 bits; of two as near the even one.
function half(value) {
  const size = Math.abs(value), sign = value < 0 ? 0x8000 : 0;
  if (size >= 65520) throw new Error("With this LoRA a weight leaves the range of numbers: choose a smaller strength.");
  const step = 2 ** (Math.max(Math.floor(Math.log2(size || 1e-9)), -14) - 10); // between neighbours at this size
  const count = even(size / step), exponent = Math.round(Math.log2(step)) + 25;
  return sign | (count < 1024 ? count : count === 2048 ? (exponent + 1) << 10 : (exponent << 10) | (count - 1024));
}

function even(value) {
  const below = Math.floor(value), rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
