// What the networks are made of. A matrix is one Float32Array, row after row; each row is a token, or a place of
// a picture. Sums are taken in double precision.

/**
 * W x + b for each row x: torch.nn.Linear. The number of rows and both widths follow from the lengths.
 *
 * Four outputs at a time share each number that is read of x.
 *
 * @param {Float32Array} x rows × inputs
 * @param {Float32Array} weight outputs × inputs
 * @param {Float32Array} bias outputs
 * @returns {Float32Array} rows × outputs
 */
export function linear(x, weight, bias) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  const y = new Float32Array((x.length / inputs) * outputs);
  const blocks = outputs - (outputs % 4);
  for (let j = 0; j < blocks; j += 4) fourOutputs(x, weight, bias, y, j);
  for (let j = blocks; j < outputs; j += 1) oneOutput(x, weight, bias, y, j);
  return y;
}

function fourOutputs(x, weight, bias, y, j) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  const [first, second, third, fourth] = [0, 1, 2, 3].map((k) => (j + k) * inputs);
  for (let start = 0, place = j; start < x.length; start += inputs, place += outputs) {
    let a = bias[j];
    let b = bias[j + 1];
    let c = bias[j + 2];
    let d = bias[j + 3];
    for (let i = 0; i < inputs; i += 1) {
      const value = x[start + i];
      a += value * weight[first + i];
      b += value * weight[second + i];
      c += value * weight[third + i];
      d += value * weight[fourth + i];
    }
    y[place] = a;
    y[place + 1] = b;
    y[place + 2] = c;
    y[place + 3] = d;
  }
}

function oneOutput(x, weight, bias, y, j) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  for (let start = 0, place = j; start < x.length; start += inputs, place += outputs) {
    let sum = bias[j];
    for (let i = 0; i < inputs; i += 1) sum += x[start + i] * weight[j * inputs + i];
    y[place] = sum;
  }
}

/**
 * A matrix with rows and columns exchanged.
 *
 * @param {Float32Array} matrix rows × columns
 * @param {number} columns
 * @returns {Float32Array} columns × rows
 */
export function transpose(matrix, columns) {
  const rows = matrix.length / columns;
  const result = new Float32Array(matrix.length);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) result[j * rows + i] = matrix[i * columns + j];
  }
  return result;
}

/**
 * The square patches of a picture that a convolution multiplies with its kernels ("im2col"): a convolution is
 * `linear(patches(...), weight, bias)` with torch's weight as it is. Places outside the picture count as 0.
 *
 * @param {{values: Float32Array, height: number, width: number}} map values: places × channels, row by row
 * @param {{kernel: number, stride: number, padding: number}} form
 * @returns {{values: Float32Array, height: number, width: number}} places × (channels × kernel × kernel)
 */
export function patches(map, { kernel, stride, padding }) {
  const channels = map.values.length / (map.height * map.width);
  const height = Math.floor((map.height + 2 * padding - kernel) / stride) + 1;
  const width = Math.floor((map.width + 2 * padding - kernel) / stride) + 1;
  const values = new Float32Array(height * width * channels * kernel * kernel);
  let start = 0;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      copyPatch(map, channels, row * stride - padding, column * stride - padding, kernel, values, start);
      start += channels * kernel * kernel;
    }
  }
  return { values, height, width };
}

/** Copies the patch whose first place is (top, left), channel by channel, to `target` from `start` on. */
function copyPatch(map, channels, top, left, kernel, target, start) {
  for (let i = 0; i < kernel; i += 1) {
    const row = top + i;
    if (row < 0 || row >= map.height) continue;
    for (let j = 0; j < kernel; j += 1) {
      const column = left + j;
      if (column < 0 || column >= map.width) continue;
      const source = (row * map.width + column) * channels;
      const place = start + i * kernel + j;
      for (let c = 0; c < channels; c += 1) target[place + c * kernel * kernel] = map.values[source + c];
    }
  }
}

/**
 * Means over 2 × 2 places: torch.nn.AvgPool2d(2).
 *
 * @param {{values: Float32Array, height: number, width: number}} map places × channels
 * @returns {{values: Float32Array, height: number, width: number}}
 */
