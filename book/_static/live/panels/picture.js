// A reader's own picture, chosen or dropped. It is read in the page and sent nowhere.

import { element, newId } from "./kit.js";

const MOST_PIXELS = 50_000_000;
const STRIP_PIXELS = 1_000_000;

/**
 * @param {HTMLElement} panel on all of which a picture can be dropped
 * @param {(picture: ImageData, name: string) => void} onPicture
 * @param {(problem: Error) => void} onProblem called with why a file is refused, in words
 * @returns {HTMLElement} a field for a file
 */
export function pictureField(panel, onPicture, onProblem) {
  const id = newId();
  const input = element("input", { type: "file", id, accept: "image/*" });
  const about = "Nothing leaves your browser: this page reads the picture, and it works without a network.";
  const node = element(
    "div",
    { class: "picture-field" },
    element("label", { for: id }, "Choose a picture, or drop one on this panel"),
    input,
    element("p", {}, about),
  );
  const take = (file) => {
    if (file) readPicture(file).then((picture) => onPicture(picture, file.name), onProblem);
  };
  input.addEventListener("change", () => take(input.files[0]));
  const over = (event, inside) => {
    if (!event.dataTransfer.types.includes("Files")) return; // text goes into its field
    event.preventDefault();
    panel.classList.toggle("picture-over", inside);
  };
  panel.addEventListener("dragover", (event) => over(event, true));
  panel.addEventListener("dragleave", (event) => over(event, false));
  panel.addEventListener("drop", (event) => {
    over(event, false);
    take(event.dataTransfer.files[0]);
  });
  return node;
}

/**
 * The pixels of a picture's file, upright and without colour management, transparent ones on white: what
 * calip_core.datasets reads from a folder.
 *
 * @param {File} file
 * @returns {Promise<ImageData>}
 */
async function readPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`“${file.name}” is no picture that this browser can read. Try a PNG or a JPEG file.`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    const millions = Math.round((width * height) / 1e6);
    const most = MOST_PIXELS / 1e6;
    throw new Error(`“${file.name}” has ${millions} million pixels; at most ${most} million are read here.`);
  }
  const pixels = await pixelsOf(bitmap);
  bitmap.close();
  return pixels;
}

/** Strip by strip, so that the page stays quick while a large picture is read. */
async function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const rows = Math.min(height, Math.ceil(STRIP_PIXELS / width));
  const context = element("canvas", { width, height: rows }).getContext("2d", { willReadFrequently: true });
  const pixels = new ImageData(width, height);
  context.fillStyle = "#fff";
  for (let top = 0; top < height; top += rows) {
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top));
    pixels.data.set(strip.data, 4 * width * top);
    await new Promise((resolve) => setTimeout(resolve));
  }
  return pixels;
}
