// Chapter 1: a list of names and a template become probabilities.

import { softmax } from "../engine/tensors.js";
import { cosines, filled, latestOnly, neverShown, quoted, whileLoading, withArticle } from "./asking.js";
import { probabilityBars } from "./bars.js";
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
  let [found, problem] = [{ ...asked, names: [], cosines: [], about: "" }, ""];
  const latest = latestOnly((error) => {
    problem = `${error.message} The bars still show the answer before.`;
    answer.say(problem);
  });
  const show = () => {
    const shares = probabilities(found.cosines, asked.scale);
    bars.draw(found.names, shares);
    answer.say(problem || `${verdict(found, shares)} ${found.about}`.trim());
  };
  const ask = (change) => {
    Object.assign(asked, change);
    Object.assign(picture, { src: asked.scene.picture, alt: withArticle(asked.scene.name) });
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

/** The softmax of the logits. */
function probabilities(values, scale) {
  return Array.from(softmax(Float32Array.from(values, (cosine) => scale * cosine)));
}

/** `ask` gives the cosines of a scene with names in a template, and what training never showed of these. */
function cosinesOf(calip, data) {
  const given = new Map(data.prompts.map((prompt, i) => [prompt, data.vectors[i]]));
  const progress = progressBar("Loading the text encoder …");
  const read = async (prompts) => {
    const vectors = await calip.encodeText(prompts, data.backbone);
    const text = prompts.join("; ");
    return { vectors, about: neverShown(await calip.unseenWords(text), text, data.heldOut) };
  };
  const ask = async ({ scene, names, template }) => {
    refuse(names, template);
    const prompts = names.map((name) => filled(template, name));
    const { vectors, about } = prompts.every((prompt) => given.has(prompt))
      ? { vectors: prompts.map((prompt) => given.get(prompt)), about: "" }
      : await whileLoading(calip, progress, () => read(prompts));
    return { scene, names, cosines: cosines(vectors, scene.pooled), about };
  };
  return { ask, progress: progress.node };
}

function refuse(names, template) {
  if (template.split("{}").length !== 2) {
    const example = quoted("a photo of a {}.");
    throw new Error(`The template ${quoted(template)} needs one {}, where the name goes, as in ${example}`);
  }
  if (names.length < 2) throw new Error("A choice needs two or more names, with commas between them.");
  if (names.length > MOST_NAMES) throw new Error(`These are ${names.length} names, and ${MOST_NAMES} fit.`);
}

/** The answer in words, whether it is right, and what the scale leaves as it is: the order. */
function verdict({ names, scene }, shares) {
  const order = names.map((_, k) => k).sort((a, b) => shares[b] - shares[a]);
  const [first, ...others] = order.slice(0, 3).map((k) => `${names[k]} (${percent(shares[k])})`);
  const answer = `The answer is ${first}, then ${others.join(", ")}, in this order at every scale.`;
  const picture = `the picture shows ${withArticle(scene.name)}.`;
  if (!names.some((name) => describes(name, scene))) {
    return `${answer} But ${picture} None of your names says so: a softmax must still choose one.`;
  }
  return `${answer} ${describes(names[order[0]], scene) ? "Right" : "Wrong"}: ${picture}`;
}

/** Whether a name is the scene's shape, its colour or both: "a blue star" of a blue star. */
function describes(name, scene) {
  const parts = name.toLowerCase().replace(/^(a|an|the) /, "").split(/\s+/);
  return parts.every((part) => scene.name.split(" ").includes(part));
}

/** The names as one text with commas, as a reader edits them. */
function namesField(names, onNames) {
  const { node, input } = textField({
    label: "Names",
    button: "Read",
    onSubmit: (text) => onNames(listed(text)),
  });
  input.maxLength = 600;
  input.value = names.join(", ");
  return node;
}

/** The names in a text with commas, each once. */
function listed(text) {
  const names = text.split(",").map((name) => name.trim());
  return [...new Set(names)].filter((name) => name !== "");
}

/** Some templates, and a field for a reader's own. */
function templateControls(templates, onTemplate) {
  const id = newId();
  const own = textField({
    label: "Your template",
    button: "Read",
    placeholder: "a sketch of a {}.",
    onSubmit: onTemplate,
  });
  const options = templates.map((template) => element("option", { value: template }, template));
  const select = element("select", { id }, ...options, element("option", { value: OWN }, "your own …"));
  own.node.hidden = true;
  select.addEventListener("change", () => {
    own.node.hidden = select.value !== OWN;
    if (own.node.hidden) onTemplate(select.value);
  });
  const label = element("label", { for: id }, "Template");
  return [element("div", { class: "live-field" }, label, select), own.node];
}

/** The factor s of the cosines, in equal ratios from 1 to 200, with the trained one among them. */
function scaleRange(trained, onChange) {
  const values = [...Array.from({ length: 24 }, (_, i) => 200 ** (i / 23)), trained].sort((a, b) => a - b);
  const format = (value) => plain(value, value < 10 ? 1 : 0);
  const label = `Scale s (trained: ${format(trained)})`;
  return range({ label, values, value: trained, format, onChange }).node;
}
