// The byte-level BPE of CLIP: from a prompt to the numbers that the text encoder reads.
// Sources: Sennrich et al. 2016 (byte-pair encoding), Radford et al. 2019 (bytes as letters), the same 2021 (CLIP).

const WORDS = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
const SPACE = /\p{White_Space}+/gu;
const END_OF_WORD = "</w>";

// A piece shows each byte as a letter: printable ones as that of their number, the other 68 as letters from 256 on.
const LETTERS = (() => {
  const printable = (byte) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

export class Tokenizer {
  // vocab: {piece: number}. merges: "a b" in the order in which they were learnt. special: {"<|startoftext|>": number},
  // each one token wherever it stands in a prompt; only a concept's may be written in capitals or not. several: {"<house>":
  // "<house> <house>_1"}, what is written out before. length: how many tokens are read.
  constructor({ vocab, merges, special, several, start, end, pad, length }) {
    this.vocab = new Map(Object.entries(vocab));
    this.ranks = new Map(merges.map((pair, rank) => [pair, rank]));
    this.special = new Map(Object.entries(special));
    Object.assign(this, { start, end, pad, length });
    const longestFirst = [...this.special.keys()].sort((one, other) => other.length - one.length);
    this.between = new RegExp(`(${longestFirst.map(escaped).join("|")})`);
    const isMark = (token) => /^<\|.*\|>$/.test(token), own = longestFirst.filter((token) => !isMark(token));
    this.marks = new RegExp(`(${longestFirst.filter(isMark).map(escaped).join("|")})`);
    this.own = own.map((token) => [new RegExp(escaped(token), "giu"), token]);
    this.several = Object.entries(several).map(([token, all]) => [
      new RegExp(`${escaped(token)}(?!_\\d| ${escaped(token)}_1)`, "gu"), all]);
    this.known = new Map(); // word -> its pieces
  }

  // All pieces of a prompt, without start and end, however many: [number, {word: the one it belongs to}].
  pieces(prompt) {
    for (const [written, token] of this.own) prompt = prompt.replace(written, () => token);
    for (const [token, all] of this.several) prompt = prompt.replace(token, () => all);
    return prompt.split(this.between).flatMap((part) => {
      if (this.special.has(part)) return [[this.special.get(part), { word: part }]];
      // What spells a start or an end only once it is in small letters is one word here, and no token.
      const words = normal(part).split(this.marks).flatMap((some, i) => i % 2 ? some : some.match(WORDS) ?? []);
      return words.flatMap((word) => { const owner = { word }; return this.word(word).map((id) => [id, owner]); });
    });
  }

  // The numbers of one word's pieces.
  word(word) {
    if (!this.known.has(word)) {
      const parts = word.split(this.marks).length > 1 ? ["<|", word.slice(2, -2), "|>"] : [word]; // as the library cuts it
      this.known.set(word, parts.flatMap((part) => this.merged(part).map((piece) => this.vocab.get(piece))));
    }
    return this.known.get(word);
  }

  // A word's bytes as letters, the pair that was learnt first joined, again and again.
  merged(word) {
    const pieces = [...new TextEncoder().encode(word)].map((byte) => LETTERS[byte]);
    pieces[pieces.length - 1] += END_OF_WORD;
    for (;;) {
      let best = Infinity, place = -1;
      for (let i = 0; i + 1 < pieces.length; i++) {
        const rank = this.ranks.get(`${pieces[i]} ${pieces[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) return pieces;
      pieces.splice(place, 2, pieces[place] + pieces[place + 1]);
    }
  }

  // What the text encoder reads, as `ids`: start, the pieces that find room, end, padding. said: one sentence on what
  // does not find room, "" where all does.
  encode(prompt) {
    const room = this.length - 2, all = this.pieces(prompt);
    const ids = [this.start, ...all.slice(0, room).map(([id]) => id), this.end];
    while (ids.length < this.length) ids.push(this.pad);
    if (all.length <= room) return { ids, said: "" };
    const cut = [...new Set(all.slice(room).map(([, owner]) => owner))].map(({ word }) => word).join(" ");
    const letters = Array.from(cut), part = (...ends) => letters.slice(...ends).join("").trim(); // none is halved
    const short = letters.length <= 80 ? cut : `${part(0, 50)} ... ${part(-25)}`;
    const said = `The prompt has ${all.length} tokens and the model reads the first ${room}; this was cut: "${short}"`;
    return { ids, said };
  }
}

const escaped = (word) => word.replace(/[|\\{}()[\]^$+*?.]/g, "\\$&");

// As the library prepares a text: composed letters, one space for white space, small letters. Letter by letter, since
// the small letter of a capital sigma does not depend here on where it stands.
export function normal(text) {
  const composed = text.normalize("NFC").replace(SPACE, " ");
  return Array.from(composed, (letter) => letter.toLowerCase()).join("");
}
