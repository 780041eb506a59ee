// Chapter 4: CLIP and CALIP on the miniature's tasks while the pool is spoiled.

import { answerLine, choice, element, percent, plain, range } from "./kit.js";
import { drawing, linearScale, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const FRAME = { width: 154, height: 158, left: 46, right: 148, top: 10, bottom: 132 }; // of a plot, in pixels
const NOTE =
  "Gains in points, with blend weights from validation images. Alone: images that only one of the two gets right. " +
  "A star: the gain is clear (McNemar’s test after Bonferroni’s correction).";
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
    plots.forEach((plot, i) => drawPlot(plot, rows.filter((row) => row.task === data.tasks[i]), amount.value()));
    table.draw(now.map((row) => [row.task, row.shown.clip, row.shown.calip, row.shown.gain, row.shown.alone]));
  };
  const captioned = plots.map(({ node }, i) => element("figure", {}, node, element("figcaption", {}, data.tasks[i])));
  const figures = element("div", { class: "live-figures" }, ...captioned);
  host.append(tokens.node, amount.node, answer.node, figures, legend(), table.node, element("p", {}, NOTE));
  update();
}

function inWords(amount, tokens, rows) {
  const clear = rows.filter((row) => row.clear).map((row) => `${row.shown.points} points on ${row.task}`);
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
function drawPlot(plot, rows, amount) {
  const x = linearScale([0, 1], [FRAME.left, FRAME.right]);
  const y = linearScale([0, 1], [FRAME.bottom, FRAME.top]);
  const now = rows.find((row) => row.amount === amount);
  const marks = Object.keys(LINES).flatMap((line) => {
    const points = rows.map((row) => `${x(row.amount)},${y(row[line])}`).join(" ");
    const curve = shape("polyline", { points, class: `live-line line-${line}` });
    return [curve, shape("circle", { cx: x(amount), cy: y(now[line]), r: 4, class: `line-${line}` })];
  });
  const marker = shape("line", { x1: x(amount), x2: x(amount), y1: FRAME.top, y2: FRAME.bottom, class: "live-axis" });
  const label = `${now.task}: CLIP ${now.shown.clip} and CALIP ${now.shown.calip} at λ = ${plain(amount)}`;
  plot.draw(label, ...axes(x, y), marker, ...marks);
}

function axes(x, y) {
  const ends = [0, 1].flatMap((value) => [
    shape("text", { x: FRAME.left - 6, y: y(value) + 5, "text-anchor": "end" }, percent(value, 0)),
    shape("text", { x: x(value), y: FRAME.bottom + 19, "text-anchor": value ? "end" : "start" }, String(value)),
  ]);
  const corner = `M${FRAME.left},${FRAME.top}V${FRAME.bottom}H${FRAME.right}`;
  const name = shape("text", { x: x(0.5), y: FRAME.bottom + 19, "text-anchor": "middle" }, "λ");
  return [shape("path", { d: corner, class: "live-axis" }), ...ends, name];
}
