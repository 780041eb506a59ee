// Chapter 4: a point in the map of the window, its measured gain, and what the text term’s lead lacks there.

import { colourOf } from "./heatmap.js";
import { answerLine, element, plain, range } from "./kit.js";
import { drawing, onPointed, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const CELL = { width: 34, height: 24, left: 52, top: 2 }; // of the map, in pixels
const LACKING = {
  errors: "CLIP makes almost no errors here: nothing is left to repair.",
  object: "There is no object, and so the pool knows nothing of one.",
};
const MISSING = {
  differ: "tokens differ (they are nearly copies)",
  pool: "pool knows the object (hardly)",
  low: "temperature fits (α is so low that all classes look at the object alone)",
  high: "temperature fits (α is so high that all classes look everywhere)",
};
/** Of the text term’s lead. */
const FACTORS = { differ: "tokens differ", pool: "pool knows the object", low: "temperature fits" };
const VOTES = "The visual term needs none of them: every place votes for itself.";
const RULE =
  "A factor is missing below a quarter of the largest value it can have: over all spreads, over all ρ, or " +
  "over all α at this ρ and spread.";

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function phase(host, calip) {
  const { map: data } = await calip.data("window");
  const onChange = () => update();
  const alpha = range({ label: "Temperature α", values: data.alphas, value: 0.5, onChange });
  const share = range({ label: "ρ, share that is object", values: data.shares, value: 0.35, onChange });
  const spread = range({ label: "Spread of the tokens", values: data.spreads, value: 1, onChange });
  const answer = answerLine();
  const { alphas, shares } = data;
  const [width, height] = [CELL.width * alphas.length, CELL.height * shares.length];
  const map = drawing(CELL.left + width + 2, CELL.top + height + 38);
  const facts = dataTable(["At the point", "value"]);
  const update = () => {
    const rows = data.rows.filter((row) => row.spread === spread.value());
    const now = rows.find((row) => row.alpha === alpha.value() && row.share === share.value());
    answer.say(inWords(data, now));
    drawMap(map, data, rows, now);
    facts.draw(factsOf(now));
  };
  onPointed(map.node, ([x, y]) => {
    alpha.set(alphas[clamped((x - CELL.left) / CELL.width, alphas)]);
    share.set(shares[shares.length - 1 - clamped((y - CELL.top) / CELL.height, shares)]);
    update();
  });
  const figure = element("figure", {}, map.node, element("figcaption", {}, captionOf(data)));
  const figures = element("div", { class: "live-figures" }, figure, facts.node);
  host.append(alpha.node, share.node, spread.node, answer.node, figures, element("p", {}, RULE));
  update();
}

function captionOf({ level, rows, largest }) {
  return (
    "Gains: orange where CALIP gains, blue where it loses. A mark (a star in the table): the gain is clear, " +
    `McNemar’s p is below ${level} / ${rows.length}. A dot: the weight is on the text term; a ring: on the ` +
    `visual term (β₂ of at most ${largest.beta2}, β₃ of at most ${largest.beta3}: whichever is nearer to its end).`
  );
}

function clamped(position, values) {
  return Math.max(0, Math.min(values.length - 1, Math.floor(position)));
}

/** Whether the chosen weights rest on the visual term: β₃ takes more of its range than β₂. */
function isVisual({ beta2, beta3 }, largest) {
  return beta3 / largest.beta3 > beta2 / largest.beta2;
}

function inWords(data, row) {
  const point = `α = ${plain(row.alpha)}, ρ = ${plain(row.share)} and spread ${plain(row.spread)}`;
  const term = isVisual(row, data.largest) ? "visual" : "text";
  const found = row.clear
    ? `a clear gain, ${row.shown.points} points, with the weight on the ${term} term`
    : `no clear gain, ${row.shown.points} points`;
  return `At ${point}: ${found}. ${why(data, row, row.clear && term === "visual")}`;
}

/** What the text term’s lead lacks, in words; `votes`: whether the visual term gains all the same. */
function why({ rows }, { lacking, clear, factors }, votes) {
  if (lacking[0] in LACKING) return LACKING[lacking[0]];
  const missing = lacking.map((name) => MISSING[name]).join(", ");
  if (missing) return `Missing in the text term’s lead: ${missing}.${votes ? ` ${VOTES}` : ""}`;
  const none = "No factor of the text term’s lead is missing";
  const most = Math.max(...rows.map((row) => product(row.factors)));
  const [here, largest] = [product(factors), most].map((value) => plain(value, 3));
  const small = `their product is small: ${here}, where the map has ${largest} at most`;
  return clear ? `${none}.` : `${none}, but ${small}.`;
}

function product(factors) {
  return factors.reduce((all, factor) => all * factor, 1);
}

function factsOf({ shown, beta2, beta3, factors, most, lacking }) {
  const rows = Object.keys(FACTORS).map((name, i) => {
    const isMissing = lacking.includes(name) || (name === "low" && lacking.includes("high"));
    const size = `${plain(factors[i], 3)} of at most ${plain(most[i], 3)}`;
    return [FACTORS[name], isMissing ? element("strong", {}, `${size}: missing`) : size];
  });
  return [
    ["CLIP, CALIP", `${shown.clip}, ${shown.calip}`],
    ["gain [95 %]", shown.gain],
    ["only CALIP : only CLIP", shown.alone],
    ["β₂, β₃ chosen", `${plain(beta2, 3)}, ${plain(beta3, 3)}`],
    ...rows,
  ];
}

/** The gains at one spread: a column per temperature, a row per share with the smallest at the bottom. */
function drawMap(map, { alphas, shares, largest, rows: all }, rows, now) {
  const most = Math.max(...all.map((row) => Math.abs(row.gain)));
  const left = (alpha) => CELL.left + CELL.width * alphas.indexOf(alpha);
  const top = (share) => CELL.top + CELL.height * (shares.length - 1 - shares.indexOf(share));
  const { width, height } = CELL;
  const box = ({ alpha, share }) => ({ x: left(alpha), y: top(share), width, height });
  const cells = rows.map((row) => {
    return shape("rect", { ...box(row), fill: `rgb(${colourOf(0.5 + row.gain / most / 2).join(",")})` });
  });
  const marks = rows.filter((row) => row.clear).map((row) => {
    const place = { cx: left(row.alpha) + width / 2, cy: top(row.share) + height / 2 };
    return shape("circle", { ...place, r: 4, class: isVisual(row, largest) ? "live-mark" : "" });
  });
  const here = shape("rect", { ...box(now), class: "live-mark" });
  const label = `Map of the gain over α and ρ, spread ${plain(now.spread)}; at the point: ${now.shown.gain}`;
  map.draw(label, ...cells, ...marks, ...axes(alphas, shares, left, top), here);
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
