"""The house style, as far as a machine can check it: chapters, pages, and the words that exhibits put together.

Usage: python -m book.tools.language

Faults fail. Sentences of many words are only listed: some are fine.
"""

import ast
import re
import sys
from collections.abc import Iterator

from book.tools.chapters import ROOT, chapter_sources, read_chapter

LONGEST_SENTENCE = 40
_PAGES = ("README.md", "CONTRIBUTING.md", "book/index.md", "book/notation.md", "book/live.md")
_BANNED = (
    "told apart", "knows of", "the road to", "what is said of", "when left out", "where left out",
    "most nearly", "a class each", "can be told", "so to speak",
)  # fmt: skip
_NOT_PROSE = re.compile(
    r"```.*?```|`[^`\n]+`|\$\$.*?\$\$|(?<!\\)\$[^$]+?\$|\]\([^)]*\)|\{[a-z:]+\}`[^`]*`|<[^>\n]+>|https?://\S+",
    re.DOTALL,
)
_RULES = {
    "write 'N %', with a space": re.compile(r"(?<![\w.:{])\d+(?:[.,]\d+)?%(?!\w)"),
    "write a real minus, −": re.compile(r"(?:(?<=[\s(\[])|^)-\d", re.MULTILINE),
    "write 'an' before a vowel": re.compile(r"\b[Aa] (?!one\b|once\b|euro|ewe)[aeio][a-z]+"),
    "write 'a' before a consonant": re.compile(r"\b[Aa]n (?!x-)[bcdfgjklmnpqrstvwxyz][a-z]+"),
    "say it in other words": re.compile(rf"\b(?:{'|'.join(_BANNED)})\b", re.IGNORECASE),
}
_IN_CODE = ("write 'N %', with a space", "say it in other words")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"”)*_]*\s+(?=[\"“(*_]*[A-Z0-9])|\n\s*\n|\n\s*(?:[-*|#>]|\d+\.)\s?|\|")


def faults(text: str, rules: tuple[str, ...] = tuple(_RULES)) -> Iterator[str]:
    """What breaks the house style in a text, with the words around it."""
    prose = plain(text)
    for rule in rules:
        for match in _RULES[rule].finditer(prose):
            words = " ".join(prose[max(0, match.start() - 25) : match.end() + 25].split())
            yield f"{rule}: ... {words} ..."


def long_sentences(text: str) -> Iterator[str]:
    """Sentences of more words than are easily read."""
    for sentence in _SENTENCE_END.split(plain(text)):
        words = sentence.split()
        if len(words) > LONGEST_SENTENCE:
            yield f"{len(words)} words: {' '.join(words[:10])} ..."


def plain(text: str) -> str:
    """The prose in Markdown: code, mathematics, addresses and citations become one word each."""
    return _NOT_PROSE.sub(" X ", text)


def texts() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where the book's words are: a name, a text, and the rules that hold there."""
    for name in _PAGES:
        yield name, (ROOT / name).read_text(encoding="utf-8"), tuple(_RULES)
    for source in chapter_sources():
        for cell in read_chapter(source).cells:
            if cell.cell_type == "markdown":
                yield source.name, cell.source, tuple(_RULES)
            else:
                yield from ((source.name, words, _IN_CODE) for words in strings(cell.source))
    for path in sorted((ROOT / "calip_core" / "exhibits").glob("*.py")):
        yield from ((path.name, words, _IN_CODE) for words in strings(path.read_text(encoding="utf-8")))


def strings(source: str) -> Iterator[str]:
    """The strings in Python's source text, docstrings among them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def main() -> int:
    found = 0
    for name, text, rules in texts():
        for fault in faults(text, rules):
            print(f"{name}: {fault}", file=sys.stderr)
            found += 1
        if rules == tuple(_RULES):
            for sentence in long_sentences(text):
                print(f"{name}: {sentence}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
