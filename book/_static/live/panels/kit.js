// Controls that every panel is made of: native elements with a label, so that the keyboard and screen readers work.

let made = 0;

/** A fresh id, for labels. */
export function newId() {
  made += 1;
  return `calip-live-${made}`;
}

/**
 * An element with attributes, listeners (`onclick`, ...) and children (nodes or text); null children are left out.
 *
 * @param {string} tag
 * @param {Object<string, any>} attributes
 * @param {...(Node|string|null)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/**
 * A labelled range input with its value beside it.
 *
 * @param {Object} options
 * @param {string} options.label
 * @param {number[]} options.values the stops, in order; the input moves from one to the next
 * @param {number} options.value one of them
 * @param {(value: number) => string} [options.format] how a value is written
 * @param {(value: number) => void} options.onChange called at every move
 * @returns {{node: HTMLElement, value: () => number, set: (value: number) => void}}
 */
export function range({ label, values, value, format = plain, onChange }) {
  const id = newId();
  const output = element("output", { for: id, "aria-live": "off" }); // aria-valuetext says it
  const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
  const current = () => values[Number(input.value)];
  const show = () => {
    output.textContent = format(current());
    input.setAttribute("aria-valuetext", format(current()));
  };
  const set = (wanted) => {
    input.value = String(nearest(values, wanted));
    show();
  };
  input.addEventListener("input", () => {
    show();
    onChange(current());
  });
  set(value);
  return { node: element("div", { class: "live-range" }, element("label", { for: id }, label), input, output), value: current, set };
}

/** Evenly spaced stops from `first` to `last`. */
export function stops(first, last, count) {
  return Array.from({ length: count }, (_, i) => first + ((last - first) * i) / (count - 1));
}

function nearest(values, wanted) {
  return values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

/**
 * One of several options, as a group of radio buttons that look like chips.
 *
 * @param {Object} options
 * @param {string} options.legend
 * @param {{value: string, label: string|Node}[]} options.options
 * @param {string} options.value
 * @param {(value: string) => void} options.onChange
 * @returns {{node: HTMLElement, value: () => string, set: (value: string) => void}}
 */
export function choice({ legend, options, value, onChange }) {
  const name = newId();
  const inputs = options.map((option) => element("input", { type: "radio", name, value: option.value, onchange: () => onChange(current()) }));
  const current = () => inputs.find((input) => input.checked).value;
  const set = (wanted) => {
    for (const input of inputs) input.checked = input.value === wanted;
  };
  set(value);
  const labels = options.map((option, i) => element("label", { class: "live-chip" }, inputs[i], element("span", {}, option.label)));
  return { node: element("fieldset", { class: "live-choice" }, element("legend", {}, legend), ...labels), value: current, set };
}

/**
 * A text field with a button, for a reader's own words; Enter does what the button does.
 *
 * @param {Object} options
 * @param {string} options.label
 * @param {string} options.button
 * @param {string} [options.placeholder]
 * @param {(text: string) => void} options.onSubmit called with the trimmed text, never with an empty one
 */
export function textField({ label, button, placeholder = "", onSubmit }) {
  const id = newId();
  const input = element("input", { type: "text", id, placeholder, autocomplete: "off", maxlength: 200 });
  const submit = (event) => {
    event.preventDefault();
    if (input.value.trim()) onSubmit(input.value.trim());
  };
  const node = element("form", { class: "live-field", onsubmit: submit }, element("label", { for: id }, label), input, element("button", { type: "submit" }, button));
  return { node, input };
}

/** The line that says a panel's answer in words; screen readers read it when it changes. */
export function answerLine() {
  const node = element("p", { class: "live-answer", role: "status" });
  const say = (text) => {
    if (node.textContent !== text) node.textContent = text;
  };
  return { node, say };
}

/**
 * A progress bar for the weights, hidden until they load.
 *
 * @returns {{node: HTMLElement, show: (share: number) => void, hide: () => void,
 *   during: (work: (onProgress: (share: number) => void) => Promise<any>) => Promise<any>}}
 *   `during` shows the bar while a promise is pending, and an error's message in its place
 */
export function progressBar(label) {
  const id = newId();
  const bar = element("progress", { id, max: 1, value: 0 });
  const text = element("label", { for: id }, label);
  const node = element("div", { class: "live-progress", hidden: true }, text, bar);
  const show = (share) => {
    node.hidden = false;
    bar.value = share;
  };
  const hide = () => (node.hidden = true);
  const during = async (work) => {
    node.hidden = false;
    text.textContent = label;
    try {
      const result = await work(show);
      hide();
      return result;
    } catch (error) {
      text.textContent = error.message;
      throw error;
    }
  };
  return { node, show, hide, during };
}

/** A picture by its address, ready to be drawn. */
export async function loaded(address) {
  const image = element("img", { src: address });
  await image.decode();
  return image;
}

/** A number with exactly `digits` decimals and a real minus sign. */
export function fixed(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

/** A number with at most `digits` decimals and a real minus sign. */
export function plain(value, digits = 2) {
  return String(Number(value.toFixed(digits))).replace("-", "−");
}

/** A share as the book writes it: "8.3 %". */
export function percent(share, digits = 1) {
  return `${fixed(100 * share, digits)} %`;
}

/** A difference with its sign: "+0.4", "−1.2", "0.0". */
export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value > 0 ? "+" : "−") + text;
}
