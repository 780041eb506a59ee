// Chapter 4: CLIP and CALIP on the miniature's tasks while the pool is spoiled.

import { answerLine, choice, element, percent, plain, range } from "./kit.js";
import { drawing, linearScale, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const FRAME = { width: 154, height: 158, left: 46, right: 148, top: 10, bottom: 132 }; // of a plot, in pixels
const NOTE =
  "Gains in points, with blend weights from validation images. Alone: images that only one of the two gets " +
  "right. A star: the gain is clear (McNemar’s test after Bonferroni’s correction).";
const LINES = { clip: "CLIP", calip: "CALIP" };

/**
 * @param {HTMLElement} host
 * @param {Object} calip
 */
export async function poolWindow(host, calip) {
  const { pool: data } = await calip.data("window");
  const kinds = ["joint", "value"].map((kind) => ({ value: kind, label: kind }));
  const onChange = () => update();
  const tokens = choice({ legend: "Spatial tokens", options: kinds, value: "value", onChange });
  const amount = range({ label: "λ, how spoiled the pool is", values: data.amounts, value: 0.5, onChange });
  const answer = answerLine();
  const plots = data.tasks.map(() => drawing(FRAME.width, FRAME.height));
  const table = dataTable(["Task", "CLIP", "CALIP", "gain [95 %]", "CALIP : CLIP alone"]);
  const update = () => {
    const rows = data.rows.filter((row) => row.tokens === tokens.value());
    const now = rows.filter((row) => row.amount === amount.value());
    answer.say(inWords(amount.value(), tokens.value(), now));
    plots.forEach((plot, i) => drawPlot(plot, rows.filter((row) => row.task === data.tasks[i]), now[i]));
    table.draw(now.map(({ task, shown }) => [task, shown.clip, shown.calip, shown.gain, shown.alone]));
  };
  const captions = data.tasks.map((task) => element("figcaption", {}, task));
  const captioned = plots.map(({ node }, i) => element("figure", {}, node, captions[i]));
  const figures = element("div", { class: "live-figures" }, ...captioned);
  host.append(tokens.node, amount.node, answer.node, figures, legend(), table.node, element("p", {}, NOTE));
  update();
}

function inWords(amount, tokens, rows) {
  const clear = rows.filter((row) => row.clear).map(({ shown, task }) => `${shown.points} points on ${task}`);
  const said = clear.length ? `CALIP gains clearly: ${clear.join(", ")}` : "CALIP gains clearly on no task";
  return `At λ = ${plain(amount)} with ${tokens} tokens, ${said}.`;
}

function legend() {
  const keys = Object.entries(LINES).map(([line, name]) => {
    const stroke = shape("line", { x1: 0, y1: 6, x2: 24, y2: 6, class: `live-line line-${line}` });
    return element("span", {}, shape("svg", { width: 24, height: 12 }, stroke), ` ${name}`);
  });
  return element("p", { class: "live-legend", "aria-hidden": "true" }, ...keys);
}

/** Both accuracies of one task against λ, and a marker at the chosen λ. */
function drawPlot(plot, rows, now) {
  const x = linearScale([0, 1], [FRAME.left, FRAME.right]);
  const y = linearScale([0, 1], [FRAME.bottom, FRAME.top]);
  const here = x(now.amount);
  const marks = Object.keys(LINES).flatMap((line) => {
    const points = rows.map((row) => `${x(row.amount)},${y(row[line])}`).join(" ");
    const curve = shape("polyline", { points, class: `live-line line-${line}` });
    return [curve, shape("circle", { cx: here, cy: y(now[line]), r: 4, class: `line-${line}` })];
  });
  const marker = shape("line", { x1: here, x2: here, y1: FRAME.top, y2: FRAME.bottom, class: "live-axis" });
  const label = `${now.task} at λ = ${plain(now.amount)}: CLIP ${now.shown.clip}, CALIP ${now.shown.calip}`;
  plot.draw(label, ...axes(x, y), marker, ...marks);
}

function axes(x, y) {
  const below = (value, said, anchor) => {
    return shape("text", { x: x(value), y: FRAME.bottom + 19, "text-anchor": anchor }, said);
  };
  const shares = [0, 1].map((value) => {
    return shape("text", { x: FRAME.left - 6, y: y(value) + 5, "text-anchor": "end" }, percent(value, 0));
  });
  const corner = `M${FRAME.left},${FRAME.top}V${FRAME.bottom}H${FRAME.right}`;
  const amounts = [below(0, "0", "start"), below(0.5, "λ", "middle"), below(1, "1", "end")];
  return [shape("path", { d: corner, class: "live-axis" }), ...shares, ...amounts];
}
