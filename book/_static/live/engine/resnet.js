// OpenAI's ModifiedResNet with a feature for each place (calip_core/backbones/dense.py, DenseResNet).

import { add, averagePool, linear, meanOfRows, patches, relu, rowsOf, transpose } from "./tensors.js";
import { attend } from "./transformer.js";

/**
 * @param {Object<string, Float32Array>} tensors of the part, by OpenAI's names
 * @param {{resolution: number, embedDim: number, image: {heads: number, layers: number[]}}} backbone
 * @returns {(pixels: Float32Array, tokens: string) => {pooled: Float32Array, spatial: Float32Array[]}} the
 *   tower: of 3 × resolution × resolution preprocessed pixels the features, not of unit length
 */
export function resnetTower(tensors, { resolution, embedDim, image }) {
  const stem = [2, 1, 1].map((stride, i) =>
    convolution(tensors, `visual.conv${i + 1}`, `visual.bn${i + 1}`, stride),
  );
  const stages = image.layers.flatMap((blocks, stage) =>
    Array.from({ length: blocks }, (_, i) =>
      bottleneck(tensors, `visual.layer${stage + 1}.${i}`, stage > 0 && i === 0),
    ),
  );
  const pool = attentionPool(tensors, image.heads, embedDim);
  return (pixels, tokens) => {
    let map = { values: transpose(pixels, resolution * resolution), height: resolution, width: resolution };
    for (const layer of stem) map = activated(layer(map));
    map = averagePool(map);
    for (const layer of stages) map = layer(map);
    return pool(map, tokens);
  };
}

/**
 * A convolution without bias and the batch norm behind it, as the one convolution that does both.
 *
 * The norm is γ (x − μ) / √(σ² + ε) + β: the kernels are multiplied by γ / √(σ² + ε), and the rest is a bias.
 */
function convolution(tensors, name, norm, stride = 1) {
  const ofNorm = (part) => tensors[`${norm}.${part}`];
  const [gamma, beta] = [ofNorm("weight"), ofNorm("bias")];
  const [mean, variance] = [ofNorm("running_mean"), ofNorm("running_var")];
  const factors = gamma.map((value, i) => value / Math.sqrt(variance[i] + 1e-5));
  const kernels = tensors[`${name}.weight`];
  const inputs = kernels.length / gamma.length; // channels × kernel × kernel
  const weight = kernels.map((value, i) => value * factors[Math.floor(i / inputs)]);
  const bias = beta.map((value, i) => value - mean[i] * factors[i]);
  return (map) => {
    const kernel = Math.sqrt((inputs * map.height * map.width) / map.values.length);
    const form = { kernel, stride, padding: (kernel - 1) / 2 };
    const { values, height, width } = kernel === 1 ? map : patches(map, form);
    return { values: linear(values, weight, bias), height, width };
  };
}

/** A bottleneck. Instead of striding, CLIP averages 2 × 2 places before the last convolution and the shortcut. */
function bottleneck(tensors, name, strides) {
  const part = (convolved, normed) => convolution(tensors, `${name}.${convolved}`, `${name}.${normed}`);
  const same = (map) => map;
  const [first, second, third] = [part("conv1", "bn1"), part("conv2", "bn2"), part("conv3", "bn3")];
  const pooled = strides ? averagePool : same;
  const hasShortcut = `${name}.downsample.0.weight` in tensors;
  const shortcut = hasShortcut ? part("downsample.0", "downsample.1") : same;
  return (map) => {
    const result = third(pooled(activated(second(activated(first(map))))));
    add(result.values, shortcut(pooled(map)).values);
    return activated(result);
  };
}

function activated(map) {
  relu(map.values);
  return map;
}

/**
 * CLIP's attention pool with the output of every query (joint tokens), or with what each place gives if every
 * head attends to it alone (value tokens).
 */
function attentionPool(tensors, heads, embedDim) {
  const get = (name) => tensors[`visual.attnpool.${name}`];
  const project = (x, name) => linear(x, get(`${name}.weight`), get(`${name}.bias`));
  return ({ values }, tokens) => {
    const width = get("k_proj.bias").length;
    const x = new Float32Array(width + values.length);
    x.set(meanOfRows(values, width));
    x.set(values, width);
    add(x, get("positional_embedding"));
    const [query, key, value] = ["q_proj", "k_proj", "v_proj"].map((name) => project(x, name));
    const attended = attend(sideBySide([query, key, value], width), { width, heads });
    const [pooled, ...joint] = rowsOf(project(attended, "c_proj"), embedDim);
    if (tokens === "joint") return { pooled, spatial: joint };
    return { pooled, spatial: rowsOf(project(value, "c_proj"), embedDim).slice(1) };
  };
}

/** Matrices of equal size, side by side. */
function sideBySide(matrices, width) {
  const rows = matrices[0].length / width;
  const result = new Float32Array(rows * width * matrices.length);
  for (let row = 0; row < rows; row += 1) {
    matrices.forEach((matrix, i) => {
      result.set(matrix.subarray(row * width, (row + 1) * width), (row * matrices.length + i) * width);
    });
  }
  return result;
}
