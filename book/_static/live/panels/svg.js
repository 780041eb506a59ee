// Small drawings as SVG: shapes take the page's colours from the style sheet, and text keeps its size.

const SPACE = "http://www.w3.org/2000/svg";

/**
 * An SVG element with attributes and children (nodes or text).
 *
 * @param {string} tag
 * @param {Object<string, any>} attributes
 * @param {...(Node|string)} children
 */
export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * A drawing of a fixed size in CSS pixels, so that its text is never shrunk.
 *
 * @param {number} width
 * @param {number} height
 * @returns {{node: SVGElement, draw: (label: string, ...shapes: Node[]) => void}} `label`: text alternative
 */
export function drawing(width, height) {
  const viewBox = `0 0 ${width} ${height}`;
  const node = shape("svg", { class: "live-drawing", role: "img", width, height, viewBox });
  const draw = (label, ...shapes) => {
    node.replaceChildren(...shapes);
    node.setAttribute("aria-label", label);
  };
  return { node, draw };
}

/** The linear function that takes the two values of `from` to the two of `to`. */
export function linearScale(from, to) {
  return (value) => to[0] + ((value - from[0]) * (to[1] - to[0])) / (from[1] - from[0]);
}

/**
 * Calls `pick` with [x, y], in pixels of a drawing or canvas, where a mouse or finger points at it. For the
 * keyboard, other controls must do the same.
 */
export function onPointed(node, pick) {
  node.classList.add("live-pointed");
  node.addEventListener("click", ({ clientX, clientY }) => {
    const { left, top } = node.getBoundingClientRect();
    pick([clientX - left, clientY - top]);
  });
}
