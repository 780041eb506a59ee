// The convex polygon of CALIP's two weights in which a class wins one image (calip_core/blend/polygon.py).

/**
 * The pairs (β₂, β₃) in a rectangle at which `label` wins: over every other class, its leads in the three terms
 * obey d_clip + β₂ d_text + β₃ d_visual ≥ 0. So each class cuts the rectangle along a line.
 *
 * @param {{clip: Float32Array, textAttended: Float32Array, visualAttended: Float32Array}} logits K each
 * @param {number} label
 * @param {number[]} beta2 smallest and largest β₂
 * @param {number[]} beta3 smallest and largest β₃
 * @returns {number[][]} the corners [β₂, β₃] in order; none if the label never wins
 */
export function winningPolygon({ clip, textAttended, visualAttended }, label, beta2, beta3) {
  let corners = [
    [beta2[0], beta3[0]],
    [beta2[1], beta3[0]],
    [beta2[1], beta3[1]],
    [beta2[0], beta3[1]],
  ];
  for (let k = 0; k < clip.length; k += 1) {
    if (k === label) continue;
    const [offset, text, visual] = [clip, textAttended, visualAttended].map((term) => term[label] - term[k]);
    corners = cut(corners, corners.map(([x, y]) => offset + text * x + visual * y));
  }
  return corners;
}

/**
 * The area of a polygon (the shoelace formula).
 *
 * @param {number[][]} corners in order
 * @returns {number}
 */
export function area(corners) {
  const twice = corners.map(([x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % corners.length];
    return x * nextY - nextX * y;
  });
  return Math.abs(twice.reduce((sum, part) => sum + part, 0)) / 2;
}

/** The part of a convex polygon in which a linear function, given at its corners, is not negative. */
function cut(corners, lead) {
  const kept = [];
  corners.forEach((corner, i) => {
    const before = (i || corners.length) - 1;
    const [here, there] = [lead[before], lead[i]];
    if (here * there < 0) {
      const step = here / (here - there);
      kept.push(corner.map((value, axis) => corners[before][axis] + step * (value - corners[before][axis])));
    }
    if (there >= 0) kept.push(corner);
  });
  return kept;
}
