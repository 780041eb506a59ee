"""Links to chapters lead to a chapter, and the number that they say is that chapter's."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from book.tools.chapters import ROOT, chapter_number, chapter_sources, read_chapter

_LINK = re.compile(r"\[([^\]]*)\]\((?:\.\./|notebooks/)*(\w+?)(?:\.(?:py|md|ipynb))?(?:#[\w-]+)?\)")
_NAMED = re.compile(r"\b(?:[Cc]hapter|[Aa]ppendix)\s+(\w+)\b")
_CHAPTER = re.compile(r"(?:\d\d|[A-Z])_\w+")
_PAGES = ("README.md", "book/index.md", "book/notation.md", "CONTRIBUTING.md")


def wrong_links(text: str, stems: set[str]) -> Iterator[str]:
    """Links whose target is no chapter, or whose text names another chapter than the one they lead to."""
    for words, target in _LINK.findall(text):
        if not _CHAPTER.fullmatch(target):
            continue
        if target not in stems:
            yield f"{target} is no chapter"
        elif (named := _NAMED.search(words)) and named[1] != chapter_number(target):
            yield f"{words!r} leads to {target}"


@pytest.mark.parametrize("source", [*chapter_sources(), *(ROOT / name for name in _PAGES)], ids=lambda path: path.stem)
def test_links_lead_to_the_chapter_that_they_name(source: Path) -> None:
    stems = {chapter.stem for chapter in chapter_sources()}
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".py":
        text = "\n".join(cell.source for cell in read_chapter(source).cells)
    assert list(wrong_links(text, stems)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[chapter 5](05_blending)", []),
        ("[Chapter 5](notebooks/05_blending.py) and [appendix A](A_train)", []),
        ("[blending](05_blending#part), [here](https://example.org/06_x), [the notation](../notation)", []),
        ("[chapter 4](05_blending)", ["'chapter 4' leads to 05_blending"]),
        ("[appendix B](A_train)", ["'appendix B' leads to A_train"]),
        ("[chapter 6](06_gone)", ["06_gone is no chapter"]),
    ],
)
def test_a_planted_wrong_link_is_found(text: str, said: list[str]) -> None:
    assert list(wrong_links(text, {"05_blending", "A_train"})) == said
