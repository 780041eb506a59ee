// Chapter 2: where the tokens of a scene, a drawing or a picture fit a word.

import { cosines, ensemble, filled, latestOnly, neverShown, quoted, whileLoading } from "./asking.js";
import { drawingBoard } from "./drawing.js";
import { heatmap, hottest, placeInWords } from "./heatmap.js";
import { answerLine, choice, element, progressBar, textField } from "./kit.js";
import { pictureField } from "./picture.js";
import { sceneChoice } from "./scenes.js";

const FIRST_WORD = "ring";
const SPREAD = 0.35; // of cosines around their mean, at which the colour scale ends
const ALIKE = 0.05; // a highest cosine that is less than this above the mean
const PHOTOGRAPHS = "Training showed drawn scenes, depth views and digits; a photograph is outside of that.";

/**
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function finding(host, calip) {
  const data = await calip.data("finding");
  const images = await Promise.all(data.scenes.map(({ picture }) => loaded(picture)));
  const scenes = data.scenes.map((scene, i) => ({ ...scene, image: images[i], name: `a ${scene.name}` }));
  const subjects = { scene: scenes[0], draw: null, picture: null };
  const asked = { source: "scene", backbone: "mini-rn", tokens: "value", word: FIRST_WORD };
  const board = drawingBoard(data.colours, () => look("draw", drawn()));
  const [answer, progress, view] = [answerLine(), progressBar("Loading the miniature …"), resultView(board.canvas)];
  const answered = answersOf(calip, data, progress);
  const latest = latestOnly((problem) => answer.say(problem.message));
  const ask = (change = {}) => {
    Object.assign(asked, change);
    board.canvas.hidden = asked.source !== "draw";
    view.node.hidden = !subjects[asked.source];
    return latest(
      () => answered(subjects[asked.source], { ...asked }),
      (found) => answer.say(view.show(found)),
    );
  };
  const look = (source, subject) => {
    subjects[source] = subject;
    return ask();
  };
  const drawn = () => ({ image: board.canvas, name: "your drawing" });
  subjects.draw = drawn();
  const sources = {
    scene: sceneChoice(scenes, (scene) => look("scene", scene)),
    draw: board.tools,
    picture: pictureField(
      (image, name) => look("picture", { image, name, about: PHOTOGRAPHS }),
      (problem) => latest(() => Promise.reject(problem)),
    ),
  };
  host.append(...controls(asked, sources, ask), progress.node, view.node, answer.node);
  await ask();
}

/**
 * A function that gives the map of a word over a subject, {image, name}. Scenes come with their features; the
 * networks compute those of others.
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
    if (!subject) throw new Error("Choose a picture, or drop one.");
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

async function loaded(address) {
  const image = element("img", { src: address });
  await image.decode();
  return image;
}

/** Beside a drawing: the map, and what the miniature sees; `show` draws both and gives the answer in words. */
function resultView(drawing) {
  const map = heatmap();
  const seenCanvas = element("canvas", { class: "finding-seen", role: "img" });
  const caption = element("p", {});
  const node = element("div", { class: "finding-result" }, drawing, map.node, element("div", {}, seenCanvas, caption));
  const show = (found) => {
    const { seen, grid, backbone, word, subject } = found;
    [seenCanvas.width, seenCanvas.height] = [seen.width, seen.height];
    seenCanvas.getContext("2d").putImageData(seen, 0, 0);
    seenCanvas.setAttribute("aria-label", `What ${backbone} sees of ${subject.name}`);
    caption.textContent =
      `What ${backbone} sees of ${subject.name}: ${seen.width} × ${seen.height} pixels. ` +
      "In the map, orange places fit the word better than the mean of all, blue ones worse.";
    const mean = meanOf(found.map);
    const where = placeInWords(hottest(found.map, grid), grid);
    const label = `Map of ${quoted(word)} over ${subject.name}: highest at the ${where}`;
    map.draw(seenCanvas, found.map, grid, [mean - SPREAD, mean + SPREAD], label);
    return verdict(found, where, mean);
  };
  return { node, show };
}

function verdict({ map, word, backbone, tokens, subject, about }, where, mean) {
  const highest = Math.max(...map);
  const alike = highest - mean < ALIKE ? "The places hardly differ." : "";
  const answer =
    `${quoted(word)} fits best at the ${where}: there the ${tokens} token of ${backbone} has a cosine of ` +
    `${hundredths(highest)}, the mean of all ${map.length} is ${hundredths(mean)}.`;
  return [answer, alike, about, subject.about ?? ""].filter((sentence) => sentence).join(" ");
}

function hundredths(value) {
  return value.toFixed(2).replace("-", "−");
}

function meanOf(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The controls, those of the sources among them, of which only the chosen one's are shown. */
function controls(asked, sources, ask) {
  const named = (options) => Object.entries(options).map(([value, label]) => ({ value, label }));
  const show = (source) => {
    for (const [name, node] of Object.entries(sources)) node.hidden = name !== source;
  };
  const source = choice({
    legend: "Look at",
    options: named({ scene: "Scene", draw: "Draw", picture: "Your picture" }),
    value: asked.source,
    onChange: (name) => {
      show(name);
      ask({ source: name });
    },
  });
  const find = (text) => ask({ word: text.toLowerCase() });
  const word = textField({ label: "Word", button: "Find", onSubmit: find });
  word.input.value = asked.word;
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
  show(asked.source);
  const kinds = element("div", { class: "finding-kinds" }, tokens.node, backbone.node);
  return [source.node, ...Object.values(sources), word.node, kinds];
}
