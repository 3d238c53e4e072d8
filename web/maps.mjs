// Where a word was read: maps of cross-attention, pooled as helpers/attention does it. Source: Tang et al. 2022 (DAAM).

// Adds what the prompt's row read at one step to what was read before. sums: [] at first, then one Float32Array of
// places * tokens for each grid. read: likewise, of B rows, of which the last is the prompt's.
export function add(sums, read, rows) {
  read.forEach((maps, grid) => {
    const count = maps.length / rows, mine = maps.subarray(maps.length - count);
    sums[grid] = sums[grid] ? sums[grid].map((sum, i) => sum + mine[i]) : Float32Array.from(mine);
  });
}

// The map of a word, size * size numbers from 0 to 1. positions: of its tokens; all: of every token of the prompt, whose
// mean map is taken away. grids: [side, layers] of each of the sums.
export function heat(sums, grids, tokens, positions, all, size) {
  const whole = new Float32Array(size * size);
  sums.forEach((sum, grid) => {
    const side = grids[grid][0], map = new Float32Array(side * side);
    for (let place = 0; place < map.length; place++) {
      const at = (token) => sum[place * tokens + token];
      const mean = all.reduce((rest, token) => rest + at(token), 0) / all.length;
      map[place] = positions.reduce((rest, token) => rest + at(token), 0) - positions.length * mean;
    }
    enlarged(map, side, size).forEach((value, i) => { whole[i] += value; });
  });
  const least = whole.reduce((a, b) => Math.min(a, b)), most = whole.reduce((a, b) => Math.max(a, b));
  return whole.map((value) => (most > least ? (value - least) / (most - least) : 0));
}

// Bilinear, with the middles of cells as the places of their values.
function enlarged(map, side, size) {
  const at = Array.from({ length: size }, (_, i) => {
    const place = Math.max((i + 0.5) * side / size - 0.5, 0), low = Math.floor(place);
    return [low, Math.min(low + 1, side - 1), place - low];
  });
  const result = new Float32Array(size * size);
  at.forEach(([top, bottom, down], y) => at.forEach(([left, right, across], x) => {
    const upper = map[top * side + left] * (1 - across) + map[top * side + right] * across;
    const lower = map[bottom * side + left] * (1 - across) + map[bottom * side + right] * across;
    result[y * size + x] = upper * (1 - down) + lower * down;
  }));
  return result;
}