export function averagePool(map) {
  const channels = map.values.length / (map.height * map.width);
  const height = map.height >> 1;
  const width = map.width >> 1;
  const values = new Float32Array(height * width * channels);
  for (let place = 0; place < height * width; place += 1) {
    const corner = 2 * (Math.floor(place / width) * map.width + (place % width)) * channels;
    const below = corner + map.width * channels;
    for (let c = 0; c < channels; c += 1) {
      const above = map.values[corner + c] + map.values[corner + channels + c];
      values[place * channels + c] = (above + map.values[below + c] + map.values[below + channels + c]) / 4;
    }
  }
  return { values, height, width };
}

/**
 * The mean of the rows.
 *
 * @param {Float32Array} x rows × width
 * @param {number} width
 * @returns {Float32Array} width
 */
export function meanOfRows(x, width) {
  const sums = new Float64Array(width);
  for (let i = 0; i < x.length; i += 1) sums[i % width] += x[i];
  return Float32Array.from(sums, (sum) => (sum * width) / x.length);
}

/**
 * Each row with mean 0 and variance 1, times weight, plus bias: torch.nn.LayerNorm.
 *
 * @param {Float32Array} x rows × width
 * @param {Float32Array} weight width
 * @param {Float32Array} bias width
 * @returns {Float32Array}
 */
export function layerNorm(x, weight, bias) {
  const width = weight.length;
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let mean = 0;
    for (let i = 0; i < width; i += 1) mean += x[start + i] / width;
    let variance = 0;
    for (let i = 0; i < width; i += 1) variance += (x[start + i] - mean) ** 2 / width;
    const factor = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < width; i += 1) y[start + i] = (x[start + i] - mean) * factor * weight[i] + bias[i];
  }
  return y;
}

/**
 * x sigmoid(1.702 x), OpenAI's approximation of the GELU.
 *
 * @param {Float32Array} x
 * @returns {Float32Array} x itself
 */
export function quickGelu(x) {
  for (let i = 0; i < x.length; i += 1) x[i] /= 1 + Math.exp(-1.702 * x[i]);
  return x;
}

/**
 * max(x, 0).
 *
 * @param {Float32Array} x
 * @returns {Float32Array} x itself
 */
export function relu(x) {
  for (let i = 0; i < x.length; i += 1) if (x[i] < 0) x[i] = 0;
  return x;
}

/**
 * x + y.
 *
 * @param {Float32Array} x
 * @param {Float32Array} y as long as x
 * @returns {Float32Array} x itself
 */
export function add(x, y) {
  for (let i = 0; i < x.length; i += 1) x[i] += y[i];
  return x;
}

/**
 * exp(x) divided by its sum.
 *
 * @param {Float32Array|Float64Array} x
 * @returns {Float32Array|Float64Array} of the same kind
 */
export function softmax(x) {
  const largest = x.reduce((a, b) => Math.max(a, b), -Infinity);
  const y = x.map((value) => Math.exp(value - largest));
  const sum = y.reduce((a, b) => a + b, 0);
  return y.map((value) => value / sum);
}

/**
 * A scalar product.
 *
 * @param {Float32Array} x
 * @param {Float32Array} y as long as x
 * @returns {number}
 */
export function dot(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i += 1) sum += x[i] * y[i];
  return sum;
}

/**
 * A vector's direction: x / |x|.
 *
 * @param {Float32Array} x
 * @returns {Float32Array}
 */
export function unit(x) {
  const length = Math.max(Math.sqrt(dot(x, x)), 1e-12); // torch's normalize has the same smallest length
  return x.map((value) => value / length);
}

/**
 * The rows of a matrix, each an array of its own.
 *
 * @param {Float32Array} matrix rows × width
 * @param {number} width
 * @returns {Float32Array[]}
 */
export function rowsOf(matrix, width) {
  return Array.from({ length: matrix.length / width }, (_, i) => matrix.slice(i * width, (i + 1) * width));
}
