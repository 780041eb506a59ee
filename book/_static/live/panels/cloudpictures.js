// Pictures of a cloud: its points on a canvas that can be dragged, and a row of depth maps.

import { element, plain } from "./kit.js";

/** Of the cloud's canvas, in CSS pixels; the unit sphere takes nine tenths of it. */
const SIDE = 280;
/** Degrees that the cloud turns when the pointer moves by one pixel. */
const PER_PIXEL = 0.5;

/**
 * A canvas with the points of a cloud, seen from +z: what is near is bright and large.
 *
 * @param {(turn: number, tilt: number) => void} onDrag called with the degrees of each step of the pointer
 * @returns {{node: HTMLCanvasElement, draw: (points: Float32Array, label: string) => void}} `points` are x, y,
 *   z of each point; `label` is the text alternative
 */
export function cloudPicture(onDrag) {
  const pixels = SIDE * Math.min(2, window.devicePixelRatio || 1);
  const node = element("canvas", { class: "cloud-picture", role: "img", width: pixels, height: pixels });
  node.addEventListener("pointerdown", (event) => node.setPointerCapture(event.pointerId));
  node.addEventListener("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    onDrag(event.movementX * PER_PIXEL, event.movementY * PER_PIXEL);
  });
  const draw = (points, label) => {
    drawPoints(node.getContext("2d"), points, pixels);
    node.setAttribute("aria-label", label);
  };
  return { node, draw };
}

function drawPoints(context, points, pixels) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, pixels, pixels);
  const order = Array.from({ length: points.length / 3 }, (_, i) => 3 * i);
  order.sort((i, j) => points[i + 2] - points[j + 2]);
  for (const i of order) {
    const near = (points[i + 2] + 1) / 2;
    const size = (pixels / SIDE) * (1.5 + 2 * near);
    const [x, y] = [pixels * (0.5 + 0.45 * points[i]), pixels * (0.5 - 0.45 * points[i + 1])];
    context.fillStyle = grey(70 + 185 * near);
    context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}

function grey(value) {
  const whole = Math.round(value);
  return `rgb(${whole},${whole},${whole})`;
}

/**
 * One depth map per view, with what the view alone would answer and its weight.
 *
 * @returns {{node: HTMLElement, reset: (set: Object) => void, draw: (v: number, map: Float32Array) => void,
 *   say: (answers: string[], weights: number[]) => void}} `reset` makes room for a view set's pictures
 */
export function viewStrip() {
  const node = element("div", { class: "cloud-views" });
  let set;
  let views = [];
  const reset = (given) => {
    set = given;
    views = set.views.map(({ label }) => viewFigure(label, set.side));
    node.replaceChildren(...views.map((view) => view.node));
  };
  const draw = (v, map) => drawMap(views[v].canvas, map, set);
  const say = (answers, weights) => {
    const largest = Math.max(...weights);
    views.forEach((view, v) => view.say(answers[v], weights[v], weights[v] / largest));
  };
  return { node, reset, draw, say };
}

function viewFigure(label, side) {
  const about = `Depth map from ${label}`;
  const canvas = element("canvas", { role: "img", width: side, height: side, "aria-label": about });
  const [answer, weight, bar] = [element("span"), element("span"), element("i", { class: "term-clip" })];
  const caption = element("figcaption", {}, element("span", {}, `from ${label}`), answer, weight);
  const say = (name, value, share) => {
    answer.textContent = name;
    weight.textContent = `weight ${plain(value)}`;
    bar.style.width = `${100 * share}%`;
    canvas.setAttribute("aria-label", `${about}: alone, it says ${name}`);
  };
  const node = element("figure", {}, canvas, element("div", { class: "live-bar" }, bar), caption);
  return { node, canvas, say };
}

function drawMap(canvas, map, { side, largest }) {
  const image = new ImageData(side, side);
  map.forEach((value, pixel) => image.data.fill((255 * value) / largest, 4 * pixel, 4 * pixel + 3));
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
