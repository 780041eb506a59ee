// The landing page: one scene, CLIP's answer with a pool that is spoiled on purpose, and what CALIP makes of it.

import { argmax, combine, spoilPool } from "../engine/calip.js";
import { cosines, ensemble, filled, latestOnly, neverShown, quoted, whileLoading } from "./asking.js";
import { stackedBars } from "./bars.js";
import { colourKey, heatmap, hottest, placeInWords } from "./heatmap.js";
import { answerLine, choice, element, plain, progressBar, range, signed, textField } from "./kit.js";
import { sceneChoice } from "./scenes.js";

const KINDS = { joint: "what CLIP answers", value: "what it saw" };
const MEASURED_ALPHA = 0.5; // the released code's, with which the table was computed
const TERMS = [
  { name: "CLIP", className: "term-clip" },
  { name: "text attended", className: "term-text" },
  { name: "visual attended", className: "term-visual" },
];

/**
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function landing(host, calip) {
  const data = await calip.data("landing");
  data.pictures = await Promise.all(data.scenes.map(({ picture }) => loaded(picture)));
  const amount = data.shown;
  const { beta2, beta3 } = measuredAt(data, "value", amount);
  const state = { scene: 0, kind: "value", word: 0, own: null, amount, beta2, beta3, alpha: MEASURED_ALPHA };
  state.word = data.scenes[0].answer;
  const parts = { map: mapView(), verdict: verdictView(), bars: stackedBars(TERMS), measured: null };
  const show = (change = {}) => {
    Object.assign(state, change);
    draw(parts, data, state, calip);
  };
  const controls = controlsOf(data, state, show);
  const words = wordsView(data, state, show, calip, parts.verdict);
  parts.measured = measuredView(data.chosen, controls.set);
  const scenes = data.scenes.map(({ picture, answer }) => ({ name: withArticle(data.classes[answer]), picture }));
  const choose = (scene) => {
    const number = scenes.indexOf(scene);
    if (state.word < data.classes.length) words.choose(data.scenes[number].answer);
    show({ scene: number });
  };
  const kinds = Object.entries(KINDS).map(([value, label]) => ({ value, label }));
  const onChange = (kind) => show({ kind });
  const kind = choice({ legend: "Each place shows", options: kinds, value: state.kind, onChange });
  host.append(
    area("scenes", sceneChoice(scenes, choose)),
    area("map", parts.map.node, kind.node),
    area("verdict", parts.verdict.node),
    area("controls", ...controls.nodes),
    area("bars", parts.bars.node),
    area("words", words.node),
    area("measured", parts.measured.node),
  );
  show();
}

function area(name, ...nodes) {
  return element("div", { class: `landing-${name}` }, ...nodes);
}

async function loaded(address) {
  const image = element("img", { src: address });
  await image.decode();
  return image;
}

/** The row of the table at a lambda. */
function measuredAt(data, kind, amount) {
  return data.measured[kind].find((row) => row.amount === amount);
}

/** Everything that a change may change, computed anew: a third of a millisecond. */
function draw(parts, data, state, calip) {
  const scene = data.scenes[state.scene];
  const classes = state.own ? [...data.classes, state.own.text] : data.classes;
  const text = state.own ? [...data.text, state.own.vector] : data.text;
  const image = spoilPool(scene[state.kind], scene.value, state.amount);
  const logits = calip.logits(image, text, { alphaT: state.alpha, alphaS: state.alpha, scale: data.scale });
  const answers = { clip: argmax(logits.clip), calip: argmax(combine(logits, state.beta2, state.beta3)) };
  parts.map.draw(data.pictures[state.scene], scene, state.kind, classes[state.word], text[state.word]);
  parts.verdict.draw(answers, scene.answer, classes, state);
  drawBars(parts.bars, logits, classes, scene.answer, state);
  parts.measured.draw(measuredAt(data, state.kind, state.amount), state);
}

/** What each term adds to a class, more than to the mean class: what all classes share decides nothing. */
function drawBars(bars, logits, classes, right, { beta2, beta3 }) {
  const weighted = [[logits.clip, 1], [logits.textAttended, beta2], [logits.visualAttended, beta3]];
  const values = weighted.map(([term, weight]) => aboveMean(term.map((value) => weight * value)));
  const sums = values[0].map((_, k) => values.reduce((sum, term) => sum + term[k], 0));
  const best = Array.from(sums.keys()).sort((a, b) => sums[b] - sums[a]).slice(0, 3);
  const inWords = best.map((k) => {
    const shares = TERMS.map(({ name }, t) => `${name} ${signed(values[t][k])}`).join(", ");
    return `${classes[k]} ${signed(sums[k])} (${shares})`;
  });
  const label = `Logits above the mean class, as three stacked bars per class. The largest sums: ${inWords.join("; ")}.`;
  bars.draw(classes.map((name, k) => (k === right ? `${name} ✓` : name)), values, label);
}

