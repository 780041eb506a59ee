"""The Colab edition of a chapter: the same cells and the same code, with Markdown that needs no Sphinx.

Admonitions become HTML or quotations, citations become text with a link, labels of equations become the numbers that
the book shows, and links to chapters lead to their Colab editions. Syntax that has no plain form is refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

from book.tools.chapters import KERNEL, ROOT, ChapterError, chapter_sources, read_chapter, repository_url, tags

METADATA = KERNEL | {"accelerator": "GPU", "colab": {"gpuType": "T4", "provenance": []}}
"""What a Colab edition asks for: a GPU, which the parameters may leave idle."""

_REFERENCES = ROOT / "book" / "references.bib"
_TITLES = {
    "setup": "Set-up",
    "imports": "Imports and checks",
    "solution": "Solution",
    "hide-input": "Code of this exhibit",
}
_NOTES = ("note", "tip", "warning", "important", "seealso")
_BLOCK = re.compile(
    r"^(:{3,})\{([\w-]+)\}[ ]*([^\n]*)\n((?:^:[\w-]+:[^\n]*\n)*)(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(
    r"""
    (?P<kept> ^```[^{].*?^```$ )                                         # a block of code
  | \$\$(?P<display>.+?)\$\$(?:[ ]\((?P<label>[\w:-]+)\))?               # an equation, with its label
  | \{(?P<role>[a-z:]+)\}`(?P<content>[^`]*)`
  | `[^`\n]+` | (?<!\\)\$[^$]+?(?<!\\)\$                                 # code and mathematics in a line
  | (?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)                    # a link
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_LEFT_OVER = re.compile(r"\{[a-z:]+\}`|^(?:`{3,}|:{3,})\{[^}]*\}|^: ", re.MULTILINE)


def folded_title(cell: Any) -> str | None:
    """The title of a cell whose code is folded, in the book and on Colab; None for one that is open."""
    return next((title for tag, title in _TITLES.items() if tag in tags(cell)), None)


@dataclass(frozen=True)
class Place:
    """Where a labelled equation is: the number that the book shows, and the chapter."""

    number: int
    chapter: str


def equations(sources: Iterable[Path]) -> dict[str, Place]:
    """The labelled equations of chapters in reading order, numbered through the whole book as Sphinx does.

    Raises:
        ChapterError: two equations have the same label.
    """
    places: dict[str, Place] = {}
    for source in sources:
        for cell in read_chapter(source).cells:
            matches = _INLINE.finditer(cell.source) if cell.cell_type == "markdown" else ()
            for label in filter(None, (match["label"] for match in matches)):
                if label in places:
                    raise ChapterError(f"{source.name} has the equation {label}, as {places[label].chapter} has")
                places[label] = Place(len(places) + 1, source.stem)
    return places


class ColabEdition:
    """Turns chapters into their Colab editions."""

    def __init__(self, folder: Path) -> None:
        """Read what the chapters in the folder refer to: their titles and the numbers of their equations."""
        sources = chapter_sources(folder)
        self._titles = {source.stem: _title(source) for source in sources}
        self._equations = equations(sources)

    def cells(self, notebook: Any, stem: str) -> list[Any]:
        """The cells of a chapter's Colab edition; the first one has a link that opens it on Colab.

        Raises:
            ChapterError: a reference leads nowhere, or a text has syntax without a plain form.
        """
        cells = [self._code(cell) if cell.cell_type == "code" else self._text(cell, stem) for cell in notebook.cells]
        cells[0].source += f"\n\n[Open this chapter on Colab]({colab_url(stem)})"
        return cells

    def _code(self, cell: Any) -> Any:
        title = folded_title(cell)
        metadata: dict[str, Any] = {"tags": tags(cell)} if tags(cell) else {}
        if title is None:
            return new_code_cell(cell.source, metadata=metadata)
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
        return new_code_cell(f"#@title {title}\n{cell.source}", metadata=metadata)

    def _text(self, cell: Any, stem: str) -> Any:
        text = self._plain(cell.source, stem)
        if left := _LEFT_OVER.search(text):
            raise ChapterError(f"uses {text[left.start() : left.end() + 20]!r}, which has no plain form for Colab")
        return new_markdown_cell(text)

    def _plain(self, text: str, stem: str) -> str:
        text = _BLOCK.sub(self._block, text)
        return _INLINE.sub(lambda match: self._inline(match, stem), text)

    def _block(self, block: re.Match[str]) -> str:
        """An admonition: one that folds becomes HTML's, another one a quotation under its title."""
        _, name, title, options, body = block.groups()
        if name == "live":
            name, title = "note", "Live in the book"
        if name not in ("admonition", *_NOTES):
            raise ChapterError(f"uses the directive {name!r}, which has no plain form for Colab")
        title, body = title or name.capitalize(), _BLOCK.sub(self._block, body.strip())
        if "dropdown" in options:
            return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.splitlines()])

    def _inline(self, match: re.Match[str], stem: str) -> str:
        if match["display"] is not None:
            return self._equation(match["display"], match["label"])
        if match["role"] is not None:
            return self._role(match["role"], match["content"], stem)
        return match[0] if match["target"] is None else self._link(match["text"], match["target"])

    def _equation(self, display: str, label: str | None) -> str:
        tag = f"\\tag{{{self._equations[label].number}}}" if label else ""
        return f"$$\n{display.strip()} {tag}".rstrip() + "\n$$" if "\n" in display else f"$${display}{tag}$$"

    def _role(self, role: str, content: str, stem: str) -> str:
        roles: dict[str, Callable[[], str]] = {
            "eq": lambda: self._equation_reference(content, stem),
            "cite:t": lambda: ", ".join(cited(key.strip(), "{} ({})") for key in content.split(",")),
            "cite:p": lambda: "(" + "; ".join(cited(key.strip(), "{}, {}") for key in content.split(",")) + ")",
        }
        if role not in roles:
            raise ChapterError(f"uses the role {role!r}, which has no plain form for Colab: write a Markdown link")
        return roles[role]()

    def _equation_reference(self, label: str, stem: str) -> str:
        if label not in self._equations:
            raise ChapterError(f"refers to the equation {label!r}, which no chapter has")
        place = self._equations[label]
        return f"({place.number})" if place.chapter == stem else f"[({place.number})]({colab_url(place.chapter)})"

    def _link(self, text: str, target: str) -> str:
        """Links to chapters lead to Colab, those to written pages to the repository; generated pages have no link."""
        if urlsplit(target).scheme or target.startswith("#"):
            return f"[{text}]({target})"
        path = target.partition("#")[0]
        name = Path(path).name.removesuffix(".md").removesuffix(".ipynb")
        if "/" not in path:
            if name not in self._titles:
                raise ChapterError(f"links to {target!r}, which is no chapter")
            return f"[{text or self._titles[name]}]({colab_url(name)})"
        page = f"book/{name}.md"
        return f"[{text}]({repository_url()}/blob/main/{page})" if (ROOT / page).is_file() else text


