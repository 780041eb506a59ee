// OpenAI's VisionTransformer with a feature for each patch (calip_core/backbones/dense.py, DenseViT).

import { add, layerNorm, linear, patches, rowsOf, transpose } from "./tensors.js";
import { block } from "./transformer.js";

/**
 * @param {Object<string, Float32Array>} tensors of the part, by OpenAI's names
 * @param {{resolution: number, embedDim: number, image: {patch: number, heads: number, layers: number}}} backbone
 * @returns {(pixels: Float32Array, tokens: "joint"|"value") => {pooled: Float32Array, spatial: Float32Array[]}} the
 *   tower: of 3 × resolution × resolution preprocessed pixels the features, not of unit length
 */
export function vitTower(tensors, { resolution, embedDim, image }) {
  const get = (name) => tensors[`visual.${name}`];
  const width = get("class_embedding").length;
  const form = { width, heads: image.heads };
  const projection = transpose(get("proj"), embedDim);
  const project = (x) => {
    const normed = layerNorm(x, get("ln_post.weight"), get("ln_post.bias"));
    return rowsOf(linear(normed, projection, new Float32Array(embedDim)), embedDim);
  };
  return (pixels, tokens) => {
    let x = embedPatches(pixels, get, resolution, image.patch);
    let beforeLast;
    for (let i = 0; i < image.layers; i += 1) {
      beforeLast = x.slice();
      x = block(x, (name) => get(`transformer.resblocks.${i}.${name}`), form);
    }
    const [pooled, ...joint] = project(x);
    if (tokens === "joint") return { pooled, spatial: joint };
    const values = attentionValues(beforeLast, (name) => get(`transformer.resblocks.${image.layers - 1}.${name}`), width);
    return { pooled, spatial: project(values).slice(1) };
  };
}

/** The class token and one token per patch, with their positions: rows × width. */
function embedPatches(pixels, get, resolution, patch) {
  const picture = { values: transpose(pixels, resolution * resolution), height: resolution, width: resolution };
  const cut = patches(picture, { kernel: patch, stride: patch, padding: 0 });
  const width = get("class_embedding").length;
  const embedded = linear(cut.values, get("conv1.weight"), new Float32Array(width));
  const x = new Float32Array(width + embedded.length);
  x.set(get("class_embedding"));
  x.set(embedded, width);
  return layerNorm(add(x, get("positional_embedding")), get("ln_pre.weight"), get("ln_pre.bias"));
}

/**
 * What the last attention gives for each token if every head attends to that token alone; no residual, no MLP.
 * (`attention_values` in dense.py.)
 */
function attentionValues(x, tensor, width) {
  const normed = layerNorm(x, tensor("ln_1.weight"), tensor("ln_1.bias"));
  const weight = tensor("attn.in_proj_weight").subarray(2 * width * width);
  const values = linear(normed, weight, tensor("attn.in_proj_bias").subarray(2 * width));
  return linear(values, tensor("attn.out_proj.weight"), tensor("attn.out_proj.bias"));
}
