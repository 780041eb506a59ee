// CALIP's attention without parameters (calip_core/attention.py). All features have unit length.

import { add, dot, softmax, unit } from "./tensors.js";

/**
 * How M attended tokens become one feature: F_v^a = Pool(F_s^a).
 *
 * @type {Object<string, (rows: Float32Array[]) => Float32Array>}
 */
export const pools = {
  "mean+max": (rows) => add(meanOver(rows), maxOver(rows)),
  mean: meanOver,
  max: maxOver,
};

/**
 * The three logit terms that CALIP blends, for one image.
 *
 * @param {{pooled: Float32Array, spatial: Float32Array[]}} image F_v and the M rows of F_s
 * @param {Float32Array[]} text the K rows of F_t
 * @param {Object} [options]
 * @param {number} [options.alphaT] temperature of the softmax over places; the released code's is 0.5
 * @param {number} [options.alphaS] temperature of the softmax over classes; the released code's is 0.5
 * @param {"mean+max"|"mean"|"max"} [options.pooling]
 * @param {number} [options.scale] s, the factor of all three terms
 * @returns {{clip: Float32Array, textAttended: Float32Array, visualAttended: Float32Array}} K logits each:
 *   s F_v F_tᵀ, s F_v F_t^aᵀ and s F_v^a F_tᵀ
 */
export function calipLogits(image, text, options = {}) {
  const { alphaT = 0.5, alphaS = 0.5, pooling = "mean+max", scale = 100 } = options;
  checkPositive({ alphaT, alphaS, scale });
  if (!Object.hasOwn(pools, pooling)) {
    throw new Error(`pooling is ${pooling}, expected one of ${Object.keys(pools).join(", ")}`);
  }
  checkFeatures(image, text);
  const similarities = affinity(image.spatial, text);
  const textAttended = attendToImage(softmaxOverPlaces(similarities, alphaT), image.spatial);
  const visualAttended = attendToText(softmaxOverClasses(similarities, alphaS), text);
  const pooled = pools[pooling](visualAttended);
  return {
    clip: Float32Array.from(text, (row) => scale * dot(image.pooled, row)),
    textAttended: Float32Array.from(textAttended, (row) => scale * dot(image.pooled, row)),
    visualAttended: Float32Array.from(text, (row) => scale * dot(pooled, row)),
  };
}

/**
 * A = F_s F_tᵀ: the cosine of each place and each class.
 *
 * @param {Float32Array[]} spatial M rows
 * @param {Float32Array[]} text K rows
 * @returns {Float32Array[]} M rows of K
 */
export function affinity(spatial, text) {
  return spatial.map((place) => Float32Array.from(text, (row) => dot(place, row)));
}

/**
 * Softmax of A / α_t over the M places: how much each class attends to each place.
 *
 * @param {Float32Array[]} similarities A, M rows of K
 * @param {number} alphaT
 * @returns {Float32Array[]} M rows of K; each column sums to 1
 */
export function softmaxOverPlaces(similarities, alphaT) {
  return exchanged(softmaxOverClasses(exchanged(similarities), alphaT));
}

/**
 * Softmax of A / α_s over the K classes: how much each place attends to each class.
 *
 * @param {Float32Array[]} similarities A, M rows of K
 * @param {number} alphaS
 * @returns {Float32Array[]} M rows of K; each row sums to 1
 */
export function softmaxOverClasses(similarities, alphaS) {
  return similarities.map((row) => softmax(row.map((value) => value / alphaS)));
}

/**
 * F_t^a: for each class the places, weighted by its attention.
 *
 * @param {Float32Array[]} weights of `softmaxOverPlaces`, M rows of K
 * @param {Float32Array[]} spatial M rows
 * @returns {Float32Array[]} K rows
 */
export function attendToImage(weights, spatial) {
  return attendToText(exchanged(weights), spatial);
}

/**
 * F_s^a: for each place the classes, weighted by its attention.
 *
 * @param {Float32Array[]} weights of `softmaxOverClasses`, M rows of K
 * @param {Float32Array[]} text K rows
 * @returns {Float32Array[]} M rows
 */
export function attendToText(weights, text) {
  return weights.map((row) => weightedSum(row, text));
}

/**
 * CALIP's blend: clip + β₂ textAttended + β₃ visualAttended.
 *
 * @param {{clip: Float32Array, textAttended: Float32Array, visualAttended: Float32Array}} logits
 * @param {number} beta2
 * @param {number} beta3
 * @returns {Float32Array}
 */
export function combine({ clip, textAttended, visualAttended }, beta2, beta3) {
  return clip.map((value, k) => value + beta2 * textAttended[k] + beta3 * visualAttended[k]);
}

/**
 * The class that wins; the first of those that are equal.
 *
 * @param {Float32Array} logits
 * @returns {number}
 */
export function argmax(logits) {
  return logits.reduce((best, value, k) => (value > logits[best] ? k : best), 0);
}

/**
 * Softmax of logits: CLIP's probabilities.
 *
 * @param {Float32Array} logits
 * @returns {Float32Array}
 */
export function probabilities(logits) {
  return softmax(logits);
}

/**
 * A worse pool, made on purpose: F_v becomes the direction of (1 − λ) F_v + λ mean of the value tokens.
 * (calip_core/analysis/pool.py.)
 *
 * @param {{pooled: Float32Array, spatial: Float32Array[], grid: number[]}} image of any tokens
 * @param {{spatial: Float32Array[]}} valueImage the same picture's value tokens
 * @param {number} amount λ, from 0 (nothing changes) to 1 (the pooled feature is the mean value token)
 * @returns {{pooled: Float32Array, spatial: Float32Array[], grid: number[]}} the image with the new pooled
 *   feature
 */
export function spoilPool(image, valueImage, amount) {
  if (!(amount >= 0 && amount <= 1)) throw new Error(`amount is ${amount}, expected a share from 0 to 1`);
  if (amount === 0) return image;
  const mean = meanOver(valueImage.spatial);
  const mixed = image.pooled.map((value, c) => (1 - amount) * value + amount * mean[c]);
  if (mixed.every((value) => value === 0)) throw new Error(`amount is ${amount}: no direction is left`);
  return { ...image, pooled: unit(mixed) };
}

function meanOver(rows) {
  return weightedSum(rows.map(() => 1 / rows.length), rows);
}

function maxOver(rows) {
  return rows.reduce((largest, row) => largest.map((value, c) => Math.max(value, row[c])));
}

function weightedSum(weights, rows) {
  const sum = new Float64Array(rows[0].length);
  rows.forEach((row, i) => {
    for (let c = 0; c < sum.length; c += 1) sum[c] += weights[i] * row[c];
  });
  return Float32Array.from(sum);
}

/** Rows and columns exchanged. */
function exchanged(rows) {
  return Array.from(rows[0], (_, j) => Float32Array.from(rows, (row) => row[j]));
}

function checkPositive(values) {
  for (const [name, value] of Object.entries(values)) {
    if (!(value > 0 && value < Infinity)) {
      throw new Error(`${name} is ${value}, expected a positive finite number`);
    }
  }
}

function checkFeatures(image, text) {
  if (text.length === 0) throw new Error("text has no rows: CALIP needs the features of at least one class");
  const width = image.pooled.length;
  const other = [...image.spatial, ...text].find((row) => row.length !== width);
  if (other) {
    throw new Error(
      `features have widths ${width} and ${other.length}: encode image and text with the same backbone`,
    );
  }
}
