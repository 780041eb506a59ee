// Depth maps of a cloud of points (calip_core/pointclouds): PointCLIP's pinhole and PointCLIP V2's voxels.
//
// A point near the border of two pixels falls on one side or the other by the last digit of its coordinates.
// Each step is therefore rounded to single precision where PyTorch rounds it: `f` is that rounding.

const f = Math.fround;

/** The smallest depth behind the pinhole's plate, as published. */
const EPSILON = f(1e-12);

/**
 * Turns a cloud: first about the vertical axis y, then about the horizontal axis x.
 *
 * @param {Float32Array} points x, y, z of each point
 * @param {number} turn degrees; what is in front moves to the right
 * @param {number} tilt degrees; what is on top comes to the front
 * @returns {Float32Array} new points
 */
export function turned(points, turn, tilt) {
  const [alpha, beta] = [(turn * Math.PI) / 180, (tilt * Math.PI) / 180];
  const [cosine, sine] = [Math.cos(alpha), Math.sin(alpha)];
  const result = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const [x, y, z] = [points[i], points[i + 1], points[i + 2]];
    const depth = cosine * z - sine * x;
    result[i] = cosine * x + sine * z;
    result[i + 1] = Math.cos(beta) * y - Math.sin(beta) * depth;
    result[i + 2] = Math.sin(beta) * y + Math.cos(beta) * depth;
  }
  return result;
}

/**
 * One picture of a cloud: calip_core.pointclouds.depth_maps for one view.
 *
 * @param {Float32Array} points x, y, z of each point, in the unit sphere
 * @param {{turn: Float32Array[], tilt: Float32Array[]}} view two rotations, p' = tilt turn p: rows of 3
 * @param {{side: number, distance: number|null, voxels: Object|null}} set the view set: rows and columns of a
 *   map, and either the pinhole's distance or the grid of voxels (data/views/*.yaml)
 * @returns {Float32Array} the map, row by row: depths, 0 where there is no point; of voxels, values from 0 to 1
 */
export function depthMap(points, view, set) {
  if (set.voxels) return voxelMap(points, view, set.voxels, set.side);
  return pinholeMap(points, view, set.distance, set.side);
}

/** PointCLIP: a pixel holds the harmonic mean of its points' depths. */
function pinholeMap(points, { turn, tilt }, distance, side) {
  const place = rotated(points, product(tilt, turn));
  const counts = new Float32Array(side * side);
  const inverse = new Float32Array(side * side);
  for (let i = 0; i < place.length; i += 3) {
    const z = Math.max(EPSILON, f(place[i + 2] + f(distance)));
    const [row, column] = [place[i], place[i + 1]].map((x) => pixelOf(x, z, side));
    if (z === EPSILON || row < 0 || row >= side || column < 0 || column >= side) continue;
    counts[row * side + column] += 1;
    inverse[row * side + column] += f(1 / z);
  }
  return counts.map((count, pixel) => (count ? count / inverse[pixel] : 0));
}

/** u = (x/z + 1) side/2, then the nearest pixel, and the lower one of two equally near. */
function pixelOf(x, z, side) {
  return Math.ceil(f(f(f(f(x / z) + 1) * (side / 2)) - 0.5));
}

/** PointCLIP V2: voxels, a maximum over neighbours, a Gaussian, the largest value of each line of sight. */
function voxelMap(points, view, settings, side) {
  const { slices, pool, bright } = settings;
  const { grid, width } = voxelise(points, view, settings, side);
  const picture = new Float32Array(side * side);
  for (let slice = 0; slice < slices; slice += 1) {
    const layer = grid.subarray(slice * width * width, (slice + 1) * width * width);
    if (layer.every((depth) => depth === 0)) continue;
    const smooth = gaussian(largestOfWindows(layer, width, pool), side, settings.smooth, settings.sigma);
    smooth.forEach((value, pixel) => (picture[pixel] = Math.max(picture[pixel], value)));
  }
  const largest = picture.reduce((most, value) => Math.max(most, value));
  return picture.map((value) => (bright ? value / largest : 1 - f(value / largest)));
}

/** Depth of the nearest point in each voxel, or 0: slices × width × width; width has room for the windows. */
function voxelise(points, view, settings, side) {
  const { slices, pool, pool_padding: padding, depth_bias: bias } = settings;
  const rows = side + pool - 1 - 2 * padding;
  const width = rows + 2 * padding;
  const grid = new Float32Array(slices * width * width);
  const place = centred(points, view, settings);
  const share = (x) => f(f(x + 1) / 2); // of the way from −1 to 1
  const index = (x) => cut(Math.ceil(f(share(x) * rows)), 1, rows - 2) + padding;
  for (let i = 0; i < place.length; i += 3) {
    const depth = f(f(f(share(place[i + 2]) + f(bias)) / f(1 + bias)) * (slices - 2));
    const slice = cut(Math.ceil(depth), 0, slices - 1);
    const voxel = (slice * width + index(place[i])) * width + index(place[i + 1]);
    grid[voxel] = Math.max(grid[voxel], cut(depth, 1, slices - 2));
  }
  return { grid, width };
}

