// Pictures of the miniature's world to choose from.

import { choice, element } from "./kit.js";

/**
 * Scenes as a group of radio buttons.
 *
 * @param {{name: string, picture: string}[]} scenes what each shows, and its address
 * @param {(scene: Object) => void} onChange called with the chosen one
 * @returns {HTMLElement} the first is chosen
 */
export function sceneChoice(scenes, onChange) {
  const options = scenes.map(({ name, picture }, i) => ({
    value: String(i),
    label: element("img", { src: picture, alt: name, width: 56, height: 56 }),
  }));
  const change = (value) => onChange(scenes[Number(value)]);
  const { node } = choice({ legend: "Scene", options, value: "0", onChange: change });
  node.classList.add("live-scenes");
  return node;
}
