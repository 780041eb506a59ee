"""The chapters' sources: where they are, and how they are read."""

import ast
import hashlib
import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MAX_PARAMETERS = 7
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""A notebook's metadata that say which language its code is in."""
_KEPT_METADATA = ("tags", "cellView", "jupyter")


class ChapterError(ValueError):
    """A chapter does not have the structure that the book's tools rely on."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block succeeds.

    The library has a stricter version, but importing the library would cost `make sync` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def project() -> dict[str, Any]:
    """The ``[project]`` table of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def repository_url() -> str:
    """The URL of the published repository; pyproject.toml is its only source."""
    return str(project()["urls"]["Repository"])


def chapter_sources(folder: Path = NOTEBOOKS) -> list[Path]:
    """The chapters' py:percent files in reading order: numbered ones first, then the appendices."""
    return sorted(folder.glob("[0-9A-Z]*_*.py"))


def chapter_number(stem: str) -> str:
    """What a chapter is called in the book: "5" for ``05_blending``, "A" for ``A_train_miniature``."""
    prefix = stem.partition("_")[0]
    return str(int(prefix)) if prefix.isdigit() else prefix


def read_chapter(source: Path, text: str | None = None) -> Any:
    """A chapter's cells, from its py:percent source, or from ``text`` in its place."""
    return jupytext.reads(source.read_text(encoding="utf-8") if text is None else text, fmt="py:percent")


def to_ipynb(cells: Iterable[Any], metadata: dict[str, Any]) -> str:
    """A notebook without outputs as JSON text; the same cells give the same bytes.

    A cell's id is derived from its content, so other cells keep theirs when one is inserted.
    """
    seen: Counter[str] = Counter()
    written = []
    for cell in cells:
        content = f"{cell.cell_type}\n{cell.source}"
        seen[content] += 1
        identity = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()[:12]
        kept = {name: cell.metadata[name] for name in _KEPT_METADATA if name in cell.metadata}
        new = {"cell_type": cell.cell_type, "id": identity, "metadata": kept, "source": cell.source.splitlines(True)}
        written.append(new | ({"execution_count": None, "outputs": []} if cell.cell_type == "code" else {}))
    document = {"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def tags(cell: Any) -> list[str]:
    """A notebook cell's tags."""
    return list(cell.metadata.get("tags", []))


def only_cell(notebook: Any, tag: str) -> Any:
    """The only cell with a tag.

    Raises:
        ChapterError: there is none, or more than one.
    """
    cells = [cell for cell in notebook.cells if tag in tags(cell)]
    if len(cells) != 1:
        raise ChapterError(f"has {len(cells)} cells tagged {tag!r}, expected one")
    return cells[0]


def parameters(notebook: Any) -> dict[str, Any]:
    """Names and defaults of a chapter's parameters.

    Raises:
        ChapterError: one is not of the form ``name: type = value  # description``, or there are too many.
    """
    source = only_cell(notebook, "parameters").source
    found = {}
    for statement in ast.parse(source).body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise ChapterError(f"line {statement.lineno} of its parameters is not 'name: type = value'")
        if "#" not in source.splitlines()[statement.lineno - 1]:
            raise ChapterError(f"parameter {statement.target.id} is not described in a comment on its line")
        found[statement.target.id] = ast.literal_eval(statement.value)
    if len(found) > MAX_PARAMETERS:
        raise ChapterError(f"has {len(found)} parameters, expected at most {MAX_PARAMETERS}")
    return found
