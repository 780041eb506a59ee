// Chapter 5: the weights at which one image is classified correctly, and the answer at a chosen pair of them.

import { argmax, calipLogits, combine } from "../engine/calip.js";
import { area, winningPolygon } from "../engine/polygon.js";
import { stackedBars } from "./bars.js";
import { answerLine, choice, element, percent, plain, range, stops } from "./kit.js";
import { drawing, linearScale, onPointed, shape } from "./svg.js";

const ALPHAS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];
const FRAME = { width: 300, height: 288, left: 40, right: 290, top: 12, bottom: 250 }; // of the plane
const TERMS = [
  { name: "CLIP", className: "term-clip" },
  { name: "β₂ × text-attended", className: "term-text" },
  { name: "β₃ × visual-attended", className: "term-visual" },
];
const FATES = {
  rescued: "CLIP wrong, some weights right",
  spoiled: "CLIP right, some weights wrong",
  "always right": "right at all weights",
};
const SHOWN = 6; // classes with a bar

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function polygon(host, calip) {
  const data = await calip.data("polygon");
  const controls = makeControls(data, () => update());
  const answer = answerLine();
  const plane = drawing(FRAME.width, FRAME.height);
  const bars = stackedBars(TERMS, 2);
  const captions = [element("figcaption"), element("figcaption", {}, captionOf(data))];
  const update = () => {
    const state = readState(data, controls);
    answer.say(inWords(data, state));
    drawPlane(plane, data, state);
    drawBars(bars, data, state);
    const share = `${percent(state.share, 0)} of the rectangle`;
    captions[0].textContent = `Blue, ${share}: where the answer is “${data.classes[state.label]}”.`;
  };
  onPointed(plane.node, ([x, y]) => {
    controls.beta2.set(linearScale([FRAME.left, FRAME.right], data.beta2)(x));
    controls.beta3.set(linearScale([FRAME.bottom, FRAME.top], data.beta3)(y));
    update();
  });
  const figures = [plane, bars].map(({ node }, i) => element("figure", {}, node, captions[i]));
  const { scene, alpha, beta2, beta3 } = controls;
  const views = element("div", { class: "live-figures" }, ...figures);
  host.append(scene.node, beta2.node, beta3.node, alpha.node, answer.node, views);
  update();
}

function captionOf({ classes }) {
  return (
    `${SHOWN} of ${classes.length} classes, the largest sum (the line) first: the label (✓), the answer, and ` +
    "those that win elsewhere. Each term without its mean over all classes, which decides nothing."
  );
}

function makeControls(data, onChange) {
  const scenes = data.scenes.map(({ picture, label, fate }, i) => {
    const image = element("img", { src: picture, alt: data.classes[label], width: 48, height: 48 });
    return { value: String(i), label: element("small", { class: "live-thumbnail" }, image, FATES[fate]) };
  });
  const format = (value) => plain(value, 3);
  const weight = (label, [first, last]) => {
    return range({ label, values: stops(first, last, 81), value: 0, format, onChange });
  };
  return {
    scene: choice({ legend: "Image", options: scenes, value: "0", onChange }),
    beta2: weight("β₂, text-attended", data.beta2),
    beta3: weight("β₃, visual-attended", data.beta3),
    alpha: range({ label: "Temperature α", values: ALPHAS, value: 0.5, format, onChange }),
  };
}

/** What the controls say, and what follows from it. */
function readState(data, controls) {
  const { image, label } = data.scenes[Number(controls.scene.value())];
  const [alpha, beta2, beta3] = [controls.alpha.value(), controls.beta2.value(), controls.beta3.value()];
  const logits = calipLogits(image, data.text, { alphaT: alpha, alphaS: alpha, scale: data.scale });
  const corners = winningPolygon(logits, label, data.beta2, data.beta3);
  const whole = (data.beta2[1] - data.beta2[0]) * (data.beta3[1] - data.beta3[0]);
  const best = argmax(combine(logits, beta2, beta3));
  return { label, alpha, beta2, beta3, logits, corners, share: area(corners) / whole, best };
}

