// The engine as a page uses it: loads each part of the weights when it is first needed, and asks the worker.

import { createLoader } from "./weights.js";
import { createEncoder } from "./worker.js";

const TOKENS = ["joint", "value"];

/**
 * @param {string} base address of the folder of `weights/`, with its last slash
 * @param {string} source an expression whose value is all modules, for the worker
 * @returns {{encodeText: Function, encodeImage: Function, seenImage: Function, unseenWords: Function,
 *   backbone: Function, onProgress: Function}} the functions below
 */
export function createEngine(base, source) {
  const loader = createLoader(`${base}weights/`);
  const progress = createProgress();
  const ask = createCaller(loader, progress, source);

  /**
   * Features of texts, exactly as they are given: no template is put around them.
   *
   * @param {string[]} words at least one text
   * @param {"mini-rn"|"mini-vit"} name of the backbone
   * @returns {Promise<Float32Array[]>} rows of unit length
   */
  async function encodeText(words, name) {
    if (!Array.isArray(words) || words.length === 0 || !words.every((text) => typeof text === "string")) {
      throw new Error(`words is ${JSON.stringify(words)}, expected a list of at least one text`);
    }
    const { text } = await backbone(name);
    return ask([text.part, "vocabulary"], "encodeText", words, name);
  }

  /**
   * Features of a picture of any size.
   *
   * @param {ImageData|CanvasImageSource|{pixels: Float32Array}} image pixels, a canvas, a bitmap or a picture
   *   of the page; or as `pixels` the encoder's own input, 3 × resolution × resolution, for depth maps
   * @param {"mini-rn"|"mini-vit"} name of the backbone
   * @param {"joint"|"value"} tokens what CLIP answers at each place, or what each place contributes
   * @returns {Promise<{pooled: Float32Array, spatial: Float32Array[], grid: number[]}>} of unit length;
   *   spatial row by row of the grid of [rows, columns]
   */
  async function encodeImage(image, name, tokens) {
    if (!TOKENS.includes(tokens)) throw new Error(`tokens is ${tokens}, expected ${TOKENS.join(" or ")}`);
    const picture = image?.pixels ? image : pixelsOf(image);
    const { image: tower } = await backbone(name);
    return ask([tower.part], "encodeImage", picture, name, tokens);
  }

  /**
   * What a backbone sees of a picture: resized and cropped. `encodeImage` gives the same features for either.
   *
   * @param {ImageData|CanvasImageSource} image as for `encodeImage`
   * @param {"mini-rn"|"mini-vit"} name of the backbone
   * @returns {Promise<ImageData>}
   */
  async function seenImage(image, name) {
    const picture = pixelsOf(image);
    await backbone(name);
    const { data, width, height } = await ask([], "seenImage", picture, name);
    return new ImageData(data, width, height);
  }

  /**
   * The words of a text that training never showed: those with a byte pair that no caption held.
   *
   * @param {string} text
   * @returns {Promise<string[]>}
   */
  async function unseenWords(text) {
    return ask(["vocabulary"], "unseenWords", text);
  }

  /**
   * What is known of a backbone without its weights.
   *
   * @param {"mini-rn"|"mini-vit"} name
   * @returns {Promise<{logitScale: number, resolution: number, grid: number[], contextLength: number}>}
   */
  async function backbone(name) {
    const { backbones } = await loader.manifest();
    if (Object.hasOwn(backbones, name)) return backbones[name];
    throw new Error(`backbone is ${name}, expected one of ${Object.keys(backbones).join(", ")}`);
  }

  return { encodeText, encodeImage, seenImage, unseenWords, backbone, onProgress: progress.listen };
}

/** A function that calls the networks after handing them the parts that the call needs, each part once. */
function createCaller(loader, progress, source) {
  const provided = new Map(); // part -> promise
  let service;

  async function provide(name, entry, send) {
    const bar = progress.begin(entry.characters);
    try {
      await send("addPart", name, await loader.part(name, entry, bar.set));
    } catch (error) {
      bar.cancel();
      provided.delete(name); // the next call tries again
      throw error;
    }
  }

  return async (parts, call, ...given) => {
    const manifest = await loader.manifest();
    const send = await (service ??= startService(source, manifest));
    for (const name of parts) {
      if (!provided.has(name)) provided.set(name, provide(name, manifest.parts[name], send));
    }
    await Promise.all(parts.map((name) => provided.get(name)));
    return send(call, ...given);
  };
}

/** How much has arrived of the parts that are being loaded, together. */
function createProgress() {
  const listeners = new Set();
  let parts = []; // {arrived, total}, until all have arrived

  function report() {
    const sum = (key) => parts.reduce((total, part) => total + part[key], 0);
    const [arrived, total] = [sum("arrived"), sum("total")];
    if (arrived === total) parts = [];
    for (const listener of listeners) listener(arrived / total, arrived, total);
  }

  function begin(total) {
    const part = { arrived: 0, total };
    parts.push(part);
    const set = (arrived) => {
      part.arrived = arrived;
      report();
    };
    return { set, cancel: () => (parts = parts.filter((other) => other !== part)) };
  }

  /**
   * @param {(share: number, arrived: number, total: number) => void} listener told a share from 0 to 1, and
   *   bytes
   * @returns {() => void} ends that
   */
  function listen(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  return { begin, listen };
}

/** A function that calls the networks: in a worker, or in the page where a worker does not start. */
async function startService(source, manifest) {
  try {
    const send = startWorker(source);
    await send("open", manifest);
    return send;
  } catch {
    const calls = createEncoder();
    calls.open(manifest);
    return async (call, ...given) => calls[call](...given);
  }
}

function startWorker(source) {
  const script = new Blob([`${source}["engine/worker.js"].serve();`], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(script));
  const pending = new Map(); // id -> {resolve, reject}
  let calls = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = pending.get(id);
    pending.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of pending.values()) reject(new Error(`the worker stopped: ${event.message}`));
    pending.clear();
  };
  return (call, ...given) =>
    new Promise((resolve, reject) => {
      calls += 1;
      pending.set(calls, { resolve, reject });
      worker.postMessage({ id: calls, call, given });
    });
}

/** The pixels of whatever a page can draw: red, green, blue and opacity of each, row by row. */
function pixelsOf(image) {
  if (image instanceof ImageData) return { data: image.data, width: image.width, height: image.height };
  const canvas = document.createElement("canvas");
  canvas.width = image?.naturalWidth ?? image?.width ?? 0;
  canvas.height = image?.naturalHeight ?? image?.height ?? 0;
  if (!(canvas.width > 0 && canvas.height > 0)) {
    throw new Error(`image is ${image}, expected ImageData, a canvas, a bitmap or a picture that is loaded`);
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return pixelsOf(context.getImageData(0, 0, canvas.width, canvas.height));
}
