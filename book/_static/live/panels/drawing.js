// A board to draw on in the colours of the miniatures' world: lines by pointer, and whole shapes by keyboard.

import { choice, element } from "./kit.js";

const SIDE = 256; // pixels; the miniatures see about half of it
const GROUND = [96, 100, 104];
const ERASER = "eraser"; // a colour like others: the ground's
const PLACES = ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"];
const NEAR = 1 / 16; // of the side; chapter 2 forgives so much, too
const VISIBLE = 30; // of a colour's difference from the ground, out of 255
const WIDTHS = { thin: 10, medium: 26, thick: 56 };
const RADIUS = 46;
const CENTRES = [0.22, 0.5, 0.78]; // of shapes, as shares of the side

/** Outlines around the origin with y pointing down, for a radius of 1 (calip_core/world/shapes.py). */
const SHAPES = {
  circle: (context) => context.arc(0, 0, 0.9, 0, 2 * Math.PI),
  square: (context) => context.rect(-0.75, -0.75, 1.5, 1.5),
  triangle: (context) => {
    context.moveTo(0, -1);
    context.lineTo(Math.sqrt(0.75), 0.5);
    context.lineTo(-Math.sqrt(0.75), 0.5);
    context.closePath();
  },
};

/**
 * @param {Object<string, number[]>} colours red, green and blue from 0 to 255 by name
 * @param {() => void} onChange called after every line, shape or clearing
 * @returns {{canvas: HTMLCanvasElement, tools: HTMLElement, isEmpty: () => boolean}}
 */
export function drawingBoard(colours, onChange) {
  const canvas = element("canvas", { class: "drawing-canvas", role: "img", width: SIDE, height: SIDE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const paints = { ...colours, [ERASER]: GROUND };
  const colour = tool("Colour", Object.entries(paints).map(swatch), "red");
  const width = tool("Brush", Object.keys(WIDTHS).map(named), "medium");
  const shape = tool("Or place a", Object.keys(SHAPES).map(named), "circle");
  const marks = [];
  const label = () => canvas.setAttribute("aria-label", `Your drawing: ${marks.join("; ") || "empty"}`);
  const done = (mark) => {
    marks.push(mark);
    label();
    onChange();
  };
  const clear = () => {
    context.fillStyle = css(GROUND);
    context.fillRect(0, 0, SIDE, SIDE);
    marks.length = 0;
  };
  const add = (name, form, place) => {
    const [x, y] = [CENTRES[place % 3] * SIDE, CENTRES[Math.floor(place / 3)] * SIDE];
    drawShape(context, css(paints[name]), SHAPES[form], x, y);
    return `${name} ${form}, ${PLACES[place]}`;
  };
  const pen = () => [css(paints[colour.value()]), WIDTHS[width.value()]];
  followPointer(canvas, context, pen, () => done(`${colour.value()} line`));
  const places = placeButtons((place) => done(add(colour.value(), shape.value(), place)));
  const empty = element("button", { type: "button", onclick: () => (clear(), label(), onChange()) }, "Clear");
  clear();
  marks.push(add("red", "circle", 0), add("blue", "square", 8));
  label();
  const columns = [element("div", {}, width.node, empty), element("div", {}, shape.node), places];
  const tools = element("div", { class: "drawing-tools" }, colour.node, ...columns);
  return { canvas, tools, isEmpty: () => marks.length === 0 };
}

/**
 * Whether something is drawn at a point, or nearly there.
 *
 * @param {ImageData} seen the board, resized
 * @param {number} x as a share of the side, from the left
 * @param {number} y from the top
 */
export function isDrawnAt({ data, width, height }, x, y) {
  const around = (position, size) => [position - NEAR, position + NEAR].map((share) => Math.round(share * size));
  const [[left, right], [top, bottom]] = [around(x, width), around(y, height)];
  for (let row = Math.max(0, top); row < Math.min(height, bottom); row++) {
    for (let column = Math.max(0, left); column < Math.min(width, right); column++) {
      const first = 4 * (row * width + column);
      if (GROUND.some((level, c) => Math.abs(data[first + c] - level) > VISIBLE)) return true;
    }
  }
  return false;
}

/** Draws a line from where the pointer goes down to where it goes up. */
function followPointer(canvas, context, pen, onEnd) {
  let last = null;
  const position = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((clientX - left) * SIDE) / width, ((clientY - top) * SIDE) / height];
  };
  const lineTo = (event) => {
    const next = position(event);
    [context.strokeStyle, context.lineWidth] = pen();
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...next);
    context.stroke();
    last = next;
  };
  const end = () => {
    if (!last) return;
    last = null;
    onEnd();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = position(event);
    lineTo(event);
  });
  canvas.addEventListener("pointermove", (event) => last && lineTo(event));
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
}

function drawShape(context, colour, outline, x, y) {
  context.save();
  context.translate(x, y);
  context.scale(RADIUS, RADIUS);
  context.fillStyle = colour;
  context.beginPath();
  outline(context);
  context.fill();
  context.restore();
}

/** Nine buttons, laid out as the places where a shape goes. */
function placeButtons(onPlace) {
  const buttons = PLACES.map((name, place) =>
    element("button", { type: "button", onclick: () => onPlace(place) }, name),
  );
  return element("fieldset", { class: "drawing-places" }, element("legend", {}, "at the"), ...buttons);
}

/** A choice that is looked up when something is drawn. */
function tool(legend, options, value) {
  return choice({ legend, options, value, onChange() {} });
}

function swatch([name, colour]) {
  const dot = element("i", { class: "drawing-swatch" });
  dot.style.background = css(colour);
  const label = document.createDocumentFragment();
  label.append(dot, name);
  return { value: name, label };
}

function named(value) {
  return { value, label: value };
}

function css(colour) {
  return `rgb(${colour.join(" ")})`;
}
