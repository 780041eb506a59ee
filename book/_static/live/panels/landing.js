// The landing page: a scene, CLIP's answer with a pool that is spoiled on purpose, and what CALIP makes of it.

import { argmax, combine, spoilPool } from "../engine/calip.js";
import { cosines, ensemble, filled, latestOnly, neverShown, quoted, whileLoading, withArticle } from "./asking.js";
import { stackedBars } from "./bars.js";
import { colourKey, heatmap, hottest, placeInWords } from "./heatmap.js";
import { answerLine, choice, element, loaded, plain, progressBar, range, signed, textField } from "./kit.js";
import { sceneChoice } from "./scenes.js";

const KINDS = { joint: "joint: what CLIP answers", value: "value: what it saw" };
const ALPHA = 0.5; // the released code's, with which the table was computed
const TERMS = [
  { name: "CLIP", className: "term-clip" },
  { name: "text attended", className: "term-text" },
  { name: "visual attended", className: "term-visual" },
];

/**
 * The state is what a reader chose: a scene and a word by their numbers, the kind of tokens, own words (or null),
 * λ (`amount`), both weights and both temperatures (`alpha`).
 *
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function landing(host, calip) {
  const data = await calip.data("landing");
  const images = await Promise.all(data.scenes.map(({ picture }) => loaded(picture)));
  const { amount, beta2, beta3 } = measuredAt(data, "value", data.shown);
  const word = data.scenes[0].answer;
  const state = { scene: 0, word, kind: "value", own: null, amount, beta2, beta3, alpha: ALPHA };
  const [map, verdict, bars] = [mapView(), verdictView(), stackedBars(TERMS, 1, "sum, above the mean class")];
  const show = (change) => {
    Object.assign(state, change);
    const found = answered(data, state, calip);
    map.draw(images[state.scene], found);
    verdict.draw(found);
    bars.draw(...barsOf(found));
    measured.draw(measuredAt(data, state.kind, state.amount), state);
  };
  const ranges = rangesOf(data, state, show);
  const measured = measuredView(data, ranges.set);
  const words = wordsView(data, state, show, calip, verdict.say);
  const scenes = scenesView(data, (scene) => {
    show({ scene, word: state.own ? state.word : data.scenes[scene].answer });
    words.choose(state.word);
  });
  const see = [area("map", map.node, kindChoice(state, show)), area("words", words.node)];
  const decide = [area("verdict", verdict.node), area("controls", ...ranges.nodes), area("bars", bars.node)];
  decide.push(area("measured", measured.node));
  host.append(area("scenes", scenes), area("see", ...see), area("decide", ...decide));
  show({});
}

function area(name, ...nodes) {
  return element("div", { class: `landing-${name}` }, ...nodes);
}

/** The row of the table at a λ. */
function measuredAt(data, kind, amount) {
  return data.measured[kind].find((row) => row.amount === amount);
}

/** Everything that the views show, computed anew at every change; it takes a third of a millisecond. */
function answered(data, state, calip) {
  const { kind, word, own, amount, alpha, beta2, beta3 } = state;
  const scene = data.scenes[state.scene];
  const names = own ? [...data.classes, own.text] : data.classes;
  const text = own ? [...data.text, own.vector] : data.text;
  const image = spoilPool(scene[kind], scene.value, amount);
  const logits = calip.logits(image, text, { alphaT: alpha, alphaS: alpha, scale: data.scale });
  const [clip, both] = [argmax(logits.clip), argmax(combine(logits, beta2, beta3))];
  const mapOf = (tokens) => cosines(scene[tokens].spatial, text[word]);
  const maps = { joint: mapOf("joint"), value: mapOf("value") };
  const asked = { names, right: scene.answer, word: names[word], own, kind, beta2, beta3 };
  return { ...asked, maps, grid: image.grid, logits, clip, both };
}

/** The picture under the cosines of its places with a word; both kinds of tokens share one colour scale. */
function mapView() {
  const [map, key] = [heatmap(), colourKey()];
  const draw = (image, { maps, kind, grid, word }) => {
    const all = [...maps.joint, ...maps.value];
    const span = [Math.min(...all), Math.max(...all)];
    const where = placeInWords(hottest(maps[kind], grid), grid);
    const [low, high] = [Math.min(...maps[kind]), Math.max(...maps[kind])];
    const label =
      `Map of the ${kind} tokens: the cosine with ${quoted(word)} is highest in ${where}, ${plain(high)}, ` +
      `and lowest ${plain(low)}`;
    map.draw(image, maps[kind], grid, span, label);
    key.draw(span, `cosine with ${quoted(word)}`);
  };
  return { node: element("div", {}, map.node, key.node), draw };
}

/** Both answers in words, and what is to be said of a reader's own. */
function verdictView() {
  const { node, say } = answerLine();
  const draw = ({ names, right, own, clip, both }) => {
    const judged = (k) => (k === right ? "right" : own && k === names.length - 1 ? "your own words" : "wrong");
    const said = (k) => `${quoted(names[k])} (${judged(k)})`;
    const outcome = both === right ? ": rescued" : clip === right ? ": spoiled" : "";
    const answer =
      clip === both
        ? `CLIP and CALIP both say ${said(both)}.`
        : `CLIP says ${said(clip)}, CALIP ${said(both)}${outcome}.`;
    node.dataset.outcome = both === right ? "right" : "wrong";
    say(`${answer} ${own?.about ?? ""}`.trim());
  };
  return { node, draw, say };
}