def colab_url(stem: str) -> str:
    """Where a chapter opens on Colab."""
    return f"https://colab.research.google.com/github{urlsplit(repository_url()).path}/blob/main/notebooks/{stem}.ipynb"


def cited(key: str, form: str) -> str:
    """A citation with a link to the work: "Guo et al. (2023)" in the form "{} ({})".

    Raises:
        ChapterError: the bibliography has no such work.
    """
    entry = _bibliography().get(key)
    if entry is None:
        raise ChapterError(f"cites {key!r}, which book/references.bib does not have")
    names = [_last_name(person) for person in entry.persons.get("author") or entry.persons["editor"]]
    who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    text, url = form.format(who, entry.fields["year"]), _url(entry)
    return f"[{text}]({url})" if url else text


def _last_name(person: Person) -> str:
    return " ".join(str(Text.from_latex(part)) for part in [*person.prelast_names, *person.last_names])


def _url(entry: Entry) -> str | None:
    """The free version first, if the bibliography has one."""
    if "eprint" in entry.fields:
        return f"https://arxiv.org/abs/{entry.fields['eprint']}"
    if "url" in entry.fields:
        return str(entry.fields["url"])
    return f"https://doi.org/{entry.fields['doi']}" if "doi" in entry.fields else None


@cache
def _bibliography() -> dict[str, Entry]:
    return dict(parse_file(_REFERENCES).entries)


def _title(source: Path) -> str:
    first: str = read_chapter(source).cells[0].source
    return first.partition("\n")[0].removeprefix("# ")
