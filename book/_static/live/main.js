// The pages' only global, window.calip, and the panels of a page.

import { createEngine } from "./engine/client.js";
import { calipLogits } from "./engine/calip.js";
import { loadData } from "./data.js";
import { panels } from "./panels/all.js";

/** A panel is made this far before it scrolls into view. */
const MARGIN = "600px";

/**
 * Called by the bundle: offers window.calip and makes the page's panels.
 *
 * @param {string} address the bundle's own address; weights and data lie beside it
 * @param {string} source an expression whose value is all modules, for the worker
 */
export function start(address, source) {
  const engine = createEngine(new URL(".", address).href, source);
  const calip = {
    encodeText: engine.encodeText,
    encodeImage: engine.encodeImage,
    seenImage: engine.seenImage,
    logits: calipLogits,
    unseenWords: engine.unseenWords,
    backbone: engine.backbone,
    onProgress: engine.onProgress,
    data: (name) => loadData(new URL("data/", address).href, name),
  };
  calip.ready = documentRead().then(() => mountPanels(calip));
  window.calip = calip;
}

function documentRead() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
}

/** Each panel is made once, shortly before it is seen. */
function mountPanels(calip) {
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        mount(target, calip);
      }
    },
    { rootMargin: MARGIN },
  );
  for (const host of document.querySelectorAll(".calip-live[data-panel]")) {
    host.classList.add("calip-live-on"); // the page makes room, and a static figure before it steps back (live.css)
    seen.observe(host);
  }
}

async function mount(host, calip) {
  try {
    await panels[host.dataset.panel](host, calip);
    host.classList.add("calip-live-made");
  } catch (error) {
    host.classList.remove("calip-live-on");
    throw error;
  }
}
