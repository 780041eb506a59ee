// Weights as they arrive: numbers in half precision (IEEE 754 binary16), the lower byte first, in base64.

/**
 * @param {string} text base64
 * @returns {Uint8Array}
 */
export function decodeBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/**
 * The number that 16 bits stand for: sign, 5 bits of exponent, 10 bits of fraction.
 *
 * @param {number} bits from 0 to 65535
 * @returns {number}
 */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** `fromHalf` of every 16 bits: decoding a million numbers by looking them up takes a few milliseconds. */
function halfTable() {
  return Float32Array.from({ length: 65536 }, (_, bits) => fromHalf(bits));
}

/**
 * The tensors of one part of the weights.
 *
 * @param {string[]} chunks base64, in order; each holds whole numbers
 * @param {{bytes: number, tensors: Object<string, {shape: number[], offset: number}>}} part its manifest;
 *   offsets count numbers
 * @returns {Object<string, Float32Array>} by name, rows one after another
 */
export function decodeTensors(chunks, { bytes, tensors }) {
  const table = halfTable();
  const numbers = new Float32Array(bytes / 2);
  let filled = 0;
  for (const chunk of chunks) {
    const data = decodeBase64(chunk);
    for (let i = 0; i < data.length; i += 2) numbers[filled++] = table[data[i] | (data[i + 1] << 8)];
  }
  if (filled !== numbers.length) {
    throw new Error(`the weights hold ${filled} numbers, expected ${numbers.length}`);
  }
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, offset }]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [name, numbers.subarray(offset, offset + size)];
    }),
  );
}
