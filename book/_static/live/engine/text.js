// OpenAI's text transformer.

import { layerNorm, linear, transpose } from "./tensors.js";
import { block } from "./transformer.js";

/**
 * @param {Object<string, Float32Array>} tensors of the part, by OpenAI's names
 * @param {{embedDim: number, text: {heads: number, layers: number}}} backbone
 * @returns {(numbers: number[]) => Float32Array} the tower: of a text's token numbers, both marks among them,
 *   its feature, not of unit length. Text attends backwards only, so nothing behind the end mark is needed.
 */
export function textTower(tensors, { embedDim, text }) {
  const width = tensors["ln_final.weight"].length;
  const form = { width, heads: text.heads, causal: true };
  const projection = transpose(tensors.text_projection, embedDim);
  return (numbers) => {
    let x = embedTokens(numbers, tensors["token_embedding.weight"], tensors.positional_embedding, width);
    for (let i = 0; i < text.layers; i += 1) {
      x = block(x, (name) => tensors[`transformer.resblocks.${i}.${name}`], form);
    }
    const end = layerNorm(x.subarray(-width), tensors["ln_final.weight"], tensors["ln_final.bias"]);
    return linear(end, projection, new Float32Array(embedDim));
  };
}

/** Each token's row of the table, plus its position's. */
function embedTokens(numbers, table, positions, width) {
  const x = positions.slice(0, numbers.length * width);
  numbers.forEach((number, i) => {
    for (let c = 0; c < width; c += 1) x[i * width + c] += table[number * width + c];
  });
  return x;
}