function inWords(data, { logits, label, alpha, beta2, beta3, best }) {
  const answer = (k) => `${data.classes[k]} (${k === label ? "right" : "wrong"})`;
  const point = `β₂ = ${plain(beta2, 3)}, β₃ = ${plain(beta3, 3)} and α = ${plain(alpha, 3)}`;
  const clip = `The label is ${data.classes[label]}. CLIP says ${answer(argmax(logits.clip))}`;
  if (beta2 === 0 && beta3 === 0) return `${clip}; at β₂ = β₃ = 0, CALIP is CLIP.`;
  return `${clip}; at ${point}, CALIP says ${answer(best)}.`;
}

function drawPlane(plane, data, { corners, beta2, beta3, best, label, share }) {
  const x = linearScale(data.beta2, [FRAME.left, FRAME.right]);
  const y = linearScale(data.beta3, [FRAME.bottom, FRAME.top]);
  const size = { width: FRAME.right - FRAME.left, height: FRAME.bottom - FRAME.top };
  const frame = shape("rect", { x: FRAME.left, y: FRAME.top, ...size, class: "live-frame" });
  const points = corners.map(([b2, b3]) => `${x(b2)},${y(b3)}`).join(" ");
  const right = best === label;
  const colour = right ? "is-right" : "is-wrong";
  const point = shape("circle", { cx: x(beta2), cy: y(beta3), r: 7, class: `live-point ${colour}` });
  const region = shape("polygon", { points, class: "live-region" });
  const said =
    `The plane of the weights: the image is read correctly in a polygon with ${corners.length} corners, ` +
    `${percent(share, 0)} of the rectangle; the point is ${right ? "inside" : "outside"}`;
  plane.draw(said, frame, region, ...axes(x, y, data), point);
}

function axes(x, y, { beta2, beta3 }) {
  const text = (place, anchor, said) => shape("text", { ...place, "text-anchor": anchor }, said);
  const below = (place, said, drop = 20) => text({ x: place, y: FRAME.bottom + drop }, "middle", said);
  const beside = (place, said) => text({ x: FRAME.left - 10, y: place + 5 }, "end", said);
  const [middle, centre] = [(FRAME.left + FRAME.right) / 2, (FRAME.top + FRAME.bottom) / 2];
  const ticks = beta2.map((value) => below(x(value), plain(value)));
  const others = beta3.map((value) => beside(y(value), plain(value)));
  return [below(middle, "β₂", 32), beside(centre, "β₃"), ...ticks, ...others];
}

function drawBars(bars, data, state) {
  const { clip, textAttended, visualAttended } = state.logits;
  const terms = [centred(clip, 1), centred(textAttended, state.beta2), centred(visualAttended, state.beta3)];
  const sum = (k) => terms[0][k] + terms[1][k] + terms[2][k];
  const classes = competitors(data, state).sort((a, b) => sum(b) - sum(a));
  const names = classes.map((k) => (k === state.label ? `${data.classes[k]} ✓` : data.classes[k]));
  const values = terms.map((term) => classes.map((k) => term[k]));
  const sums = classes.map((k, i) => `${names[i]} ${plain(sum(k))}`);
  bars.draw(names, values, `Sums of the three terms: ${sums.join(", ")}`);
}

/** A term times its weight, without its mean over the classes. */
function centred(term, weight) {
  const mean = term.reduce((sum, value) => sum + value, 0) / term.length;
  return term.map((value) => weight * (value - mean));
}

/** The label, the answer, and the classes that win most of the rectangle or, after those, CLIP's logits. */
function competitors(data, { label, best, logits }) {
  const wins = new Float64Array(data.classes.length);
  for (const b2 of stops(...data.beta2, 21)) {
    for (const b3 of stops(...data.beta3, 21)) wins[argmax(combine(logits, b2, b3))] += 1;
  }
  const ranked = Array.from(wins.keys()).sort((a, b) => wins[b] - wins[a] || logits.clip[b] - logits.clip[a]);
  const first = [...new Set([label, ...ranked])].slice(0, SHOWN);
  return first.includes(best) ? first : [...first.slice(0, SHOWN - 1), best];
}