/**
 * What each term adds to a class, more than to the mean class: what all classes share decides nothing.
 *
 * @returns {[string[], Float32Array[], string]} what `stackedBars` draws
 */
function barsOf({ names, right, logits, beta2, beta3 }) {
  const weighted = [
    logits.clip,
    logits.textAttended.map((value) => beta2 * value),
    logits.visualAttended.map((value) => beta3 * value),
  ];
  const values = weighted.map(aboveMean);
  const sums = names.map((_, k) => values.reduce((sum, term) => sum + term[k], 0));
  const best = [...sums.keys()].sort((a, b) => sums[b] - sums[a]).slice(0, 3);
  const parts = (k) => TERMS.map(({ name }, t) => `${name} ${signed(values[t][k])}`).join(", ");
  const inWords = best.map((k) => `${names[k]} ${signed(sums[k])} (${parts(k)})`).join("; ");
  const label = `Logits above the mean class, three stacked bars per class. The largest sums: ${inWords}.`;
  return [names.map((name, k) => (k === right ? `${name} ✓` : name)), values, label];
}

function aboveMean(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

function scenesView(data, onChange) {
  const scenes = data.scenes.map(({ picture, answer }) => ({ name: withArticle(data.classes[answer]), picture }));
  return sceneChoice(scenes, (scene) => onChange(scenes.indexOf(scene)));
}

function kindChoice(state, show) {
  const options = Object.entries(KINDS).map(([value, label]) => ({ value, label }));
  const onChange = (kind) => show({ kind });
  return choice({ legend: "Spatial tokens", options, value: state.kind, onChange }).node;
}

/** The words to choose from, and a field for a reader's own, which then are one class more. */
function wordsView(data, state, show, calip, say) {
  const chips = () => {
    const names = state.own ? [...data.classes, state.own.text] : data.classes;
    const options = names.map((label, k) => ({ value: String(k), label }));
    const onChange = (k) => show({ word: Number(k) });
    return choice({ legend: "Where is …", options, value: String(state.word), onChange });
  };
  let shown = chips();
  const choose = (word) => shown.set(String(word));
  const renew = (own) => {
    show({ own, word: data.classes.length });
    const fresh = chips();
    shown.node.replaceWith(fresh.node);
    shown = fresh;
  };
  const progress = progressBar("Loading the text encoder …");
  const latest = latestOnly((problem) => say(problem.message));
  const onSubmit = (text) => {
    const known = data.classes.indexOf(text.toLowerCase());
    if (known < 0) return latest(() => whileLoading(calip, progress, () => encoded(calip, data, text)), renew);
    choose(known);
    show({ word: known });
  };
  const field = textField({ label: "Your own words", button: "Look", placeholder: "a red star", onSubmit });
  return { node: element("div", {}, shown.node, field.node, progress.node), choose };
}

/** A reader's words as a class: in the templates of the others, and with what training never showed of them. */
async function encoded(calip, data, text) {
  const prompts = data.templates.map((template) => filled(template, text));
  const vector = ensemble(await calip.encodeText(prompts, data.backbone));
  return { text, vector, about: neverShown(await calip.unseenWords(text), text, data.heldOut) };
}

/** The four numbers that decide; `set` moves some of them. */
function rangesOf(data, state, show) {
  const made = (name, label, values, digits) => {
    const format = (value) => plain(value, digits);
    return range({ label, values, value: state[name], format, onChange: (value) => show({ [name]: value }) });
  };
  const ranges = {
    amount: made("amount", "λ: spoil CLIP’s pool", data.amounts, 1),
    beta2: made("beta2", "β₂: text attended", data.beta2, 3),
    beta3: made("beta3", "β₃: visual attended", data.beta3, 3),
    alpha: made("alpha", "α: temperature", data.alphas, 2),
  };
  const set = (values) => {
    for (const [name, value] of Object.entries(values)) ranges[name].set(value);
    show(values);
  };
  return { nodes: Object.values(ranges).map(({ node }) => node), set };
}

/** What CALIP is worth at this λ on many images, with weights chosen on others; and how the scenes were chosen. */
function measuredView({ chosen }, set) {
  const said = element("p", {});
  let row;
  const use = () => set({ beta2: row.beta2, beta3: row.beta3, alpha: ALPHA });
  const button = element("button", { type: "button", onclick: use }, "Set these weights");
  const draw = (found, { beta2, beta3, alpha }) => {
    row = found;
    const weights = `β₂ = ${plain(row.beta2, 3)}, β₃ = ${plain(row.beta3, 3)}, α = ${ALPHA}`;
    const where = `at λ = ${plain(row.amount, 1)}, weights chosen on validation images (${weights}): `;
    said.replaceChildren(element("strong", {}, "Measured "), unbroken(where + row.said));
    button.disabled = beta2 === row.beta2 && beta3 === row.beta3 && alpha === ALPHA;
  };
  return { node: element("div", {}, said, button, element("p", {}, unbroken(chosen))), draw };
}

/** The same text, in which no line ends inside "89.3 %" or "λ = 0.6". */
function unbroken(text) {
  return text.replace(/ (?=[%=<])|(?<=[=<]) /g, "\u00a0");
}
