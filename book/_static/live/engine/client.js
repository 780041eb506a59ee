// The engine as a page uses it: loads each part of the weights when it is first needed, and asks the worker.

import { createLoader } from "./weights.js";
import { createEncoder } from "./worker.js";

const TOKENS = ["joint", "value"];

/**
 * @param {string} base address of the folder of `weights/`, with its last slash
 * @param {string} source an expression whose value is all modules, for the worker
 * @returns {{encodeText: Function, encodeImage: Function, unseenWords: Function, backbone: Function, onProgress: Function}}
 *   the functions below
 */
export function createEngine(base, source) {
  const loader = createLoader(`${base}weights/`);
  const loads = new Map(); // part -> {characters, total, done: promise}
  const listeners = new Set();
  let service;

  /**
   * Features of texts, exactly as they are given: no template is put around them.
   *
   * @param {string[]} words at least one text
   * @param {"mini-rn"|"mini-vit"} backbone
   * @returns {Promise<Float32Array[]>} rows of unit length
   */
  async function encodeText(words, backbone) {
    if (!Array.isArray(words) || words.length === 0 || !words.every((text) => typeof text === "string")) {
      throw new Error(`words is ${JSON.stringify(words)}, expected a list of at least one text`);
    }
    const { text } = await settings(backbone);
    return ask([text.part, "vocabulary"], "encodeText", words, backbone);
  }

  /**
   * Features of a picture of any size.
   *
   * @param {ImageData|CanvasImageSource|{pixels: Float32Array}} image pixels, a canvas, a bitmap or a picture of the
   *   page; or `pixels`, the encoder's input itself, 3 × resolution × resolution, which is not preprocessed
   * @param {"mini-rn"|"mini-vit"} backbone
   * @param {"joint"|"value"} tokens what CLIP answers at each place, or what each place contributes
   * @returns {Promise<{pooled: Float32Array, spatial: Float32Array[], grid: number[]}>} of unit length; spatial row by
   *   row of the grid of [rows, columns]
   */
  async function encodeImage(image, backbone, tokens) {
    if (!TOKENS.includes(tokens)) throw new Error(`tokens is ${tokens}, expected one of ${TOKENS.join(", ")}`);
    const picture = image?.pixels ? image : pixelsOf(image);
    const { image: tower } = await settings(backbone);
    return ask([tower.part], "encodeImage", picture, backbone, tokens);
  }

  /**
   * The words of a text that no caption of training held.
   *
   * @param {string} text
   * @returns {Promise<string[]>}
   */
  function unseenWords(text) {
    return ask(["vocabulary"], "unseenWords", text);
  }

  /**
   * What is known of a backbone without its weights.
   *
   * @param {"mini-rn"|"mini-vit"} name
   * @returns {Promise<{logitScale: number, resolution: number, grid: number[], contextLength: number}>}
   */
  async function settings(name) {
    const { backbones } = await loader.manifest();
    if (!(name in backbones)) {
      throw new Error(`backbone is ${name}, expected one of ${Object.keys(backbones).join(", ")}`);
    }
    return backbones[name];
  }

  /**
   * @param {(share: number, arrived: number, total: number) => void} listener told how much has arrived of the weights
   *   that are being loaded: a share from 0 to 1, and bytes
   * @returns {() => void} ends that
   */
  function onProgress(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  async function ask(parts, call, ...given) {
    const manifest = await loader.manifest();
    service ??= startService(source, manifest);
    const send = await service;
    await Promise.all(parts.map((name) => provide(name, manifest.parts[name], send)));
    return send(call, ...given);
  }

  /** Hands a part to the networks, once. A part that cannot be loaded is tried again at the next call. */
  function provide(name, entry, send) {
    if (!loads.has(name)) {
      const load = { arrived: 0, total: entry.characters };
      load.done = loader
        .part(name, entry, (arrived) => report(load, arrived))
        .then((chunks) => send("addPart", name, chunks))
        .catch((error) => {
          loads.delete(name);
          throw error;
        });
      loads.set(name, load);
    }
    return loads.get(name).done;
  }

  function report(load, arrived) {
    load.arrived = arrived;
    const sum = (key) => [...loads.values()].reduce((total, other) => total + other[key], 0);
    for (const listener of listeners) listener(sum("arrived") / sum("total"), sum("arrived"), sum("total"));
  }

  return { encodeText, encodeImage, unseenWords, backbone: settings, onProgress };
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
  const pending = [];
  worker.onmessage = ({ data: { id, result, error } }) => {
    if (error === undefined) pending[id].resolve(result);
    else pending[id].reject(new Error(error));
    delete pending[id];
  };
  worker.onerror = (event) => {
    event.preventDefault();
    pending.forEach(({ reject }) => reject(new Error(`the worker stopped: ${event.message}`)));
  };
  return (call, ...given) =>
    new Promise((resolve, reject) => {
      const id = pending.push({ resolve, reject }) - 1;
      worker.postMessage({ id, call, given });
    });
}

/** The pixels of whatever a page can draw: red, green, blue and opacity of each, row by row. */
function pixelsOf(image) {
  if (image instanceof ImageData) return { data: image.data, width: image.width, height: image.height };
  const canvas = document.createElement("canvas");
  canvas.width = image?.naturalWidth ?? image?.width ?? 0;
  canvas.height = image?.naturalHeight ?? image?.height ?? 0;
  if (!(canvas.width > 0 && canvas.height > 0)) {
    throw new Error(`image is ${image}, expected ImageData, a canvas, a bitmap or a picture that has been loaded`);
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return pixelsOf(context.getImageData(0, 0, canvas.width, canvas.height));
}
