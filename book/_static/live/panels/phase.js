// Chapter 4: a point in the map of the window, its measured gain, and what the text term’s lead lacks there.

import { colourOf } from "./heatmap.js";
import { answerLine, element, plain, range } from "./kit.js";
import { drawing, onPointed, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const CELL = { width: 34, height: 24, left: 52, top: 2 }; // of the map, in pixels
const CAPTION = "Gains: orange where CALIP gains, blue where it loses, a dot where the gain is clear.";
const LACKING = {
  errors: "CLIP makes almost no errors here: nothing is left to repair.",
  object: "There is no object, and so the pool knows nothing of one.",
  differ: "The text term’s lead lacks its first factor: the tokens are nearly copies.",
  pool: "The text term’s lead lacks its second factor: the pool hardly knows the object.",
  low: "The text term’s lead lacks its third factor: α is so low that all classes look at the object alone.",
  high: "The text term’s lead lacks its third factor: α is so high that all classes look everywhere.",
  nothing: "No factor of the text term’s lead is missing.",
};
const FACTORS = ["tokens differ", "pool knows the object", "temperature fits"]; // of the text term’s lead
const VOTES = "The visual term, which has a weight here, does not need it: every place votes for itself.";

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function phase(host, calip) {
  const { map: data } = await calip.data("window");
  const onChange = () => update();
  const alpha = range({ label: "Temperature α", values: data.alphas, value: 0.1, onChange });
  const share = range({ label: "ρ, share that is object", values: data.shares, value: 0.2, onChange });
  const spread = range({ label: "Spread of the tokens", values: data.spreads, value: 1, onChange });
  const answer = answerLine();
  const { alphas, shares } = data;
  const [width, height] = [CELL.width * alphas.length, CELL.height * shares.length];
  const map = drawing(CELL.left + width + 2, CELL.top + height + 38);
  const facts = dataTable(["At the point", "value"]);
  const update = () => {
    const rows = data.rows.filter((row) => row.spread === spread.value());
    const now = rows.find((row) => row.alpha === alpha.value() && row.share === share.value());
    answer.say(inWords(now));
    drawMap(map, data, rows, now);
    facts.draw(factsOf(now));
  };
  onPointed(map.node, ([x, y]) => {
    alpha.set(alphas[clamped((x - CELL.left) / CELL.width, alphas)]);
    share.set(shares[shares.length - 1 - clamped((y - CELL.top) / CELL.height, shares)]);
    update();
  });
  const figure = element("figure", {}, map.node, element("figcaption", {}, CAPTION));
  const figures = element("div", { class: "live-figures" }, figure, facts.node);
  host.append(alpha.node, share.node, spread.node, answer.node, figures);
  update();
}

function clamped(position, values) {
  return Math.max(0, Math.min(values.length - 1, Math.floor(position)));
}

function inWords({ alpha, share, spread, shown, clear, lacking, beta3 }) {
  const point = `α = ${plain(alpha)}, ρ = ${plain(share)} and spread ${plain(spread)}`;
  const found = `${clear ? "a clear gain" : "no clear gain"}, ${shown.points} points`;
  const votes = clear && lacking !== "nothing" && beta3 > 0 ? ` ${VOTES}` : "";
  return `At ${point}: ${found}. ${LACKING[lacking]}${votes}`;
}

function factsOf({ shown, beta2, beta3, factors }) {
  return [
    ["CLIP, CALIP", `${shown.clip}, ${shown.calip}`],
    ["gain [95 %]", shown.gain],
    ["CALIP : CLIP alone", shown.alone],
    ["β₂, β₃ chosen", `${plain(beta2, 3)}, ${plain(beta3, 3)}`],
    ...FACTORS.map((name, i) => [name, plain(factors[i], 3)]),
  ];
}

/** The gains at one spread: a column per temperature, a row per share with the smallest at the bottom. */
function drawMap(map, { alphas, shares, rows: all }, rows, now) {
  const most = Math.max(...all.map((row) => Math.abs(row.gain)));
  const left = (alpha) => CELL.left + CELL.width * alphas.indexOf(alpha);
  const top = (share) => CELL.top + CELL.height * (shares.length - 1 - shares.indexOf(share));
  const { width, height } = CELL;
  const box = ({ alpha, share }) => ({ x: left(alpha), y: top(share), width, height });
  const cells = rows.map((row) => {
    return shape("rect", { ...box(row), fill: `rgb(${colourOf(0.5 + row.gain / most / 2).join(",")})` });
  });
  const dots = rows.filter((row) => row.clear).map(({ alpha, share }) => {
    return shape("circle", { cx: left(alpha) + CELL.width / 2, cy: top(share) + CELL.height / 2, r: 3 });
  });
  const mark = shape("rect", { ...box(now), class: "live-mark" });
  const label = `Map of the gain over α and ρ, spread ${plain(now.spread)}; at the point: ${now.shown.gain}`;
  map.draw(label, ...cells, ...dots, ...axes(alphas, shares, left, top), mark);
}

function axes(alphas, shares, left, top) {
  const bottom = CELL.top + CELL.height * shares.length;
  const columns = alphas.map((alpha) => {
    return { x: left(alpha) + CELL.width / 2, y: bottom + 16, said: plain(alpha) };
  });
  const middle = { x: CELL.left + (CELL.width * alphas.length) / 2, y: bottom + 34, said: "α" };
  const rows = shares.map((share) => ({ x: CELL.left - 5, y: top(share) + 17, said: plain(share) }));
  const side = { x: 10, y: bottom / 2, said: "ρ" };
  const written = (anchor) => ({ x, y, said }) => shape("text", { x, y, "text-anchor": anchor }, said);
  return [...[...columns, middle].map(written("middle")), ...[...rows, side].map(written("end"))];
}
