// Attention and the transformer's block, which the image towers and the text tower share.

import { add, layerNorm, linear, quickGelu, softmax } from "./tensors.js";

/**
 * Attention with several heads: softmax(Q Kᵀ / √d) V in each head's d columns, side by side.
 *
 * @param {Float32Array} projected rows × 3 width: queries, keys and values of each token
 * @param {{width: number, heads: number, causal?: boolean}} form causal: a token attends to itself and
 *   to those before it
 * @returns {Float32Array} rows × width
 */
export function attend(projected, { width, heads, causal = false }) {
  const rows = projected.length / (3 * width);
  const attended = new Float32Array(rows * width);
  for (let head = 0; head < heads; head += 1) {
    const columns = { width, first: (head * width) / heads, size: width / heads };
    for (let row = 0; row < rows; row += 1) {
      const weights = softmax(scores(projected, row, causal ? row + 1 : rows, columns));
      addValues(projected, weights, columns, attended.subarray(row * width + columns.first));
    }
  }
  return attended;
}

/** q · k / √d of one row's query and the keys of the first `keys` rows. */
function scores(projected, row, keys, { width, first, size }) {
  const result = new Float64Array(keys);
  const query = 3 * width * row + first;
  for (let j = 0; j < keys; j += 1) {
    const key = 3 * width * j + width + first;
    let sum = 0;
    for (let c = 0; c < size; c += 1) sum += projected[query + c] * projected[key + c];
    result[j] = sum / Math.sqrt(size);
  }
  return result;
}

/** Adds the weighted values of the first rows, one weight each, to the beginning of `target`. */
function addValues(projected, weights, { width, first, size }, target) {
  for (let j = 0; j < weights.length; j += 1) {
    const value = 3 * width * j + 2 * width + first;
    for (let c = 0; c < size; c += 1) target[c] += weights[j] * projected[value + c];
  }
}

/**
 * CLIP's residual block: x + attention(norm(x)), and to that its MLP of its norm.
 *
 * @param {Float32Array} x rows × width; changed in place
 * @param {(name: string) => Float32Array} tensor the block's tensors by OpenAI's names
 * @param {{width: number, heads: number, causal?: boolean}} form as for `attend`
 * @returns {Float32Array} x itself
 */
export function block(x, tensor, form) {
  const first = layerNorm(x, tensor("ln_1.weight"), tensor("ln_1.bias"));
  const projected = linear(first, tensor("attn.in_proj_weight"), tensor("attn.in_proj_bias"));
  add(x, linear(attend(projected, form), tensor("attn.out_proj.weight"), tensor("attn.out_proj.bias")));
  const second = layerNorm(x, tensor("ln_2.weight"), tensor("ln_2.bias"));
  const hidden = quickGelu(linear(second, tensor("mlp.c_fc.weight"), tensor("mlp.c_fc.bias")));
  return add(x, linear(hidden, tensor("mlp.c_proj.weight"), tensor("mlp.c_proj.bias")));
}
