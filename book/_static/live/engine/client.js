export function createEngine() {
  return { encodeText: null, encodeImage: null, onProgress: null };
}
