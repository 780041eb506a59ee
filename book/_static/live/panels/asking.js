// A reader's own words, and what panels need that ask the networks about them.

import { dot, unit } from "../engine/tensors.js";

/**
 * Shows the weights' progress if `work` has to wait for them.
 *
 * @param {Object} calip window.calip
 * @param {{show: (share: number) => void, hide: () => void}} progress a progressBar of the kit
 * @param {() => Promise<any>} work
 * @returns {Promise<any>} what `work` gives
 */
export async function whileLoading(calip, progress, work) {
  const end = calip.onProgress(progress.show);
  try {
    return await work();
  } finally {
    end();
    progress.hide();
  }
}

/**
 * Runs one piece of work after the other is asked for, and hands on only the result of the latest.
 *
 * @param {(problem: Error) => void} onProblem called if the latest fails
 * @returns {(work: () => Promise<any>, onResult: (result: any) => void) => Promise<void>}
 */
export function latestOnly(onProblem) {
  let turn = 0;
  return async (work, onResult) => {
    const own = ++turn;
    try {
      const result = await work();
      if (own === turn) onResult(result);
    } catch (problem) {
      if (own === turn) onProblem(problem);
    }
  };
}

/** The template with the name in the place of {}. */
export function filled(template, name) {
  return template.replace("{}", () => name);
}

/** The mean of unit vectors, made unit length again: a prompt ensemble. */
export function ensemble(vectors) {
  return unit(vectors[0].map((_, c) => vectors.reduce((sum, vector) => sum + vector[c], 0)));
}

/** Cosines of unit vectors with one. */
export function cosines(vectors, other) {
  return vectors.map((vector) => dot(vector, other));
}

/**
 * What of a reader's words training never showed, as a sentence; empty if it showed all.
 *
 * @param {string[]} unseen words that no caption held
 * @param {string} text the reader's
 * @param {string[]} heldOut pairs of a colour and a shape that no picture showed, such as "red circle"
 */
export function neverShown(unseen, text, heldOut) {
  const words = unseen.map(quoted).join(", ");
  const pairs = heldOut.filter((pair) => new RegExp(`\\b${pair}\\b`, "i").test(text)).map(quoted).join(", ");
  if (words) return `Training never showed ${words}.`;
  return pairs ? `Training showed both words, but never together: ${pairs}.` : "";
}

/** "a star", "an arch". */
export function withArticle(name) {
  return `${/^[aeiou]/i.test(name) ? "an" : "a"} ${name}`;
}

/** Text in the quotation marks of the book. */
export function quoted(text) {
  return `“${text}”`;
}
