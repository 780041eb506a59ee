"""The chapters' sources, and the structure that every chapter has."""

import ast
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MAX_PARAMETERS = 7
_OPENING = ("In this chapter", "**You will learn**", "**Time**", "**You need**")


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


def check_form(notebook: Any) -> None:
    """Check for a title cell, set-up, parameters and their check, then content, exercises and further reading.

    Raises:
        ChapterError: the chapter has another structure.
    """
    first = notebook.cells[:4]
    if len(first) < 4 or first[0].cell_type != "markdown" or not first[0].source.startswith("# "):
        raise ChapterError("does not open with a title, the set-up, the parameters and their check")
    if only_cell(notebook, "setup") is not first[1] or only_cell(notebook, "parameters") is not first[2]:
        raise ChapterError("expected the set-up as its second cell and the parameters as its third")
    unchecked = [name for name in parameters(notebook) if f"{name}=" not in first[3].source]
    if "check_parameters(" not in first[3].source or unchecked:
        raise ChapterError(f"its fourth cell does not check {', '.join(unchecked) or 'the parameters'}")
    kinds = ("exercise", "exercise-check", "solution")
    counts = {kind: sum(kind in tags(cell) for cell in notebook.cells) for kind in kinds}
    if len(set(counts.values())) != 1 or not counts["exercise"]:
        raise ChapterError(f"expected at least one exercise, and a check and a solution for every one, got {counts}")
    _check_frame(notebook)


def _check_frame(notebook: Any) -> None:
    """Check the opening statements and the section on further reading.

    Raises:
        ChapterError: one of them is missing.
    """
    opening = notebook.cells[0].source
    lacking = [words for words in _OPENING if words not in opening]
    if lacking:
        raise ChapterError(f"its first cell does not say {', '.join(lacking)}")
    if not any(c.cell_type == "markdown" and "## Further reading" in c.source.splitlines() for c in notebook.cells):
        raise ChapterError("has no section '## Further reading'")


def read_chapter(source: Path, text: str | None = None) -> Any:
    """Parse and check a chapter from its py:percent source, or from ``text`` in its place.

    Raises:
        ChapterError: the chapter has another structure; the message names it.
    """
    notebook = jupytext.reads(source.read_text(encoding="utf-8") if text is None else text, fmt="py:percent")
    try:
        check_form(notebook)
    except ChapterError as error:
        raise ChapterError(f"{source.name} {error}") from None
    return notebook
