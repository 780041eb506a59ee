// Stacked bars: per class, what each of several terms adds to its score.

import { element, fixed, percent } from "./kit.js";

/**
 * A chart with one row per class.
 *
 * @param {{name: string, className: string}[]} terms in the order in which they are stacked; className colours a term
 * @param {number} [digits] decimals of the sums
 * @param {string} [sum] what the legend calls the line at each sum; a single term has no such line
 * @returns {{node: HTMLElement, draw: (classes: string[], values: ArrayLike<number>[], label: string) => void}}
 *   `values[t][k]` is what term t adds to class k; the text alternative is `label`; the
 *   largest sum is bold
 */
export function stackedBars(terms, digits = 1, sum = "sum") {
  const legend = element("p", { class: "live-legend", "aria-hidden": "true" });
  legend.append(...terms.map(({ name, className }) => element("span", {}, element("i", { class: className }), name)));
  if (terms.length > 1) legend.append(element("span", {}, element("b", {}), sum));
  const rows = element("div", { class: "live-rows", "aria-hidden": "true" });
  const node = element("div", { class: "live-bars", role: "img" }, rows, legend);
  const draw = (classes, values, label) => {
    rows.replaceChildren(...classes.map((name, k) => row(name, k, values, terms, digits)));
    node.setAttribute("aria-label", label);
  };
  return { node, draw };
}

/** Terms are drawn from the zero line, positive ones to the right and negative ones to the left. */
function row(name, k, values, terms, digits) {
  const [low, high] = extent(values);
  const share = (value) => `${(100 * value) / (high - low || 1)}%`;
  const sums = sumsOf(values);
  const best = sums.indexOf(Math.max(...sums)) === k;
  const bar = element("div", { class: "live-bar" });
  let [right, left] = [0, 0];
  for (const [t, { className }] of terms.entries()) {
    const value = values[t][k];
    const from = value >= 0 ? right : left + value;
    const part = element("i", { class: className });
    part.style.left = share(from - low);
    part.style.width = share(Math.abs(value));
    bar.append(part);
    if (value >= 0) right += value;
    else left += value;
  }
  if (terms.length > 1) {
    const sum = element("b", {}); // where the terms add up to
    sum.style.left = share(sums[k] - low);
    bar.append(sum);
  }
  const title = element("span", { class: best ? "live-best" : null }, name);
  const number = element("span", { class: best ? "live-best" : null }, fixed(sums[k], digits));
  return element("div", { class: "live-row" }, title, bar, number);
}

function sumsOf(values) {
  return Array.from(values[0], (_, k) => values.reduce((sum, term) => sum + term[k], 0));
}

/** Lowest and highest end of all bars; both sides of zero. */
function extent(values) {
  const ends = Array.from(values[0], (_, k) => {
    const column = values.map((term) => term[k]);
    const total = (keep) => column.filter(keep).reduce((sum, value) => sum + value, 0);
    return [total((value) => value < 0), total((value) => value > 0)];
  });
  return [Math.min(0, ...ends.map(([low]) => low)), Math.max(0, ...ends.map(([, high]) => high))];
}

/**
 * A chart of probabilities, one row per class.
 *
 * @returns {{node: HTMLElement, draw: (classes: string[], shares: number[]) => void}} `shares` go from 0 to 1
 */
export function probabilityBars() {
  const rows = element("div", { "aria-hidden": "true" });
  const node = element("div", { class: "live-probabilities", role: "img" }, rows);
  const draw = (classes, shares) => {
    const best = shares.indexOf(Math.max(...shares));
    rows.replaceChildren(...classes.map((name, k) => shareRow(name, shares[k], k === best)));
    const inWords = classes.map((name, k) => `${name} ${percent(shares[k])}`).join(", ");
    node.setAttribute("aria-label", `Probabilities: ${inWords}`);
  };
  return { node, draw };
}

function shareRow(name, share, best) {
  const className = best ? "live-best" : null;
  const bar = element("i", { class: "term-clip" });
  bar.style.width = `${100 * share}%`;
  const title = element("span", { class: className }, name);
  const value = element("span", { class: className }, percent(share));
  return element("div", { class: "live-row" }, title, element("div", { class: "live-bar" }, bar), value);
}
