// Loads the weights, which make book writes as classic scripts: <script> works from file://, fetch does not.

/**
 * @param {string} folder address of the scripts' folder, with its last slash
 * @returns {{manifest: () => Promise<Object>, part: Function}} `manifest` gives the description of all parts
 *   (book/tools/live_weights.py), which is loaded once; `part` is `loadPart`
 */
export function createLoader(folder) {
  const chunks = new Map();
  let manifest;
  window.calipChunk = (name, number, text) => chunks.set(`${name}-${number}`, text);
  return { manifest: () => (manifest ??= loadManifest()), part: loadPart };

  async function loadManifest() {
    let given;
    window.calipManifest = (value) => (given = value);
    try {
      await loadScript(`${folder}manifest.js`);
    } catch (error) {
      manifest = undefined; // the next caller tries again
      throw error;
    }
    return given;
  }

  /**
   * @param {string} name of the part
   * @param {{chunks: number}} entry the manifest's
   * @param {(characters: number) => void} onProgress told how much of the part has arrived, after each chunk
   * @returns {Promise<string[]>} the part's chunks
   */
  async function loadPart(name, entry, onProgress) {
    const texts = [];
    let characters = 0;
    for (let number = 0; number < entry.chunks; number += 1) {
      const key = `${name}-${number}`;
      await loadScript(`${folder}${key}.js`);
      if (!chunks.has(key)) throw new Error(`${folder}${key}.js holds no weights: run make book again`);
      texts.push(chunks.get(key));
      chunks.delete(key);
      onProgress((characters += texts[number].length));
    }
    return texts;
  }
}

function loadScript(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(script.remove());
    script.onerror = () => {
      script.remove();
      reject(new Error(`${address} cannot be loaded: run make book, which writes it`));
    };
    document.head.append(script);
  });
}
