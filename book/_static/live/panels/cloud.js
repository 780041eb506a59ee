// Chapter 7: a cloud to turn, its depth maps, and the classes that CALIP finds in them.

import { argmax, combine, probabilities } from "../engine/calip.js";
import { depthMap, encoderInput, turned } from "../engine/projection.js";
import { withArticle } from "./asking.js";
import { probabilityBars } from "./bars.js";
import { cloudPicture, viewStrip } from "./cloudpictures.js";
import { follower } from "./follower.js";
import { answerLine, choice, element, newId, percent, plain, progressBar, range, stops } from "./kit.js";

/** Of "Turn slowly", in degrees per second. */
const SPEED = 20;

/**
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function cloud(host, calip) {
  const data = await calip.data("cloud");
  const first = data.clouds.find(({ name }) => name === data.start);
  const state = { cloud: first, set: data.sets[0], turn: 0, tilt: 0, weighting: "alike", logits: null, seen: null };
  const parts = {
    strip: viewStrip(),
    bars: probabilityBars(),
    answer: answerLine(),
    progress: progressBar("The miniature looks at the views …"),
    note: element("p", { class: "cloud-note" }),
  };
  const show = () => showAnswer(state, data, parts);
  const follow = follower(lookingAt(state, data, calip, parts, show));
  const change = (changes) => {
    Object.assign(state, changes);
    follow.changed(prepare(state, data, parts));
  };
  parts.weighting = weightingSelect(state, show);
  const onMove = () => {
    markStale(parts, true);
    follow.moved();
  };
  parts.pose = poseControls(state, { onMove, onReset: () => change({ turn: 0, tilt: 0 }) });
  host.append(
    oneOf("Cloud", data.clouds, first, (chosen) => change({ cloud: chosen, turn: 0, tilt: 0 })),
    oneOf("View set", data.sets, data.sets[0], (set) => change({ set })),
    element("div", { class: "cloud-parts" }, parts.pose.node, sideOf(parts)),
    parts.answer.node,
    parts.strip.node,
    parts.note,
  );
  change({});
}

/** While the pose is newer than the answer, the answer is dim. */
function markStale({ answer, bars, strip }, isStale) {
  for (const { node } of [answer, bars, strip]) node.classList.toggle("cloud-stale", isStale);
}

/**
 * Shows what depends on cloud and view set, which may be new.
 *
 * @returns {Float32Array[]|null} the views' logits where the data hold them, for clouds that are not turned
 */
function prepare(state, data, parts) {
  const { strip, weighting, pose, answer } = parts;
  const { set, turn, tilt } = state;
  pose.show();
  weighting.reset();
  strip.reset(set);
  state.logits = null;
  markStale(parts, true);
  answer.say("The miniature looks at the views.");
  return turn === 0 && tilt === 0 ? set.logits[data.clouds.indexOf(state.cloud)] : null;
}

/** How the answer to a pose is found: the tasks of a `follower`. */
function lookingAt(state, data, calip, parts, show) {
  const { strip, progress } = parts;
  return {
    count: () => state.set.views.length,
    draw(v) {
      const map = depthMap(turned(state.cloud.points, state.turn, state.tilt), state.set.views[v], state.set);
      strip.draw(v, map);
      return map;
    },
    ask: (maps, isNewest) =>
      progress.during(async (onProgress) => {
        const end = calip.onProgress(onProgress);
        const look = (map) => viewLogits(map, state.set, data, calip);
        return inOrder(maps, look, isNewest, onProgress).finally(end);
      }),
    onAnswer(logits) {
      state.logits = logits;
      state.seen = [state.turn, state.tilt];
      markStale(parts, false);
      show();
    },
  };
}

/** CALIP's blended logits of one view. */
async function viewLogits(map, set, { backbone, tokens, resolution, standard, text, blend }, calip) {
  const pixels = encoderInput(map, resolution, set.standardise ? standard : null);
  const image = await calip.encodeImage({ pixels }, backbone, tokens);
  return combine(calip.logits(image, text, blend), blend.beta2, blend.beta3);
}

/** The results of `work` for one item after another; null as soon as nobody waits for them. */
async function inOrder(items, work, isAwaited, onProgress) {
  const results = [];
  for (const item of items) {
    results.push(await work(item));
    if (!isAwaited()) return null;
    onProgress(results.length / items.length);
  }
  return results;
}

/** The bars, the line and the views' captions for the logits and weights that the state holds. */
function showAnswer(state, data, { strip, bars, answer, note }) {
  const { logits, set, cloud, seen } = state;
  note.textContent = aboutAll(state, data);
  if (logits === null) return;
  const weights = weightsOf(state);
  const mean = weightedMean(logits, weights);
  const shares = Array.from(probabilities(mean));
  bars.draw(data.classes, shares);
  strip.say(logits.map((row) => data.classes[argmax(row)]), weights);
  const said = [firstClass(data.classes, shares, cloud.name, seen), aboutViews(data.classes, logits, weights, set)];
  answer.say(said.join(" "));
}

/** What the chosen weights of the views are worth on many clouds, and whose answers these are. */
function aboutAll({ set, weighting }, { backbone, blend, sets }) {
  const { alike, searched, alone } = set.accuracy;
  const view = set.views.findIndex(({ label }) => label === weighting);
  const together = {
    alike: ["all views alike", alike],
    searched: ["weights searched on validation clouds", searched],
  };
  const [ways, share] = together[weighting] ?? [`the view from ${weighting} alone`, alone[view]];
  const beside = weighting === "alike" ? "" : ` (all alike: ${percent(alike)})`;
  return (
    `Of ${set.images} test clouds, unturned and drawn as ${set.name}, ${percent(share)} are recognised with ` +
    `${ways}${beside}. This is ${backbone}, which recognises more of the ${sets[0].name} than mini-rn; all ` +
    `answers are CALIP’s, with fixed β₂ = ${plain(blend.beta2)} and β₃ = ${plain(blend.beta3)}.`
  );
}

