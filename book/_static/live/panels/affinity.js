// Chapter 3: one image's affinity matrix and its two softmaxes, over places and over classes.

import { affinity, argmax, calipLogits, softmaxOverClasses, softmaxOverPlaces } from "../engine/calip.js";
import { withArticle } from "./asking.js";
import { probabilityBars } from "./bars.js";
import { colourOf, heatmap } from "./heatmap.js";
import { answerLine, choice, element, loaded, percent, plain, range, stops } from "./kit.js";
import { drawing, onPointed, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const ALPHAS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]; // those of the chapter's figure
const CELL = { width: 14, height: 20, left: 76 }; // of the matrix; left of it stand the classes
const TERMS = { clip: "CLIP", textAttended: "text-attended", visualAttended: "visual-attended" };

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function affinityPanel(host, calip) {
  const data = await calip.data("affinity");
  const pictures = await Promise.all(data.scenes.map((scene) => loaded(scene.picture)));
  const controls = makeControls(data, () => update());
  const answer = answerLine();
  const views = makeViews(data, controls, () => update());
  const update = () => {
    const state = readState(data, controls);
    answer.say(inWords(data, state));
    views.draw(state, pictures[state.scene]);
  };
  host.append(...Object.values(controls).map(({ node }) => node), answer.node, views.node);
  update();
}

/**
 * How many choices a softmax effectively uses: the exponential of its entropy (Shannon's, in nats).
 *
 * @param {ArrayLike<number>} weights with the sum 1
 * @returns {number} from 1 to the number of weights
 */
export function effectiveNumber(weights) {
  const entropy = Array.from(weights, (weight) => (weight > 0 ? -weight * Math.log(weight) : 0));
  return Math.exp(entropy.reduce((sum, part) => sum + part, 0));
}

function makeControls(data, onChange) {
  const [rows, columns] = data.scenes[0].image.joint.grid;
  const scenes = data.scenes.map(({ picture, label }, i) => {
    const alt = `scene ${i + 1}, ${withArticle(data.classes[label])}`;
    return { value: String(i), label: element("img", { src: picture, alt, width: 48, height: 48 }) };
  });
  const kinds = ["joint", "value"].map((kind) => ({ value: kind, label: kind }));
  const classes = data.classes.map((name, k) => ({ value: String(k), label: name }));
  const format = (alpha) => plain(alpha, 3);
  const showScene = (scene) => {
    controls.label.set(String(data.scenes[scene].label));
    onChange();
  };
  const controls = {
    scene: choice({ legend: "Scene", options: scenes, value: "0", onChange: showScene }),
    tokens: choice({ legend: "Spatial tokens", options: kinds, value: "joint", onChange }),
    label: choice({ legend: "Class", options: classes, value: String(data.scenes[0].label), onChange }),
    alpha: range({ label: "Temperature α", values: ALPHAS, value: 0.5, format, onChange }),
    row: range({ label: "Row of the place", values: stops(1, rows, rows), value: 2, onChange }),
    column: range({ label: "Column of the place", values: stops(1, columns, columns), value: 2, onChange }),
  };
  return controls;
}

/** The classes, and a mark after the one that a scene shows. */
function marked({ classes, scenes }, scene) {
  return classes.map((name, k) => (k === scenes[scene].label ? `${name} ✓` : name));
}

function inGrid(place, [, columns]) {
  return `row ${Math.floor(place / columns) + 1}, column ${(place % columns) + 1}`;
}

/** What the controls say, and what follows from it. */
function readState(data, controls) {
  const scene = Number(controls.scene.value());
  const image = data.scenes[scene].image[controls.tokens.value()];
  const [label, alpha] = [Number(controls.label.value()), controls.alpha.value()];
  const place = (controls.row.value() - 1) * image.grid[1] + controls.column.value() - 1;
  const similarities = affinity(image.spatial, data.text);
  const overPlaces = softmaxOverPlaces(similarities, alpha).map((row) => row[label]);
  const overClasses = softmaxOverClasses(similarities, alpha)[place];
  const logits = calipLogits(image, data.text, { alphaT: alpha, alphaS: alpha, scale: data.scale });
  return { scene, grid: image.grid, label, place, alpha, similarities, overPlaces, overClasses, logits };
}

function inWords(data, { scene, label, place, grid, alpha, overPlaces, overClasses, logits }) {
  const used = (weights) => `${plain(effectiveNumber(weights), 1)} of ${weights.length}`;
  const best = (term) => data.classes[argmax(logits[term])];
  const winners = Object.entries(TERMS).map(([term, name]) => `${name} ${best(term)}`);
  return (
    `The picture shows ${withArticle(data.classes[data.scenes[scene].label])}. ` +
    `At α = ${plain(alpha, 3)}, “${data.classes[label]}” effectively looks at ${used(overPlaces)} places, ` +
    `and the place in ${inGrid(place, grid)} at ${used(overClasses)} classes. ` +
    `Largest logit: ${winners.join(", ")}.`
  );
}

