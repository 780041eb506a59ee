"""The tokenizer in the browser against ``clip``'s own, and its table of HTML's names against Python's."""

import gzip
import html.entities
import json
import random
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import ftfy
import pytest

from calip_core.backbones.clip_import import clip
from calip_core.backbones.tokenizers import VOCABULARY
from calip_core.world.captions import captions_for
from calip_core.world.digits import sample_digits
from calip_core.world.scenes import sample_scenes

Tokenize = Callable[[str], list[int]]
Module = Callable[[str], Callable[..., Any]]

_NAMES = sorted(html.entities.html5)

_UNASSIGNED = "Cn"  # left out: what Python and the browser know of a character depends on their Unicode
_SCRIPTS = (  # first and last character
    (0x00A0, 0x024F),  # Latin
    (0x0250, 0x02FF),  # phonetic
    (0x0300, 0x036F),  # accents
    (0x0370, 0x03FF),  # Greek
    (0x1F00, 0x1FFF),  # polytonic
    (0x0400, 0x052F),  # Cyrillic
    (0x0531, 0x058A),  # Armenian
    (0x0591, 0x05F4),  # Hebrew
    (0x0600, 0x06FF),  # Arabic
    (0x0900, 0x097F),  # Devanagari
    (0x0E01, 0x0E5B),  # Thai
    (0x10A0, 0x10FF),  # Georgian
    (0x1100, 0x11FF),  # jamo
    (0x13A0, 0x13FD),  # Cherokee
    (0x2000, 0x206F),  # punctuation
    (0x2070, 0x218B),  # numbers
    (0x2190, 0x27BF),  # symbols
    (0x3000, 0x30FF),  # kana
    (0x4E00, 0x9FFF),  # Han
    (0xAC00, 0xD7A3),  # Hangul
    (0xFB00, 0xFDFF),  # presentation
    (0xFE00, 0xFFFD),  # widths
    (0x10330, 0x1034A),  # Gothic
    (0x10400, 0x1044F),  # Deseret
    (0x1D400, 0x1D7FF),  # mathematical
    (0x1F300, 0x1F64F),  # emoji
)
_AWKWARD = [
    *("ﬁ", "ﬃ", "ﬅ", "ŉ", "Ǆ", "Ĳ", "ß", "ẞ", "İ", "ı", "K", "Å", "Σ", "ὈΔΥΣΣΕΎΣ", "ς", "\u0345", "α\u0345"),
    *("“", "”", "‘", "’", "ʼ", "‛", "it’s", "'S", "'ſ", "we'LL", "don't", "I'm", "'d've", "rock'n'roll", "''re"),
    *("ＬＯＵＤ", "　", "ｶﾞ", "￦", "１２３", "½", "x²", "Ⅷ", "①", "1,234.5", "007", "e\u0301", "\u1100\u1161\u11a8"),
    *("👩‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇨🇭", "🏴\U000e0067\U000e0062\U000e007f", "\ufe0f", "\u200d", "\ufeff", "\ufffc"),
    *("\x1b[31mred\x1b[0m", "\x1b[1;٣m", "\x1b[", "\x00", "\x0b", "\x0c", "\x1c", "\x1f", "\x7f", "\x81", "\x85"),
    *("\r\n", "\r", "\n", "\t", "\u2028", "\u2029", "\u00a0", "\u200b", "\u180e", "\u3000", "   ", "\ud83d", "\ude00"),
    *("<", "<b>", "</w>", "&", "&&", "&#", "&#x", "&;", "#;", "_", "--", "...", "?!", "$5.00", "100%", "a_b", "C++"),
    *("<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|ſtartoftext|>", "<|endoftext|", "<|startoftext|>s"),
    *("&notit;", "&amp;lt;", "&amp;amp;amp;", "&amp;#39;", "&é;", "&ThickSpace;", "&fjlig;", "&AMPX;", "&COPYsr"),
    *("&NTILDE;", "&nTILDE;", "&SZLIG;", "&FRAC12;", "&#59;", "&#12ab;", "&#X41;", "&#x1F600;", "&#160;", "&#x20;"),
    *("&#0;", "&#11;", "&#13;", "&#128;", "&#x80", "&#x9D;", "&#65279;", "&#x3c;b", "&#xD800;", "&#xFDD0;", "&#xFFFF;"),
    *("&#x110000;", "&#99999999999;"),
]
TOKENIZER = clip.simple_tokenizer.SimpleTokenizer()
_ENGLISH = ("a photo of", "The Cat's", "dogs,", "WHITE", "don't!", "3 of 12", "red-and-blue", "e.g.", "(x)", "naïve")


