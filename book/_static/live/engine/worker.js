// The networks behind five calls, in a worker of their own or, where there are no workers, in the page.

import { decodeTensors } from "./half.js";
import { preprocess, resizeAndCrop } from "./preprocess.js";
import { resnetTower } from "./resnet.js";
import { unit } from "./tensors.js";
import { textTower } from "./text.js";
import { parseVocabulary, tokenize } from "./tokenizer.js";
import { vitTower } from "./vit.js";

const TOWERS = { resnet: resnetTower, vit: vitTower };

/** In a worker: answers {id, call, given} with {id, result} or, if the call fails, {id, error}. */
export function serve() {
  const calls = createEncoder();
  self.onmessage = ({ data: { id, call, given } }) => {
    try {
      self.postMessage({ id, result: calls[call](...given) });
    } catch (error) {
      self.postMessage({ id, error: error.message });
    }
  };
}

/**
 * Both miniatures. `open` comes first, then `addPart` of each part that another call needs.
 *
 * @returns {{open: Function, addPart: Function, encodeImage: Function, seenImage: Function,
 *   encodeText: Function, unseenWords: Function}}
 */
export function createEncoder() {
  const parts = {};
  const towers = new Map();
  let manifest;
  let merges;
  const tower = (make, part, backbone) => {
    if (!towers.has(part)) towers.set(part, make(parts[part], backbone));
    return towers.get(part);
  };
  return {
    open(given) {
      manifest = given;
    },
    addPart(name, chunks) {
      if (name === "vocabulary") merges = parseVocabulary(chunks.join(""));
      else parts[name] = decodeTensors(chunks, manifest.parts[name]);
    },
    encodeImage(picture, name, tokens) {
      const backbone = manifest.backbones[name];
      const encode = tower(TOWERS[backbone.image.tower], backbone.image.part, backbone);
      const { pooled, spatial } = encode(encoderPixels(picture, backbone.resolution), tokens);
      return { pooled: unit(pooled), spatial: spatial.map(unit), grid: backbone.grid };
    },
    seenImage(picture, name) {
      return resizeAndCrop(picture, manifest.backbones[name].resolution);
    },
    encodeText(texts, name) {
      const backbone = manifest.backbones[name];
      const numbers = texts.map((text) => marked(text, merges, manifest.marks, name, backbone.contextLength));
      return numbers.map((row) => unit(tower(textTower, backbone.text.part, backbone)(row)));
    },
    unseenWords(text) {
      const seen = new Set(manifest.seen);
      const words = text.match(/\p{L}+|\p{N}/gu) ?? [];
      return [...new Set(words)].filter((word) => tokenize(word, merges).some((number) => !seen.has(number)));
    },
  };
}

/** The encoder's input: given, or made from a picture. */
function encoderPixels(picture, resolution) {
  if (!picture.pixels) return preprocess(picture, resolution);
  const expected = 3 * resolution * resolution;
  if (picture.pixels.length === expected) return picture.pixels;
  throw new Error(`pixels has ${picture.pixels.length} numbers, expected 3 × ${resolution} × ${resolution}`);
}

/** A text's token numbers between the marks of its start and its end; refuses what calip_core refuses. */
function marked(text, merges, { start, end }, name, contextLength) {
  const numbers = tokenize(text, merges);
  if (numbers.some((number) => number >= start)) {
    throw new Error(
      `the prompt "${text}" holds a mark of CLIP's vocabulary, <|startoftext|> or <|endoftext|>, which is ` +
        "expected at the ends alone: take it out",
    );
  }
  if (numbers.length + 2 > contextLength) {
    throw new Error(
      `the prompt "${text}" has ${numbers.length + 2} tokens, both end marks counted, and ${name} reads ` +
        `${contextLength}: shorten it`,
    );
  }
  return [start, ...numbers, end];
}
