// The noise of torch.randn on a CPU: the same numbers for the same seed, but for the last digit of a float32.
// Sources: Matsumoto and Nishimura 1998 (Mersenne Twister), Box and Muller 1958; the order of draws is torch's.

const SIZE = 624, MIDDLE = 397, BLOCK = 16;

// The Mersenne Twister MT19937, seeded as torch.manual_seed does: with the lowest 32 bits of the seed.
export class Generator {
  // seed: a whole number from 0 to 2^53 - 1, or a BigInt.
  constructor(seed) {
    this.state = new Uint32Array(SIZE);
    this.state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < SIZE; i++) {
      const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, last) + i;
    }
    this.next = SIZE;
    this.kept = null; // the second number of a pair, see `normal`
  }

  // A whole number of 32 bits.
  bits() {
    if (this.next === SIZE) this.twist();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  twist() {
    const { state } = this;
    for (let i = 0; i < SIZE; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
      state[i] = state[(i + MIDDLE) % SIZE] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  // From 0 to below 1: in steps of 2^-24, as torch draws a float32, or of 2^-53, as it draws a float64.
  uniform24() {
    return (this.bits() & 0xffffff) / 2 ** 24;
  }

  uniform53() {
    const high = this.bits() & 0x1fffff, low = this.bits();
    return (high * 2 ** 32 + low) / 2 ** 53;
  }

  // One Gaussian number; every other one was made with the one before.
  normal() {
    if (this.kept !== null) {
      const kept = this.kept;
      this.kept = null;
      return kept;
    }
    const [angle, length] = [this.uniform53(), this.uniform53()];
    const radius = Math.sqrt(-2 * Math.log1p(-length)), theta = 2 * Math.PI * angle;
    this.kept = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }
}

// Gaussian noise, a Float32Array of `count`: torch.randn(count, generator=torch.Generator().manual_seed(seed)).
export function randn(count, seed) {
  const generator = new Generator(seed);
  if (count < BLOCK) return Float32Array.from({ length: count }, () => generator.normal());
  const noise = Float32Array.from({ length: count }, () => generator.uniform24());
  for (let first = 0; first + BLOCK <= count; first += BLOCK) pair(noise.subarray(first, first + BLOCK));
  if (count % BLOCK) { // the last 16 are drawn anew
    const last = noise.subarray(count - BLOCK);
    last.forEach((_, i) => { last[i] = generator.uniform24(); });
    pair(last);
  }
  return noise;
}

// 16 uniform numbers to 16 Gaussian ones, in place: number i and number i + 8 are one pair of Box and Muller.
function pair(block) {
  for (let i = 0; i < BLOCK / 2; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[i])), theta = 2 * Math.PI * block[i + BLOCK / 2];
    block[i] = radius * Math.cos(theta);
    block[i + BLOCK / 2] = radius * Math.sin(theta);
  }
}
