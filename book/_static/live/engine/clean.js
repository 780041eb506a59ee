/**
 * What CLIP's tokenizer does to a text before its byte pairs: mend characters, decode HTML, join spaces,
 * change to lower case.
 *
 * The same as `whitespace_clean(basic_clean(text)).lower()` of clip/simple_tokenizer.py, with one difference:
 * ftfy, the package that it mends characters with, also repairs text that was decoded in the wrong encoding
 * ("Ã©" for "é"). That step is left out here: such a text stays as it is.
 */

import { ENTITIES } from "./entities.js";

/** What Windows-1252 holds at 0x80 to 0x9f; five places are empty and keep their control characters. */
const WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

/**
 * Clean a text as CLIP does.
 *
 * @param {string} text
 * @returns {string} lower case, with single spaces between the words and none at the ends.
 */
export function clean(text) {
  const decoded = unescapeHtml(unescapeHtml(fixText(text)));
  return decoded.replace(/\p{White_Space}+/gu, " ").replace(/^ | $/g, "").toLowerCase();
}

/** ftfy's `fix_text`: every line until nothing changes; from the first line with a "<" on, entities stay. */
function fixText(text) {
  let decodes = true;
  return text.replace(/[^\n]*\n|[^\n]+$/g, (line) => {
    decodes = decodes && !line.includes("<");
    let before;
    do {
      before = line;
      line = fixCharacters(decodes ? unescapeStrictly(line) : line);
    } while (line !== before);
    return line;
  });
}

/** One round of ftfy's fixes, in its order. */
function fixCharacters(text) {
  return text
    .replace(/[\x80-\x9f]/g, (control) => WINDOWS_1252[control.charCodeAt(0) - 0x80])
    .replace(/ﬅ/g, "ſt")
    .replace(/[ĲĳŉǄ-ǌǱ-ǳﬀ-ﬆ]/g, (ligature) => ligature.normalize("NFKC"))
    .replace(/[\u3000\uff01-\uffef]/g, (wide) => wide.normalize("NFKC"))
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/\r\n|[\r\u2028\u2029]/g, "\n")
    .replace(/\p{Surrogate}/gu, "\ufffd")
    .replace(/\x1b\[[\p{Nd};]*[a-zA-Z]/gu, "")
    .replace(/[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, "")
    .normalize("NFC");
}

/** ftfy's `unescape_html`: references with a semicolon alone, and names in capitals such as `&EACUTE;`. */
function unescapeStrictly(text) {
  return text.replace(/&(#?[0-9A-Za-z]{1,24};)/g, (whole, reference) => {
    if (ENTITIES.has(reference)) {
      return ENTITIES.get(reference);
    }
    const decoded = unescapeHtml(whole);
    if (reference.startsWith("#")) {
      return decoded.includes(";") ? whole : decoded;
    }
    const capitals = reference === reference.toUpperCase() && decoded === whole;
    return (capitals && ENTITIES.get(reference.toLowerCase())?.toUpperCase()) || whole;
  });
}

/** Python's `html.unescape`: the references of HTML 5, those without a semicolon too. */
function unescapeHtml(text) {
  const references = /&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|([^\t\n\f <&#;]{1,32};?))/gu;
  return text.replace(references, (whole, decimal, hexadecimal, name) => {
    if (name !== undefined) {
      return namedCharacters(name) ?? whole;
    }
    return numberedCharacter(decimal === undefined ? parseInt(hexadecimal, 16) : parseInt(decimal, 10));
  });
}

/** The longest name that the text starts with, decoded, and the rest; undefined if there is none. */
function namedCharacters(text) {
  for (let length = text.length; length > 1; length--) {
    const characters = ENTITIES.get(text.slice(0, length));
    if (characters !== undefined) {
      return characters + text.slice(length);
    }
  }
  return undefined;
}

/** The character of a numeric reference, by the HTML standard's table for invalid ones. */
function numberedCharacter(point) {
  if (point >= 0x80 && point <= 0x9f) {
    return WINDOWS_1252[point - 0x80];
  }
  if (point === 0 || (point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff) {
    return "\ufffd";
  }
  const control = point < 0x20 && ![0x09, 0x0a, 0x0c, 0x0d].includes(point);
  const nonCharacter = (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe;
  return control || point === 0x7f || nonCharacter ? "" : String.fromCodePoint(point);
}