/** Table, matrix, picture and bars; a click on matrix or picture sets what the controls say, too. */
function makeViews(data, controls, update) {
  const places = data.scenes[0].image.joint.spatial.length;
  const matrix = drawing(CELL.left + CELL.width * places + 2, CELL.height * data.classes.length + 2);
  const picture = heatmap();
  const bars = probabilityBars();
  const table = dataTable(["Logit", "of the class", "largest"]);
  const captions = [0, 1, 2].map(() => element("figcaption"));
  const key = weightKey();
  onPointed(matrix.node, (point) => pickInMatrix(point, data, controls, update));
  onPointed(picture.node, (point) => pickInPicture(point, picture.node, data, controls, update));
  const figures = [matrix, picture, bars].map(({ node }, i) => element("figure", {}, node, captions[i]));
  picture.node.after(key.node);
  const draw = (state, image) => {
    drawMatrix(matrix, captions[0], data, state);
    drawPicture(picture, key, captions[1], image, data, state);
    drawBars(bars, captions[2], data, state);
    table.draw(rowsOf(data, state));
  };
  return { node: element("div", {}, table.node, element("div", { class: "live-figures" }, ...figures)), draw };
}

function pickInMatrix([x, y], data, { label, row, column }, update) {
  const [, columns] = data.scenes[0].image.joint.grid;
  const place = Math.floor((x - CELL.left) / CELL.width);
  label.set(String(Math.min(data.classes.length - 1, Math.floor(y / CELL.height))));
  if (place >= 0) {
    row.set(Math.floor(place / columns) + 1);
    column.set((place % columns) + 1);
  }
  update();
}

function pickInPicture([x, y], node, data, { row, column }, update) {
  const [rows, columns] = data.scenes[0].image.joint.grid;
  row.set(Math.ceil((rows * y) / node.clientHeight));
  column.set(Math.ceil((columns * x) / node.clientWidth));
  update();
}

/** The matrix stands on its side: a row per class, a column per place. */
function drawMatrix(matrix, caption, data, { scene, similarities, label, place, grid }) {
  const values = similarities.flatMap((row) => [...row]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const { width, height, left } = CELL;
  const cells = similarities.flatMap((row, m) =>
    Array.from(row, (value, k) => {
      const fill = `rgb(${colourOf((value - low) / (high - low)).join(",")})`;
      return shape("rect", { x: left + m * width, y: 1 + k * height, width, height, fill });
    }),
  );
  const names = marked(data, scene).map((name, k) => {
    const weight = k === label ? "live-best" : "";
    return shape("text", { x: left - 6, y: 15 + k * height, "text-anchor": "end", class: weight }, name);
  });
  const row = { x: left, y: 1 + label * height, width: width * similarities.length, height };
  const column = { x: left + place * width, y: 1, width, height: height * data.classes.length };
  const marks = [row, column].map((box) => shape("rect", { ...box, class: "live-mark" }));
  const here = plain(similarities[place][label], 3);
  const ends = `from ${plain(low, 2)} (blue) to ${plain(high, 2)} (orange)`;
  caption.textContent = `A, transposed: a row per class; the columns are the places, row by row. Cosines ${ends}.`;
  const where = `“${data.classes[label]}” and the place in ${inGrid(place, grid)}`;
  matrix.draw(`Affinity matrix, cosines ${ends}; of ${where} ${here}`, ...cells, ...names, ...marks);
}

/** Over the picture, orange is a weight; no weight is clear. It takes the upper half of a scale with two sides. */
function drawPicture(picture, key, caption, image, data, { overPlaces, label, place, grid }) {
  const [least, most] = [Math.min(...overPlaces), Math.max(...overPlaces)];
  const [name, used] = [data.classes[label], plain(effectiveNumber(overPlaces), 1)];
  const said = `Where “${name}” looks: weights from ${plain(least, 3)} to ${plain(most, 3)}`;
  const end = Math.max(2 / overPlaces.length, most);
  picture.draw(image, overPlaces, grid, [-end, end], said);
  key.draw(end);
  outline(picture.node, place, grid);
  caption.textContent = `Softmax over places. ${said}; effectively ${used} of ${overPlaces.length} places.`;
}

/** The key of the weights' colours; decoration, as the picture's label says all. */
function weightKey() {
  const [band, end] = [element("i"), element("span")];
  const colours = [0.5, 0.75, 1].map((share) => `rgb(${colourOf(share).join(",")})`);
  band.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
  const meaning = element("span", {}, "weight of a place");
  const zero = element("span", {}, "0");
  const node = element("div", { class: "live-key", "aria-hidden": "true" }, zero, band, end, meaning);
  return { node, draw: (most) => (end.textContent = plain(most, 3)) };
}

function outline(canvas, place, [rows, columns]) {
  const [width, height] = [canvas.width / columns, canvas.height / rows];
  const context = canvas.getContext("2d");
  for (const [colour, line] of [["#000", width / 12], ["#fff", width / 28]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    const inset = width / 20;
    const [left, top] = [(place % columns) * width, Math.floor(place / columns) * height];
    context.strokeRect(left + inset, top + inset, width - 2 * inset, height - 2 * inset);
  }
}

function drawBars(bars, caption, data, { scene, overClasses, place, grid }) {
  const most = argmax(overClasses);
  const [share, used] = [percent(overClasses[most]), plain(effectiveNumber(overClasses), 1)];
  const said = `What the place in ${inGrid(place, grid)} looks at: ${data.classes[most]} most`;
  bars.draw(marked(data, scene), Array.from(overClasses));
  caption.textContent = `Softmax over classes. ${said} (${share}); effectively ${used} of ${data.classes.length}.`;
}

/** The three logits of the class, and the class that each term puts first. */
function rowsOf(data, { logits, label }) {
  return Object.entries(TERMS).map(([term, name]) => {
    const best = argmax(logits[term]);
    return [name, plain(logits[term][label], 2), `${data.classes[best]}, ${plain(logits[term][best], 2)}`];
  });
}
