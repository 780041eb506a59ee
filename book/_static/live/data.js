// What panels show without the networks: small scripts that `make book` writes, each of them loaded when it is needed.

const asked = new Map();

/**
 * Loads data/NAME.js, which calls calipData(NAME, value), once.
 *
 * @param {string} folder address of the folder of the scripts, with its last slash
 * @param {string} name
 * @returns {Promise<any>} the value; wherever it holds {float, shape}, that became Float32Arrays (see `unpacked`)
 */
export function loadData(folder, name) {
  if (!asked.has(name)) asked.set(name, load(folder, name));
  return asked.get(name);
}

function load(folder, name) {
  return new Promise((resolve, reject) => {
    window.calipData ??= (given, value) => window.calipData.waiting[given](value);
    (window.calipData.waiting ??= {})[name] = (value) => resolve(unpacked(value));
    const script = document.createElement("script");
    script.src = `${folder}${name}.js`;
    script.onerror = () => reject(new Error(`${script.src} is missing: run make book`));
    document.head.append(script);
  });
}

/**
 * The value with every {float: base64 of little-endian float32, shape} replaced: one axis by a Float32Array, more axes
 * by nested arrays of them.
 */
export function unpacked(value) {
  if (Array.isArray(value)) return value.map(unpacked);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.float === "string") return shaped(decoded(value.float), value.shape);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unpacked(part)]));
}

function decoded(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);
}

function shaped(values, shape) {
  if (shape.length < 2) return values;
  const step = values.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => shaped(values.subarray(i * step, (i + 1) * step), shape.slice(1)));
}
