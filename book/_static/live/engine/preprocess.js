/**
 * CLIP's preprocessing: resize with bicubic interpolation, crop the middle, standardise.
 *
 * Bit by bit the same as `_transform` of clip/clip.py, the miniatures' `preprocess`, for a Pillow image in
 * RGB. Alpha is dropped, as Pillow's `convert("RGB")` does.
 *
 * A canvas does not keep all that Pillow reads from a file: it applies the camera's orientation and colour
 * profiles, has 8 bits a channel, and loses colours where they are transparent, for it stores them multiplied
 * by their opacity.
 */

/** Means and standard deviations of red, green and blue, from 0 to 1 (calip_core/preprocessing.py). */
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

/** Pillow weighs 8-bit values by integers: weights times 2 to the power of 22 (src/libImaging/Resample.c). */
const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

/**
 * A picture as the image encoder reads it.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture - RGBA, such as an
 *   ImageData.
 * @param {number} resolution - r, the height and width of the encoder's input in pixels.
 * @returns {Float32Array} 3 x r x r: planes of red, green and blue, each value (v / 255 - mean) / std.
 */
export function preprocess(picture, resolution) {
  const { data } = resizeAndCrop(picture, resolution);
  const size = resolution * resolution;
  const planes = new Float32Array(3 * size);
  for (let channel = 0; channel < 3; channel++) {
    const standardised = standardisedBytes(Math.fround(MEAN[channel]), Math.fround(STD[channel]));
    for (let i = 0; i < size; i++) {
      planes[channel * size + i] = standardised[data[4 * i + channel]];
    }
  }
  return planes;
}

/** What each of the 256 values becomes, rounded to single precision after every step as PyTorch does. */
function standardisedBytes(mean, std) {
  return Float32Array.from({ length: 256 }, (_, byte) => Math.fround(Math.fround(byte / 255) - mean) / std);
}

/**
 * What the model sees: the shorter side resized to r, and the middle r x r of that.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture - RGBA, as for `preprocess`.
 * @param {number} resolution - r, in pixels.
 * @returns {{data: Uint8ClampedArray, width: number, height: number}} RGBA, opaque, r x r.
 */
export function resizeAndCrop(picture, resolution) {
  const { width, height } = picture;
  const shorter = Math.min(width, height);
  const resizedWidth = Math.floor((resolution * width) / shorter);
  const resizedHeight = Math.floor((resolution * height) / shorter);
  const across = middle(width, resizedWidth, resolution);
  const down = middle(height, resizedHeight, resolution);
  // The order matters, for the picture between the two passes has 8 bits. This rule is Pillow 13's.
  const columnsFirst = height - resizedHeight > Math.max(0, 2 * (width - resizedWidth));
  return columnsFirst
    ? resizeRows(resizeColumns(picture, down), across)
    : resizeColumns(resizeRows(picture, across), down);
}

function resizeRows({ data, width, height }, filters) {
  const resized = new Uint8ClampedArray(4 * filters.length * height).fill(255);
  for (let row = 0; row < height; row++) {
    weigh(data, 4 * width * row, 4, filters, resized, 4 * filters.length * row, 4);
  }
  return { data: resized, width: filters.length, height };
}

function resizeColumns({ data, width }, filters) {
  const resized = new Uint8ClampedArray(4 * width * filters.length).fill(255);
  for (let column = 0; column < width; column++) {
    weigh(data, 4 * column, 4 * width, filters, resized, 4 * column, 4 * width);
  }
  return { data: resized, width, height: filters.length };
}

/** The filters of the middle `count` of `resized` places; torchvision rounds a half to the even number. */
function middle(size, resized, count) {
  const start = roundHalfToEven((resized - count) / 2);
  return Array.from({ length: count }, (_, i) => placeFilter(size, resized, start + i));
}

/** Of whole numbers and halves. */
function roundHalfToEven(value) {
  const below = Math.floor(value);
  return value === below ? value : below + (below % 2);
}

/**
 * The pixels that one place of a resized row reads, and their integer weights (`precompute_coeffs`,
 * `normalize_coeffs_8bpc`). Where a row shrinks, the filter widens by the same factor.
 */
function placeFilter(size, resized, place) {
  const scale = size / resized;
  const stretch = Math.max(scale, 1);
  const centre = (place + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - 2 * stretch + 0.5));
  const end = Math.min(size, Math.trunc(centre + 2 * stretch + 0.5));
  const weights = Float64Array.from({ length: end - first }, (_, i) =>
    bicubic((i + first - centre + 0.5) * (1 / stretch)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const whole = Int32Array.from(weights, (weight) => {
    const scaled = (weight / sum) * (1 << PRECISION_BITS);
    return Math.trunc(scaled + (weight / sum < 0 ? -0.5 : 0.5));
  });
  return { first, weights: whole };
}

/** Keys' cubic convolution with a = -1/2. */
function bicubic(distance) {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) {
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  }
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Apply filters to the RGB of one row or column of `source`, whose pixels lie `step` apart. */
function weigh(source, start, step, filters, target, targetStart, targetStep) {
  for (let place = 0; place < filters.length; place++) {
    const { first, weights } = filters[place];
    let red = HALF;
    let green = HALF;
    let blue = HALF;
    for (let i = 0, at = start + first * step; i < weights.length; i++, at += step) {
      red += source[at] * weights[i];
      green += source[at + 1] * weights[i];
      blue += source[at + 2] * weights[i];
    }
    const to = targetStart + place * targetStep;
    target[to] = red >> PRECISION_BITS; // a Uint8ClampedArray clips
    target[to + 1] = green >> PRECISION_BITS;
    target[to + 2] = blue >> PRECISION_BITS;
  }
}