/** One weight per view: equal ones, those that were searched, or one view's alone. */
function weightsOf({ set, weighting }) {
  if (weighting === "alike") return set.views.map(() => 1);
  if (weighting === "searched") return set.weights;
  return set.views.map(({ label }) => (label === weighting ? 1 : 0));
}

/** Σ w ℓ / Σ w over the views (chapter 7, eq-views). */
function weightedMean(logits, weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const weighted = (k) => logits.reduce((sum, row, v) => sum + weights[v] * row[k], 0);
  return Float32Array.from(logits[0], (_, k) => weighted(k) / total);
}

function firstClass(classes, shares, truth, [turn, tilt]) {
  const name = classes[argmax(shares)];
  const verdict = name === truth ? "which is right" : `which is wrong: it is ${withArticle(truth)}`;
  const pose = turn === 0 && tilt === 0 ? "Unturned" : `Turned by ${degrees(turn)}, tilted by ${degrees(tilt)}`;
  return `${pose}: the answer is ${name} (${percent(Math.max(...shares))}), ${verdict}.`;
}

/** Which view decides: the one that most favours the first class over the second. */
function aboutViews(classes, logits, weights, { views }) {
  const used = weights.filter((weight) => weight > 0).length;
  if (used === 1) return `Only the view from ${views[argmax(weights)].label} counts.`;
  const mean = weightedMean(logits, weights);
  const first = argmax(mean);
  const second = argmax(mean.map((value, k) => (k === first ? -Infinity : value)));
  const leads = logits.map((row, v) => weights[v] * (row[first] - row[second]));
  const alone = logits.filter((row) => argmax(row) === first).length;
  const label = views[argmax(leads)].label;
  const most = `The view from ${label} contributes most to its lead over ${classes[second]}`;
  const many = alone === views.length ? `all ${alone} views` : `${alone} of the ${views.length} views`;
  return `${most}; alone, ${many} say ${classes[first]}.`;
}

/** A choice among things with names. */
function oneOf(legend, things, chosen, onChange) {
  const options = things.map(({ name }) => ({ value: name, label: name }));
  const find = (value) => things.find(({ name }) => name === value);
  return choice({ legend, options, value: chosen.name, onChange: (value) => onChange(find(value)) }).node;
}

/** What stands beside the cloud. */
function sideOf({ weighting, bars, progress }) {
  const room = element("div", { class: "cloud-progress" }, progress.node);
  return element("div", {}, weighting.node, bars.node, room);
}

/** The views' weights; `reset` offers the views of the state's set. */
function weightingSelect(state, onChange) {
  const id = newId();
  const select = element("select", { id });
  select.addEventListener("change", () => {
    state.weighting = select.value;
    onChange();
  });
  const reset = () => {
    const options = [["alike", "all alike"], ["searched", "searched on validation clouds"]];
    options.push(...state.set.views.map(({ label }) => [label, `${label} alone`]));
    select.replaceChildren(...options.map(([value, label]) => element("option", { value }, label)));
    if (!options.some(([value]) => value === state.weighting)) state.weighting = "alike";
    select.value = state.weighting;
  };
  const label = element("label", { for: id }, "Weights of the views");
  return { node: element("div", { class: "live-field" }, label, select), reset };
}

/** The cloud and its two angles, by dragging, by range inputs, or by itself; `show` draws the state. */
function poseControls(state, { onMove, onReset }) {
  const turnTo = (turn, tilt) => {
    state.turn = Math.abs(turn) > 180 ? turn - 360 * Math.sign(turn) : turn;
    state.tilt = Math.max(-90, Math.min(90, tilt));
    show();
    onMove();
  };
  const picture = cloudPicture((turn, tilt) => turnTo(state.turn + turn, state.tilt + tilt));
  const angle = (label, last, onChange) =>
    range({ label, values: stops(-last, last, 2 * last + 1), value: 0, format: degrees, onChange });
  const turn = angle("Turn about the vertical", 180, (value) => turnTo(value, state.tilt));
  const tilt = angle("Tilt towards you", 90, (value) => turnTo(state.turn, value));
  const show = () => {
    turn.set(state.turn);
    tilt.set(state.tilt);
    const { name, points } = state.cloud;
    const about = `A cloud of ${points.length / 3} points, ${withArticle(name)}`;
    const pose = `turned by ${degrees(state.turn)}, tilted by ${degrees(state.tilt)}`;
    picture.draw(turned(points, state.turn, state.tilt), `${about}, ${pose}`);
  };
  const itself = slowly((step) => turnTo(state.turn + step, state.tilt));
  const back = element("button", { type: "button", onclick: onReset }, "Reset");
  const buttons = element("div", { class: "cloud-buttons" }, itself, back);
  return { node: element("div", {}, picture.node, turn.node, tilt.node, buttons), show };
}

function degrees(angle) {
  return `${plain(angle, 0)}°`;
}

/** A button that keeps turning the cloud until it is pressed again; null for readers who want less motion. */
function slowly(onStep) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return null;
  let last = null; // of the last step, in milliseconds
  const step = (now) => {
    if (last === null) return;
    onStep(((now - last) / 1000) * SPEED);
    last = now;
    requestAnimationFrame(step);
  };
  const press = () => {
    last = last === null ? performance.now() : null;
    button.textContent = last === null ? "Turn slowly" : "Stop";
    if (last !== null) requestAnimationFrame(step);
  };
  const button = element("button", { type: "button", onclick: press }, "Turn slowly");
  return button;
}
