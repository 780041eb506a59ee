// Chapter 4: a point in the map of the window, its measured gain, and what the lead of the text term lacks there.

import { colourOf } from "./heatmap.js";
import { answerLine, element, percent, plain, range, signed } from "./kit.js";
import { drawing, pointedAt, shape } from "./svg.js";
import { dataTable, gainOf } from "./tables.js";

const CELL = { width: 34, height: 24, left: 44, top: 2 }; // of the map, in pixels
const FACTORS = ["tokens differ: a × spread", "pool knows the object: ρ a", "temperature fits: w_y − w_k"];
const LACKING = {
  errors: "CLIP makes almost no errors here: nothing is left to repair.",
  object: "There is no object, and so the pool knows nothing of one.",
  differ: "The first factor of the lead is missing: the tokens are nearly copies.",
  pool: "The second factor of the lead is missing: the pool hardly knows the object.",
  low: "The third factor of the lead is missing: α is too low, and every class looks at the object alone.",
  high: "The third factor of the lead is missing: α is too high, and every class looks everywhere.",
  nothing: "No factor of the lead is missing.",
};

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function phase(host, calip) {
  const data = await calip.data("phase");
  const onChange = () => update();
  const alpha = range({ label: "Temperature α", values: data.alphas, value: 0.1, onChange });
  const share = range({ label: "ρ, share of the image that is object", values: data.shares, value: 0.2, onChange });
  const spread = range({ label: "Spread of the tokens", values: data.spreads, value: 1, onChange });
  const answer = answerLine();
  const map = drawing(CELL.left + CELL.width * data.alphas.length + 2, CELL.top + CELL.height * data.shares.length + 38);
  const facts = dataTable(["Here", "value"]);
  const update = () => {
    const rows = data.rows.filter((row) => row.spread === spread.value());
    const now = rows.find((row) => row.alpha === alpha.value() && row.share === share.value());
    answer.say(inWords(now));
    drawMap(map, data, rows, now);
    facts.draw(factsOf(now));
  };
  map.node.addEventListener("click", (event) => {
    const [x, y] = pointedAt(event, map.node);
    alpha.set(data.alphas[clamped((x - CELL.left) / CELL.width, data.alphas)]);
    share.set(data.shares[data.shares.length - 1 - clamped((y - CELL.top) / CELL.height, data.shares)]);
    update();
  });
  const caption = element("figcaption", {}, "Measured gain: orange where CALIP gains, blue where it loses; a dot where the gain is clear.");
  const figure = element("figure", {}, map.node, caption);
  host.append(alpha.node, share.node, spread.node, answer.node, element("div", { class: "live-figures" }, figure, facts.node));
  update();
}

function clamped(position, values) {
  return Math.max(0, Math.min(values.length - 1, Math.floor(position)));
}

function inWords(row) {
  const { alpha, share, spread, gain, clear, lacking } = row;
  const point = `α = ${plain(alpha)}, ρ = ${plain(share)} and spread ${plain(spread)}`;
  const said = `At ${point}, CALIP’s gain is ${signed(100 * gain)} points, ${clear ? "clear" : "not clear"}. ${LACKING[lacking]}`;
  const byPlaces = clear && lacking === "pool" && row.beta3 > 0;
  return byPlaces ? `${said} The visual term does not need it: every place votes for itself.` : said;
}

function factsOf(row) {
  const { only_calip, only_clip, beta2, beta3, factors } = row;
  return [
    ["CLIP, CALIP", `${percent(row.clip)}, ${percent(row.calip)}`],
    ["gain [95 %]", gainOf(row)],
    ["CALIP : CLIP alone", `${only_calip} : ${only_clip}`],
    ["β₂, β₃ chosen", `${plain(beta2, 3)}, ${plain(beta3, 3)}`],
    ...FACTORS.map((name, i) => [name, plain(factors[i], 3)]),
  ];
}

/** The gains at one spread: a column per temperature, a row per share with the smallest at the bottom. */
function drawMap(map, { alphas, shares, rows: all }, rows, now) {
  const most = Math.max(...all.map((row) => Math.abs(row.gain)));
  const left = (alpha) => CELL.left + CELL.width * alphas.indexOf(alpha);
  const top = (share) => CELL.top + CELL.height * (shares.length - 1 - shares.indexOf(share));
  const box = ({ alpha, share }) => ({ x: left(alpha), y: top(share), width: CELL.width, height: CELL.height });
  const cells = rows.map((row) => shape("rect", { ...box(row), fill: `rgb(${colourOf(0.5 + row.gain / most / 2)})` }));
  const dots = rows
    .filter((row) => row.clear)
    .map((row) => shape("circle", { cx: left(row.alpha) + CELL.width / 2, cy: top(row.share) + CELL.height / 2, r: 3 }));
  const label = `Map of CALIP’s gain over temperature and share at spread ${plain(now.spread)}; at the point: ${gainOf(now)}`;
  map.draw(label, ...cells, ...dots, ...axes(alphas, shares, left, top), shape("rect", { ...box(now), class: "live-mark" }));
}

function axes(alphas, shares, left, top) {
  const bottom = CELL.top + CELL.height * shares.length;
  const centre = { "text-anchor": "middle" };
  const columns = alphas.map((alpha) => shape("text", { x: left(alpha) + CELL.width / 2, y: bottom + 16, ...centre }, plain(alpha)));
  const rows = shares.map((share) => shape("text", { x: CELL.left - 5, y: top(share) + 17, "text-anchor": "end" }, plain(share)));
  const middle = CELL.left + (CELL.width * alphas.length) / 2;
  const names = [shape("text", { x: middle, y: bottom + 34, ...centre }, "α"), shape("text", { x: 4, y: CELL.top + 14 }, "ρ")];
  return [...columns, ...rows, ...names];
}
