// Chapter 2: where the tokens of a scene, a drawing or a picture fit a word.

import { cosines, ensemble, filled, latestOnly, neverShown, quoted, whileLoading, withArticle } from "./asking.js";
import { drawingBoard, isDrawnAt } from "./drawing.js";
import { heatmap, hottest, placeInWords } from "./heatmap.js";
import { answerLine, choice, element, fixed, loaded, progressBar, textField } from "./kit.js";
import { pictureField } from "./picture.js";
import { sceneChoice } from "./scenes.js";

const DRAWN_WORD = "circle"; // the board opens with one
const SPREAD = 0.35; // of cosines around their mean, at which the colour scale ends
const ALIKE = 0.05; // a highest cosine that is less than this above the mean
const OUTSIDE = "Training showed drawn scenes, depth views and digits; other pictures lie outside of that.";

/**
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function finding(host, calip) {
  const data = await calip.data("finding");
  const images = await Promise.all(data.scenes.map(({ picture }) => loaded(picture)));
  const scenes = data.scenes.map((scene, i) => sceneSubject(scene, images[i]));
  const asked = { source: "scene", backbone: "mini-rn", tokens: "value", word: "", own: false };
  const board = drawingBoard(data.colours, () => look("draw", drawn()));
  const drawn = () => (board.isEmpty() ? null : drawing(board.canvas));
  const subjects = { scene: scenes[0], draw: drawn(), picture: null };
  const [answer, progress, view] = [answerLine(), progressBar("Loading the miniature …"), resultView(board.canvas)];
  const find = (text) => ask({ word: text.toLowerCase(), own: true });
  const word = textField({ label: "Word", button: "Find", onSubmit: find });
  const answered = answersOf(calip, data, progress);
  const latest = latestOnly((problem) => answer.say(problem.message));
  const ask = (change = {}) => {
    Object.assign(asked, change);
    const subject = subjects[asked.source];
    if (!asked.own && subject?.word) word.input.value = asked.word = subject.word;
    board.canvas.hidden = asked.source !== "draw";
    view.reveal(subject !== null);
    return latest(() => answered(subject, { ...asked }), (found) => answer.say(view.show(found)));
  };
  const look = (source, subject) => {
    subjects[source] = subject;
    return ask();
  };
  const take = (image, name) => {
    subjects.picture = { image, name, about: OUTSIDE };
    source.choose("picture");
  };
  const refuse = (problem) => latest(() => Promise.reject(problem));
  const sources = {
    scene: sceneChoice(scenes, (scene) => look("scene", scene)),
    draw: board.tools,
    picture: pictureField(host, take, refuse),
  };
  const source = sourceChoice(asked, sources, ask);
  host.append(source.node, ...Object.values(sources), word.node, kindsChoice(asked, ask));
  host.append(progress.node, answer.node, view.node);
  await ask();
}

function sceneSubject(scene, image) {
  const hit = (place, { backbone }) => `${scene.onObject[backbone][place] ? "at" : "away from"} the ${scene.name}`;
  return { ...scene, image, name: withArticle(scene.name), hit };
}

/** What is on the board, to be looked at. */
function drawing(canvas) {
  const hit = (place, { seen, grid: [rows, columns] }) => {
    const [x, y] = [((place % columns) + 0.5) / columns, (Math.floor(place / columns) + 0.5) / rows];
    return isDrawnAt(seen, x, y) ? "at what you drew" : "away from what you drew";
  };
  return { image: canvas, name: "your drawing", word: DRAWN_WORD, hit };
}

/**
 * A function that gives the map of a word over a subject, {image, name}. Scenes come with their features; the
 * networks compute those of others. Where it is known what is where, `hit` says it of a place.
 */
function answersOf(calip, data, progress) {
  const words = new Map(data.words.map((word, i) => [word, { vector: data.vectors[i], about: "" }]));
  const pictures = latestSubject((subject, backbone, tokens) => encoded(calip, subject, backbone, tokens));
  const read = async (word) => {
    const prompts = data.templates.map((template) => filled(template, word));
    const vector = ensemble(await calip.encodeText(prompts, "mini-rn")); // both have the same text encoder
    return { vector, about: neverShown(await calip.unseenWords(word), word, data.heldOut) };
  };
  return (subject, asked) => {
    if (!subject) throw new Error(asked.source === "draw" ? "Draw something first." : "Choose a picture, or drop one.");
    return whileLoading(calip, progress, async () => {
      const { seen, features } = await pictures(subject, asked.backbone, asked.tokens);
      if (!words.has(asked.word)) words.set(asked.word, await read(asked.word));
      const { vector, about } = words.get(asked.word);
      return { ...asked, seen, grid: features.grid, map: cosines(features.spatial, vector), subject, about };
    });
  };
}

