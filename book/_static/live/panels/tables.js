// Tables of measured numbers.

import { element } from "./kit.js";

/**
 * A table whose rows are replaced; where it is wider than the page it scrolls in a box of its own.
 *
 * @param {string[]} head names of the columns
 * @returns {{node: HTMLElement, draw: (rows: string[][]) => void}} the first cell of a row is its heading
 */
export function dataTable(head) {
  const body = element("tbody");
  const titles = element("tr", {}, ...head.map((title) => element("th", { scope: "col" }, title)));
  const node = element("div", { class: "live-table", tabindex: 0, role: "group", "aria-label": "Table" });
  node.append(element("table", {}, element("thead", {}, titles), body));
  const draw = (rows) => body.replaceChildren(...rows.map(rowOf));
  return { node, draw };
}

function rowOf([title, ...cells]) {
  const heading = element("th", { scope: "row" }, title);
  return element("tr", {}, heading, ...cells.map((cell) => element("td", {}, cell)));
}
