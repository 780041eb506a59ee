// Chapter 4: CLIP and CALIP on the miniature's tasks while the pool is spoiled: the gain on each.

import { answerLine, choice, element, plain, range, signed } from "./kit.js";
import { drawing, linearScale, shape } from "./svg.js";
import { dataTable } from "./tables.js";

const FRAME = { width: 158, height: 158, left: 46, right: 148, top: 10, bottom: 132 }; // of a plot, in pixels
const NOTE =
  "Each plot: CALIP’s gain in points against λ, with its 95 % interval; blend weights from validation images. " +
  "Only: images that only one of the two gets right. A star: the gain is clear (McNemar’s test after " +
  "Bonferroni’s correction).";
const LEAK = ", but by a leak: these tokens are near copies of the good pooled vector, and carry it back in";

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
  const table = dataTable(["Task", "CLIP", "CALIP", "gain [95 %]", "only CALIP : only CLIP"]);
  const update = () => {
    const rows = data.rows.filter((row) => row.tokens === tokens.value());
    const now = rows.filter((row) => row.amount === amount.value());
    answer.say(inWords(amount.value(), tokens.value(), now));
    const span = spanOf(rows);
    plots.forEach((plot, i) => drawPlot(plot, rows.filter((row) => row.task === data.tasks[i]), now[i], span));
    table.draw(now.map(cellsOf));
  };
  const captions = data.tasks.map((task) => element("figcaption", {}, task));
  const captioned = plots.map(({ node }, i) => element("figure", {}, node, captions[i]));
  const figures = element("div", { class: "live-figures" }, ...captioned);
  host.append(tokens.node, amount.node, answer.node, figures, table.node, element("p", {}, NOTE));
  update();
}

function inWords(amount, tokens, rows) {
  const clear = rows.filter((row) => row.clear).map(({ shown, task }) => `${shown.points} points on ${task}`);
  const said = clear.length ? `CALIP gains clearly: ${clear.join(", ")}` : "CALIP gains clearly on no task";
  const leak = clear.length && tokens === "joint" ? LEAK : "";
  return `At λ = ${plain(amount)} with ${tokens} tokens, ${said}${leak}.`;
}

/** On a phone a line ends between a gain and its interval, and nowhere else. */
function cellsOf({ task, shown }) {
  const whole = (text) => text.replaceAll(" ", "\u00a0");
  const [gain, ...interval] = shown.gain.split(" ");
  const ends = whole(interval.join(" "));
  return [task, whole(shown.clip), whole(shown.calip), `${gain} ${ends}`, whole(shown.alone)];
}

/** The ends of the plots' axis: multiples of ten points that hold all intervals. */
function spanOf(rows) {
  const low = Math.floor(10 * Math.min(...rows.map((row) => row.gain_low))) / 10;
  return [low, Math.ceil(10 * Math.max(...rows.map((row) => row.gain_high))) / 10];
}

/** The gain on one task against λ, each with its interval; the chosen λ has a larger marker. */
function drawPlot(plot, rows, now, span) {
  const x = linearScale([0, 1], [FRAME.left, FRAME.right]);
  const y = linearScale(span, [FRAME.bottom, FRAME.top]);
  const marks = rows.flatMap((row) => {
    const here = x(row.amount);
    const ends = { x1: here, x2: here, y1: y(row.gain_low), y2: y(row.gain_high) };
    const point = { cx: here, cy: y(row.gain), r: row === now ? 5 : 2 };
    const interval = shape("line", { ...ends, class: "live-line line-calip" });
    return [interval, shape("circle", { ...point, class: "line-calip" })];
  });
  const { clip, calip, gain } = now.shown;
  const label = `${now.task} at λ = ${plain(now.amount)}: CLIP ${clip}, CALIP ${calip}, gain ${gain}`;
  plot.draw(label, ...axes(x, y, span), ...marks);
}

function axes(x, y, span) {
  const below = (value, said, anchor) => {
    return shape("text", { x: x(value), y: FRAME.bottom + 19, "text-anchor": anchor }, said);
  };
  const gains = [...new Set([...span, 0])].map((value) => {
    return shape("text", { x: FRAME.left - 10, y: y(value) + 5, "text-anchor": "end" }, signed(100 * value, 0));
  });
  const lines = `M${FRAME.left - 6},${FRAME.top}V${FRAME.bottom}M${FRAME.left - 6},${y(0)}H${FRAME.right + 4}`;
  const amounts = [below(0, "λ = 0", "middle"), below(0.5, "0.5", "middle"), below(1, "1", "middle")];
  return [shape("path", { d: lines, class: "live-axis" }), ...gains, ...amounts];
}