async function encoded(calip, { image, features }, backbone, tokens) {
  const seen = await calip.seenImage(image, backbone);
  const known = features?.[backbone][tokens];
  return { seen, features: known ?? (await calip.encodeImage(seen, backbone, tokens)) };
}

/** `encode`, which is called once for each kind of tokens while the subject stays the same. */
function latestSubject(encode) {
  let [latest, kinds] = [null, {}];
  return (subject, ...kind) => {
    if (subject !== latest) [latest, kinds] = [subject, {}];
    return (kinds[kind] ??= encode(subject, ...kind));
  };
}

/** Beside a drawing: the map, and what the miniature sees; `show` draws both and gives the answer in words. */
function resultView(board) {
  const map = heatmap();
  const seenCanvas = element("canvas", { class: "finding-seen", role: "img" });
  const caption = element("p", {});
  const seenView = element("div", {}, seenCanvas, caption);
  const node = element("div", { class: "finding-result" }, board, map.node, seenView);
  const reveal = (known) => {
    map.node.hidden = !known;
    seenView.hidden = !known;
    seenCanvas.hidden = !board.hidden; // a drawing is seen already
  };
  const show = (found) => {
    const { seen, grid, backbone, word, subject } = found;
    [seenCanvas.width, seenCanvas.height] = [seen.width, seen.height];
    seenCanvas.getContext("2d").putImageData(seen, 0, 0);
    seenCanvas.setAttribute("aria-label", `What ${backbone} sees of ${subject.name}`);
    const above = `What ${backbone} sees of ${subject.name}: ${seen.width} × ${seen.height} pixels. `;
    const colours = "In the map, orange places fit the word better than the mean of all, blue ones worse.";
    caption.textContent = board.hidden ? above + colours : colours;
    const mean = meanOf(found.map);
    const [row, column] = hottest(found.map, grid);
    const hit = subject.hit?.(row * grid[1] + column, found);
    const where = [placeInWords([row, column], grid), hit].filter((part) => part).join(", ");
    const label = `Map of ${quoted(word)} over ${subject.name}: highest in ${where}`;
    map.draw(seenCanvas, found.map, grid, [mean - SPREAD, mean + SPREAD], label);
    return verdict(found, where, mean);
  };
  return { node, reveal, show };
}

function verdict({ map, word, backbone, tokens, subject, about }, where, mean) {
  const highest = Math.max(...map);
  const alike = highest - mean < ALIKE ? "The places hardly differ." : "";
  const answer =
    `${quoted(word)} fits best in ${where}. There the ${tokens} token of ${backbone} has a cosine of ` +
    `${fixed(highest, 2)}, the mean of all ${map.length} is ${fixed(mean, 2)}.`;
  return [answer, alike, about, subject.about ?? ""].filter((sentence) => sentence).join(" ");
}

function meanOf(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** What is looked at; only the controls of the chosen source are shown. */
function sourceChoice(asked, sources, ask) {
  const show = (chosen) => {
    for (const [name, node] of Object.entries(sources)) node.hidden = name !== chosen;
  };
  const onChange = (source) => {
    show(source);
    ask({ source });
  };
  const options = named({ scene: "Scene", draw: "Draw", picture: "Your picture" });
  const { node, set } = choice({ legend: "Look at", options, value: asked.source, onChange });
  const choose = (source) => {
    set(source);
    onChange(source);
  };
  show(asked.source);
  return { node, choose };
}

function kindsChoice(asked, ask) {
  const tokens = choice({
    legend: "Tokens",
    options: named({ joint: "joint", value: "value" }),
    value: asked.tokens,
    onChange: (kind) => ask({ tokens: kind }),
  });
  const backbone = choice({
    legend: "Miniature",
    options: named({ "mini-rn": "mini-rn", "mini-vit": "mini-vit" }),
    value: asked.backbone,
    onChange: (name) => ask({ backbone: name }),
  });
  return element("div", { class: "finding-kinds" }, tokens.node, backbone.node);
}

function named(options) {
  return Object.entries(options).map(([value, label]) => ({ value, label }));
}