function cut(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

/** The cloud turned, its bounding box in the middle, its longest side from −1 to 1, in the picture ±`fill`. */
function centred(points, { turn, tilt }, { shift, fill }) {
  const place = rotated(rotated(points, turn), tilt).map((value, i) => f(value + f(shift[i % 3])));
  const axes = [0, 1, 2].map((axis) => place.filter((_, i) => i % 3 === axis));
  const ends = axes.map((values) => [Math.min(...values), Math.max(...values)]);
  const span = Math.max(...ends.map(([low, high]) => f(high - low))) || 1;
  const middle = ends.map(([low, high]) => f(f(high + low) / 2));
  return place.map((value, i) => {
    const scaled = f(f(f(value - middle[i % 3]) / span) * 2);
    return i % 3 < 2 ? f(scaled * f(fill)) : scaled;
  });
}

/** Largest value of each window of `window` × `window`; the layer shrinks by window − 1 on each axis. */
function largestOfWindows(layer, width, window) {
  return maximumDown(maximumDown(layer, width, window), width - window + 1, window);
}

/** Largest value of `window` rows below one another; transposed, so that doing it twice does both axes. */
function maximumDown(layer, width, window) {
  const rows = layer.length / width - window + 1;
  const result = new Float32Array(rows * width);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < width; column += 1) {
      let largest = 0;
      for (let at = row * width + column, k = 0; k < window; k += 1, at += width) {
        if (layer[at] > largest) largest = layer[at];
      }
      result[column * rows + row] = largest;
    }
  }
  return result;
}

/** Smoothed along both axes with a Gaussian cut to `window` and normalised; zeros beyond the borders. */
function gaussian(layer, side, window, sigma) {
  const reach = (window - 1) / 2;
  const bell = Array.from({ length: window }, (_, k) => Math.exp(-((k - reach) ** 2) / (2 * sigma ** 2)));
  const total = bell.reduce((sum, value) => sum + value, 0);
  const weights = bell.map((value) => f(value / total));
  return smoothedDown(smoothedDown(layer, side, weights), side, weights);
}

/** The weighted sum of rows below one another; transposed, as in `maximumDown`. */
function smoothedDown(layer, side, weights) {
  const reach = (weights.length - 1) / 2;
  const result = new Float32Array(layer.length);
  for (let row = 0; row < side; row += 1) {
    const [first, last] = [Math.max(0, reach - row), Math.min(weights.length, side + reach - row)];
    for (let column = 0; column < side; column += 1) {
      let sum = 0;
      for (let k = first; k < last; k += 1) sum += weights[k] * layer[(row + k - reach) * side + column];
      result[column * side + row] = sum;
    }
  }
  return result;
}

/** Rotated points; three products, each rounded, added one after the other. */
function rotated(points, [first, second, third]) {
  const result = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const [x, y, z] = [points[i], points[i + 1], points[i + 2]];
    [first, second, third].forEach((row, axis) => {
      result[i + axis] = f(f(row[0] * x) + f(row[1] * y)) + f(row[2] * z);
    });
  }
  return result;
}

/** The product of two matrices, in rows. */
function product(a, b) {
  const column = (j) => Float32Array.from(b, (row) => row[j]);
  const columns = [0, 1, 2].map((j) => rotated(column(j), a));
  return a.map((_, i) => Float32Array.from(columns, (values) => values[i]));
}

/**
 * What the image encoder takes: the map in three channels, resized bilinearly so that the corners stay
 * (calip_core.pointclouds.encoder_input).
 *
 * @param {Float32Array} map side × side
 * @param {number} resolution rows and columns of the encoder's input
 * @param {{mean: number[], std: number[]}|null} standard of photographs, per channel; null: do not standardise
 * @returns {Float32Array} 3 × resolution × resolution
 */
export function encoderInput(map, resolution, standard) {
  const sized = resized(map, Math.sqrt(map.length), resolution);
  const pixels = new Float32Array(3 * sized.length);
  for (let channel = 0; channel < 3; channel += 1) {
    const [mean, std] = standard ? [standard.mean[channel], standard.std[channel]] : [0, 1];
    pixels.set(sized.map((value) => (value - mean) / std), channel * sized.length);
  }
  return pixels;
}

function resized(map, side, resolution) {
  const result = new Float32Array(resolution * resolution);
  const step = f((side - 1) / (resolution - 1));
  for (let pixel = 0; pixel < result.length; pixel += 1) {
    const [y, x] = [Math.floor(pixel / resolution), pixel % resolution].map((place) => f(place * step));
    const [above, left] = [y, x].map((position) => Math.min(side - 2, Math.floor(position)));
    const corner = above * side + left;
    const [down, right] = [y - above, x - left];
    const upper = map[corner] * (1 - right) + map[corner + 1] * right;
    const lower = map[corner + side] * (1 - right) + map[corner + side + 1] * right;
    result[pixel] = upper * (1 - down) + lower * down;
  }
  return result;
}
