// Chapter 1: a list of names and a template become probabilities.

import { softmax } from "../engine/tensors.js";
import { cosines, filled, latestOnly, neverShown, quoted, whileLoading } from "./asking.js";
import { answerLine, element, newId, percent, plain, progressBar, range, textField } from "./kit.js";
import { sceneChoice } from "./scenes.js";

const MOST_NAMES = 30;
const OWN = "own";

/**
 * @param {HTMLElement} host
 * @param {Object} calip window.calip
 */
export async function words(host, calip) {
  const data = await calip.data("words");
  const asked = { scene: data.scenes[0], names: data.names, template: data.templates[0], scale: data.scale };
  const [picture, bars, answer] = [element("img", { class: "words-scene" }), probabilityBars(), answerLine()];
  const answered = cosinesOf(calip, data);
  let found = { names: [], cosines: [], about: "" };
  let problem = "";
  const latest = latestOnly((error) => {
    problem = error.message;
    answer.say(problem);
  });
  const show = () => {
    const shares = Array.from(softmax(Float32Array.from(found.cosines, (cosine) => asked.scale * cosine)));
    bars.draw(found.names, shares);
    answer.say(problem || `${verdict(found.names, shares, asked.scene)} ${found.about}`.trim());
  };
  const ask = (change) => {
    Object.assign(asked, change);
    picture.src = asked.scene.picture;
    picture.alt = `A ${asked.scene.name}`;
    return latest(
      () => answered.ask(asked),
      (result) => {
        [found, problem] = [result, ""];
        show();
      },
    );
  };
  host.append(
    sceneChoice(data.scenes, (scene) => ask({ scene })),
    namesField(data.names, (names) => ask({ names })),
    ...templateControls(data.templates, (template) => ask({ template })),
    scaleRange(data.scale, (scale) => {
      asked.scale = scale;
      show();
    }),
    answered.progress,
    element("div", { class: "words-result" }, picture, bars.node),
    answer.node,
  );
  await ask({});
}

/** What the networks say: `ask` gives the cosines of the scene with the names in the template, or refuses them. */
function cosinesOf(calip, data) {
  const given = new Map(data.prompts.map((prompt, i) => [prompt, data.vectors[i]]));
  const progress = progressBar("Loading the text encoder …");
  const read = async (prompts, text) => ({
    vectors: await calip.encodeText(prompts, data.backbone),
    about: neverShown(await calip.unseenWords(text), text, data.heldOut),
  });
  const ask = async ({ scene, names, template }) => {
    refuse(names, template);
    const prompts = names.map((name) => filled(template, name));
    const { vectors, about } = prompts.every((prompt) => given.has(prompt))
      ? { vectors: prompts.map((prompt) => given.get(prompt)), about: "" }
      : await whileLoading(calip, progress, () => read(prompts, [template, ...names].join(" ")));
    return { names, cosines: cosines(vectors, scene.pooled), about };
  };
  return { ask, progress: progress.node };
}

function refuse(names, template) {
  if (template.split("{}").length !== 2) {
    throw new Error(
      `The template ${quoted(template)} needs exactly one {}, where the name goes, as in ${quoted("a photo of a {}.")}`,
    );
  }
  if (names.length < 2) throw new Error("One name leaves no choice: write two or more, with commas between them.");
  if (names.length > MOST_NAMES) throw new Error(`These are ${names.length} names: at most ${MOST_NAMES} fit here.`);
}

/** The answer in words, and what the scale leaves as it is: the order. */
function verdict(names, shares, scene) {
  const order = names.map((_, k) => k).sort((a, b) => shares[b] - shares[a]);
  const [first, ...others] = order.slice(0, 3).map((k) => `${names[k]} (${percent(shares[k])})`);
  return `The answer is ${first}, then ${others.join(", ")}, in this order at every scale. The picture shows a ${scene.name}.`;
}

/** The names as one text with commas, as a reader edits them. */
function namesField(names, onNames) {
  const { node, input } = textField({
    label: "Names",
    button: "Read",
    onSubmit: (text) => onNames([...new Set(text.split(",").map((name) => name.trim()))].filter((name) => name)),
  });
  input.maxLength = 600;
  input.value = names.join(", ");
  return node;
}

/** Some templates, and a field for a reader's own. */
function templateControls(templates, onTemplate) {
  const id = newId();
  const own = textField({ label: "Your template", button: "Read", placeholder: "a sketch of a {}.", onSubmit: onTemplate });
  const options = templates.map((template) => element("option", { value: template }, template));
  const select = element("select", { id }, ...options, element("option", { value: OWN }, "your own …"));
  own.node.hidden = true;
  select.addEventListener("change", () => {
    own.node.hidden = select.value !== OWN;
    if (own.node.hidden) onTemplate(select.value);
  });
  return [element("div", { class: "live-field" }, element("label", { for: id }, "Template"), select), own.node];
}

/** The factor s of the cosines, in equal ratios from 1 to 200, with the trained one among them. */
function scaleRange(trained, onChange) {
  const values = [...Array.from({ length: 24 }, (_, i) => 200 ** (i / 23)), trained].sort((a, b) => a - b);
  const format = (value) => plain(value, value < 10 ? 1 : 0);
  return range({ label: `Scale s (trained: ${format(trained)})`, values, value: trained, format, onChange }).node;
}

/** A row per name: its probability as a bar and in per cent. */
function probabilityBars() {
  const rows = element("div", { "aria-hidden": "true" });
  const node = element("div", { class: "words-bars", role: "img" }, rows);
  const draw = (names, shares) => {
    const best = shares.indexOf(Math.max(...shares));
    rows.replaceChildren(...names.map((name, k) => row(name, shares[k], k === best)));
    node.setAttribute("aria-label", `Probabilities: ${names.map((name, k) => `${name} ${percent(shares[k])}`).join(", ")}`);
  };
  return { node, draw };
}

function row(name, share, best) {
  const className = best ? "live-best" : null;
  const bar = element("i", { class: "term-clip" });
  bar.style.width = `${100 * share}%`;
  return element(
    "div",
    { class: "live-row" },
    element("span", { class: className }, name),
    element("div", { class: "live-bar" }, bar),
    element("span", { class: className }, percent(share)),
  );
}