function aboveMean(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

/** The picture under the cosines of its places with a word; both kinds of tokens have one colour scale. */
function mapView() {
  const [map, key] = [heatmap(300), colourKey()];
  const draw = (picture, scene, kind, word, vector) => {
    const found = { joint: cosines(scene.joint.spatial, vector), value: cosines(scene.value.spatial, vector) };
    const all = [...found.joint, ...found.value];
    const span = [Math.min(...all), Math.max(...all)];
    const own = found[kind];
    const [low, high] = [Math.min(...own), Math.max(...own)];
    const where = placeInWords(hottest(own, scene[kind].grid), scene[kind].grid);
    const label = `Map of ${KINDS[kind]}: the cosine with ${quoted(word)} is highest at the ${where}, ${plain(high)}, and lowest ${plain(low)}`;
    map.draw(picture, own, scene[kind].grid, span, label);
    key.draw(span, `cosine with ${quoted(word)}`);
  };
  return { node: element("div", {}, map.node, key.node), draw };
}

/** Both answers in words; `about` is what is said of a reader's own words. */
function verdictView() {
  const line = answerLine();
  const draw = ({ clip, calip }, right, classes, { own }) => {
    const judged = (k) => (k >= own?.index ? "your own words" : k === right ? "right" : "wrong");
    const said = (k) => `${quoted(classes[k])} (${judged(k)})`;
    const outcome = calip === right ? ": rescued" : clip === right ? ": spoiled" : "";
    const answer =
      clip === calip ? `CLIP and CALIP both say ${said(clip)}.` : `CLIP says ${said(clip)}, CALIP ${said(calip)}${outcome}.`;
    line.node.dataset.outcome = calip === right ? "right" : "wrong";
    line.say(own?.about ? `${answer} ${own.about}` : answer);
  };
  return { node: line.node, draw, say: line.say };
}

/** The words to choose from, and a field for a reader's own, which then are one class more. */
function wordsView(data, state, show, calip, verdict) {
  const node = element("div", {});
  const progress = progressBar("Loading the text encoder …");
  const latest = latestOnly((problem) => verdict.say(problem.message));
  const chips = () => {
    const names = state.own ? [...data.classes, state.own.text] : data.classes;
    const options = names.map((label, k) => ({ value: String(k), label }));
    return choice({ legend: "Where is …", options, value: String(state.word), onChange: (k) => show({ word: Number(k) }) });
  };
  let chosen = chips();
  const renew = (own) => {
    Object.assign(state, { own, word: own.index });
    const fresh = chips();
    chosen.node.replaceWith(fresh.node);
    chosen = fresh;
    show();
  };
  const ask = (text) => {
    const known = data.classes.indexOf(text.toLowerCase());
    if (known < 0) return latest(() => whileLoading(calip, progress, () => encoded(calip, data, text)), renew);
    chosen.set(String(known));
    show({ word: known });
  };
  const field = textField({ label: "Your own words", button: "Look", placeholder: "a red star", onSubmit: ask });
  node.append(chosen.node, field.node, progress.node);
  const choose = (word) => {
    state.word = word;
    chosen.set(String(word));
  };
  return { node, choose };
}

/** A reader's words as a class: in the templates of the others, and with what training did not show. */
async function encoded(calip, data, text) {
  const vectors = await calip.encodeText(data.templates.map((template) => filled(template, text)), data.backbone);
  const about = neverShown(await calip.unseenWords(text), text, data.heldOut);
  return { text, vector: ensemble(vectors), about, index: data.classes.length };
}

function controlsOf(data, state, show) {
  const weight = (name, digits) => ({ value: state[name], format: (value) => plain(value, digits), onChange: (value) => show({ [name]: value }) });
  const ranges = {
    amount: range({ label: "λ: spoil CLIP’s pool", values: data.amounts, ...weight("amount", 1) }),
    beta2: range({ label: "β₂: text attended", values: data.beta2, ...weight("beta2", 3) }),
    beta3: range({ label: "β₃: visual attended", values: data.beta3, ...weight("beta3", 3) }),
    alpha: range({ label: "α: temperature", values: data.alphas, ...weight("alpha", 2) }),
  };
  const set = (values) => {
    for (const [name, value] of Object.entries(values)) ranges[name].set(value);
    show(values);
  };
  return { nodes: Object.values(ranges).map(({ node }) => node), set };
}

/** What CALIP is worth at this lambda, on many images, with weights chosen on others; and how the scenes were chosen. */
function measuredView(chosen, set) {
  const said = element("p", {});
  let row;
  const use = () => set({ beta2: row.beta2, beta3: row.beta3, alpha: MEASURED_ALPHA });
  const button = element("button", { type: "button", onclick: use }, "Set these weights");
  const draw = (found, { beta2, beta3, alpha }) => {
    row = found;
    const weights = `β₂ = ${plain(row.beta2, 3)}, β₃ = ${plain(row.beta3, 3)}`;
    const where = `at λ = ${plain(row.amount, 1)}, weights chosen on validation images (${weights}, α = ${MEASURED_ALPHA}): `;
    said.replaceChildren(element("strong", {}, "Measured "), `${where}${row.said}`);
    button.disabled = beta2 === row.beta2 && beta3 === row.beta3 && alpha === MEASURED_ALPHA;
  };
  return { node: element("div", {}, said, button, element("p", {}, chosen)), draw };
}

function withArticle(name) {
  return `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;
}
