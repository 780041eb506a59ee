/**
 * CLIP's tokenizer: a text as the numbers of its byte pairs.
 *
 * The same as `SimpleTokenizer.encode` of clip/simple_tokenizer.py, but for the one difference that clean.js
 * states.
 *
 * The vocabulary's 49,408 numbers: 256 for the bytes, 256 for the bytes at the end of a word, one for each
 * merge in the order of the file, and the marks of a text's start and end.
 */

import { clean } from "./clean.js";

const BYTES = 256;
const NUMBERS = 49408;

/** The marks, where they are written out in a text. */
const MARKS = new Map([["<|startoftext|>", NUMBERS - 2], ["<|endoftext|>", NUMBERS - 1]]);

/**
 * Marks, endings such as 's, runs of letters, single digits, runs of anything else.
 *
 * Python's `regex` reads this pattern without regard to case. In lower-case text that shows twice: ſ counts
 * as s, and U+0345, an accent whose capital is a letter, belongs to no part.
 */
const PARTS = new RegExp(
  [
    "<\\|[sſ]tartoftext\\|>|<\\|endoftext\\|>",
    "'[sſ]|'t|'re|'ve|'m|'ll|'d",
    "\\p{L}+|\\p{N}|[^\\p{White_Space}\\p{L}\\p{N}\\u0345]+",
  ].join("|"),
  "gu",
);

/**
 * Read CLIP's merges.
 *
 * @param {string} mergesText - two symbols a line with a space between: lines 2 to 48,895 of
 *   bpe_simple_vocab_16e6.txt.
 * @returns {{byteNumbers: Uint8Array, merges: Map<number, number>}} the number of each byte; by pair of
 *   numbers (`first * 49408 + second`) the number of both together. The smaller it is, the earlier they are
 *   merged.
 */
export function parseVocabulary(mergesText) {
  const { byteNumbers, characters } = byteSymbols();
  const numbers = new Map();
  characters.forEach((character, number) => {
    numbers.set(character, number);
    numbers.set(`${character}</w>`, BYTES + number);
  });
  const merges = new Map();
  for (const line of mergesText.trim().split("\n")) {
    const [first, second] = line.split(" ");
    const merged = 2 * BYTES + merges.size;
    merges.set(numbers.get(first) * NUMBERS + numbers.get(second), merged);
    numbers.set(first + second, merged);
  }
  return { byteNumbers, merges };
}

/**
 * The bytes' numbers, and by number the character that the file writes for the byte.
 *
 * Printable bytes of Latin-1 come first and stand for themselves; the others are written as U+0100 and
 * following.
 */
function byteSymbols() {
  const isPrintable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const all = Array.from({ length: BYTES }, (_, byte) => byte);
  const printable = all.filter(isPrintable);
  const others = all.filter((byte) => !isPrintable(byte));
  const byteNumbers = new Uint8Array(BYTES);
  [...printable, ...others].forEach((byte, number) => {
    byteNumbers[byte] = number;
  });
  const points = [...printable, ...others.map((_, place) => BYTES + place)];
  return { byteNumbers, characters: points.map((point) => String.fromCodePoint(point)) };
}

/**
 * A text's numbers, without the marks of its start and end.
 *
 * @param {string} text - as written; it is cleaned here.
 * @param {{byteNumbers: Uint8Array, merges: Map<number, number>}} vocabulary - of `parseVocabulary`.
 * @returns {number[]} numbers below 49,408: the text encoder adds 49406 before them and 49407 after them.
 */
export function tokenize(text, vocabulary) {
  const parts = clean(text).match(PARTS) ?? [];
  return parts.flatMap((part) => MARKS.get(part) ?? mergeBytes(new TextEncoder().encode(part), vocabulary));
}

/** Merge a part's bytes: again and again the pair that comes first in the vocabulary, wherever it occurs. */
function mergeBytes(bytes, { byteNumbers, merges }) {
  let numbers = Array.from(bytes, (byte) => byteNumbers[byte]);
  numbers[numbers.length - 1] += BYTES;
  for (;;) {
    // The last number has no second: its key is NaN, which no pair has.
    const merged = numbers.map((first, i) => merges.get(first * NUMBERS + numbers[i + 1]) ?? Infinity);
    const next = Math.min(...merged);
    if (next === Infinity) {
      return numbers;
    }
    numbers = replacePairs(numbers, merged, next);
  }
}

/** Replace, from left to right, every pair that becomes the number `next`. */
function replacePairs(numbers, merged, next) {
  const replaced = [];
  for (let i = 0; i < numbers.length; i++) {
    if (merged[i] === next) {
      replaced.push(next);
      i++;
    } else {
      replaced.push(numbers[i]);
    }
  }
  return replaced;
}