@pytest.fixture
def tokenize(module: Module) -> Tokenize:
    """The browser's tokenizer, with the vocabulary read once."""
    run = module("engine/tokenizer.js")
    run("tokenize", js=f"['', window.vocabulary = underTest.parseVocabulary({json.dumps(_merges())})]")
    return lambda text: run("tokenize", js=f"[{json.dumps(text)}, window.vocabulary]")


def _merges() -> str:
    """The lines of the published file that clip's tokenizer reads: all but bytes and marks."""
    with gzip.open(clip.simple_tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    return "\n".join(lines[1 : 1 + VOCABULARY - 2 * 256 - 2])


def test_texts_of_every_kind_become_the_numbers_of_clip(tokenize: Tokenize) -> None:
    rng = random.Random(0)
    made = [_text(rng) for _ in range(2000)]
    texts = [text for text in made if not _is_repaired(text)]
    assert len(texts) > 0.99 * len(made)  # the others are mojibake to ftfy, which the browser leaves as it is
    assert _differences(tokenize, texts) == []


def test_awkward_characters_alone_and_in_a_word(tokenize: Tokenize) -> None:
    texts = [form.format(part) for part in _AWKWARD for form in ("{}", "a{}b", "{0}{0}", "A {} B", "'{}")]
    assert _differences(tokenize, [text for text in texts if not _is_repaired(text)]) == []


def test_captions_of_the_world(tokenize: Tokenize) -> None:
    texts = [text for pictures in (sample_scenes(60, 1), sample_digits(20, 1)) for text in captions_for(pictures, 1)]
    assert _differences(tokenize, texts) == []


def test_nothing_spaces_and_three_hundred_words(tokenize: Tokenize) -> None:
    words = " ".join(["A photo of an Extraordinarily long"] * 50)
    assert _differences(tokenize, ["", " ", "\n \t\u3000\u00a0", words, "a" * 2000, "ab" * 1000]) == []


def test_entities_stay_from_the_first_line_of_markup_on(tokenize: Tokenize) -> None:
    texts = ["&Rarr;&NTILDE;\n<b>&NTILDE;</b>\n&NTILDE;", "a < b &amp;&#12ab; c", "&lt;&NTILDE;"]
    assert _differences(tokenize, texts) == []


def test_mojibake_stays_as_it_is(tokenize: Tokenize) -> None:
    """The one stated difference: "cafÃ©" is not repaired."""
    assert TOKENIZER.encode("cafÃ©") == tokenize("café") != tokenize("cafÃ©")


def test_the_names_of_html(module: Module) -> None:
    pairs = module("engine/entities.js")("ENTITIES.entries().toArray", js="[]")
    assert dict(pairs) == html.entities.html5


def _differences(tokenize: Tokenize, texts: Iterable[str]) -> list[str]:
    return [text for text in texts if tokenize(text) != TOKENIZER.encode(text)]


def _is_repaired(text: str) -> bool:
    """Whether ftfy takes some of a text for mojibake, and changes it."""
    return ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False)


def _text(rng: random.Random) -> str:
    parts = [rng.choice((_word, _word, _awkward, _reference, _english))(rng) for _ in range(rng.randint(1, 8))]
    return rng.choice(("", " ", " ", "\n")).join(parts)


def _word(rng: random.Random) -> str:
    """Letters, marks and signs of one script, some repeated."""
    first, last = rng.choice(_SCRIPTS)
    drawn = (chr(rng.randint(first, last)) * rng.choice((1, 1, 1, 2)) for _ in range(rng.randint(1, 6)))
    return "".join(character for character in drawn if unicodedata.category(character[0]) != _UNASSIGNED)


def _awkward(rng: random.Random) -> str:
    return rng.choice(_AWKWARD)


def _reference(rng: random.Random) -> str:
    """A character reference of HTML: named or numbered, with or without its semicolon, escaped again or not."""
    point = rng.choice((rng.randrange(0x100), rng.randint(*rng.choice(_SCRIPTS))))
    if unicodedata.category(chr(point)) == _UNASSIGNED:
        point = 0xFFFF
    name = rng.choice(_NAMES)
    numbered = (f"#{point}", f"#{point};", f"#x{point:x};", f"#X{point:X}")
    return rng.choice(("&", "&", "&amp;", "&amp;amp;")) + rng.choice((name, name.rstrip(";"), name.upper(), *numbered))


def _english(rng: random.Random) -> str:
    return rng.choice(_ENGLISH)
