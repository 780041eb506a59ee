// OpenAI's VisionTransformer with a feature for each patch (calip_core/backbones/dense.py, DenseViT).

import { add, layerNorm, linear, patches, rowsOf, transpose } from "./tensors.js";
import { block } from "./transformer.js";

/**
 * @param {Object<string, Float32Array>} tensors of the part, by OpenAI's names
 * @param {{resolution: number, embedDim: number, image: {patch: number, heads: number, layers: number}}}
 *   backbone
 * @returns {(pixels: Float32Array, tokens: string) => {pooled: Float32Array, spatial: Float32Array[]}} the
 *   tower: of 3 × resolution × resolution preprocessed pixels the features, not of unit length
 */
export function vitTower(tensors, { resolution, embedDim, image }) {
  const get = (name) => tensors[`visual.${name}`];
  const width = get("class_embedding").length;
  const form = { width, heads: image.heads };
  const tensorsOf = (i) => (name) => get(`transformer.resblocks.${i}.${name}`);
  const blocks = Array.from({ length: image.layers }, (_, i) => tensorsOf(i));
  const projection = transpose(get("proj"), embedDim);
  const project = (x) => {
    const normed = layerNorm(x, get("ln_post.weight"), get("ln_post.bias"));
    return rowsOf(linear(normed, projection, new Float32Array(embedDim)), embedDim);
  };
  return (pixels, tokens) => {
    let x = embedPatches(pixels, get, resolution, image.patch);
    for (const tensor of blocks.slice(0, -1)) x = block(x, tensor, form);
    const values = tokens === "value" && attentionValues(x, blocks.at(-1), width);
    const [pooled, ...joint] = project(block(x, blocks.at(-1), form));
    return { pooled, spatial: values ? project(values).slice(1) : joint };
  };
}

/** The class token and one token per patch, with their positions: rows × width. */
function embedPatches(pixels, get, resolution, patch) {
  const values = transpose(pixels, resolution * resolution);
  const form = { kernel: patch, stride: patch, padding: 0 };
  const cut = patches({ values, height: resolution, width: resolution }, form);
  const width = get("class_embedding").length;
  const embedded = linear(cut.values, get("conv1.weight"), new Float32Array(width));
  const x = new Float32Array(width + embedded.length);
  x.set(get("class_embedding"));
  x.set(embedded, width);
  return layerNorm(add(x, get("positional_embedding")), get("ln_pre.weight"), get("ln_pre.bias"));
}

/**
 * What the last attention gives for each token if every head attends to that token alone, without residual
 * and MLP (`attention_values` in dense.py).
 */
function attentionValues(x, tensor, width) {
  const normed = layerNorm(x, tensor("ln_1.weight"), tensor("ln_1.bias"));
  const weight = tensor("attn.in_proj_weight").subarray(2 * width * width);
  const values = linear(normed, weight, tensor("attn.in_proj_bias").subarray(2 * width));
  return linear(values, tensor("attn.out_proj.weight"), tensor("attn.out_proj.bias"));
}
