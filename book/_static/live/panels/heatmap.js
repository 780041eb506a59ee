// A picture with how well each of its places fits a text drawn over it.

import { element, plain } from "./kit.js";

/** Seven steps from blue over grey to orange; told apart by people with any colour vision. */
const SCALE = [
  [33, 102, 172],
  [103, 169, 207],
  [209, 229, 240],
  [247, 247, 247],
  [253, 219, 199],
  [239, 138, 98],
  [178, 74, 24],
];

/**
 * A canvas that shows a picture and a map over it.
 *
 * @param {number} side of the canvas, in CSS pixels
 * @returns {{node: HTMLCanvasElement, draw: (image: CanvasImageSource, map: ArrayLike<number>|null, grid: number[],
 *   span: number[], label: string) => void}} `map` has one value per place, row by row; `span` are the values at the two
 *   ends of the colour scale; a cross marks the highest place; `label` is the text alternative
 */
export function heatmap(side = 280) {
  const density = Math.min(2, window.devicePixelRatio || 1);
  const pixels = Math.round(side * density);
  const node = element("canvas", { class: "live-heatmap", role: "img", width: pixels, height: pixels });
  const draw = (image, map, grid, span, label) => {
    const context = node.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.drawImage(image, 0, 0, pixels, pixels);
    if (map) {
      drawPlaces(context, pixels, map, grid, span);
      drawCross(context, pixels, map, grid);
    }
    node.setAttribute("aria-label", label);
  };
  return { node, draw };
}

/**
 * The key of the colours: what they mean, and the values at both ends.
 *
 * @returns {{node: HTMLElement, draw: (span: number[], meaning: string) => void}} decoration, as the map's label says all
 */
export function colourKey() {
  const node = element("div", { class: "live-key", "aria-hidden": "true" });
  const colours = SCALE.map((colour) => `rgb(${colour.join(",")})`);
  const draw = ([low, high], meaning) => {
    const band = element("i", {});
    band.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
    node.replaceChildren(element("span", {}, plain(low)), band, element("span", {}, plain(high)), element("span", {}, meaning));
  };
  return { node, draw };
}

/** Row and column, from 0, of the highest value. */
export function hottest(map, grid) {
  let best = 0;
  for (let place = 1; place < map.length; place++) if (map[place] > map[best]) best = place;
  return [Math.floor(best / grid[1]), best % grid[1]];
}

/** A place in words, counted from 1: "row 2, column 3 of 4 × 4". */
export function placeInWords([row, column], [rows, columns]) {
  return `row ${row + 1}, column ${column + 1} of ${rows}\u00a0×\u00a0${columns}`;
}

/** The colour of a share from 0 to 1 of the scale, as [red, green, blue]. */
export function colourOf(share) {
  const position = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const below = Math.min(SCALE.length - 2, Math.floor(position));
  return SCALE[below].map((value, i) => Math.round(value + (position - below) * (SCALE[below + 1][i] - value)));
}

function drawPlaces(context, pixels, map, [rows, columns], [low, high]) {
  const height = pixels / rows;
  const width = pixels / columns;
  for (let place = 0; place < map.length; place++) {
    const share = (map[place] - low) / (high - low || 1);
    const strength = 0.15 + 0.6 * Math.abs(2 * Math.max(0, Math.min(1, share)) - 1);
    context.fillStyle = `rgba(${colourOf(share).join(",")},${strength})`;
    context.fillRect((place % columns) * width, Math.floor(place / columns) * height, width + 0.5, height + 0.5);
  }
}

function drawCross(context, pixels, map, grid) {
  const [row, column] = hottest(map, grid);
  const x = ((column + 0.5) * pixels) / grid[1];
  const y = ((row + 0.5) * pixels) / grid[0];
  const arm = pixels / 28;
  for (const [colour, width] of [["#000", pixels / 56], ["#fff", pixels / 112]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - arm, y - arm);
    context.lineTo(x + arm, y + arm);
    context.moveTo(x - arm, y + arm);
    context.lineTo(x + arm, y - arm);
    context.stroke();
  }
}
