"""The structure that every chapter has: a question, an answer on the first screen, exercises."""

import re
from typing import Any

from book.tools.chapters import ChapterError, chapter_number, only_cell, parameters, tags

_OPENING = ("**Question.**", "**Time**", "**You need**")
_CLOSING = ("## What we found", "## Exercises", "## Further reading")
_ANSWER = "In short"
_FIRST_SCREEN = 9  # cells, of which the first four are the title, the set-up, the parameters and the imports
_EXERCISE = re.compile(r"^\*\*Exercise (\w+\.\d+) \((.+?)\)\.\*\*", re.MULTILINE | re.DOTALL)
_DROPDOWN = r"^:::\{{admonition\}} {}\n:class: dropdown$"
_PARTS = ("exercise", "exercise-check", "solution")
_LEAST_EXERCISES = 3


def check_form(notebook: Any, stem: str) -> None:
    """Check the opening, the answer on the first screen, the exercises and the closing sections.

    Args:
        notebook: the chapter's cells.
        stem: the name of its file, which gives its number.

    Raises:
        ChapterError: the chapter has another structure; the message says what it lacks.
    """
    number = chapter_number(stem)
    _check_opening(notebook, number)
    _check_answer(notebook)
    _check_closing(notebook)
    _check_exercises(notebook, number)


def _check_opening(notebook: Any, number: str) -> None:
    """Title cell, set-up, parameters, and one folded cell of imports that checks the parameters."""
    first = notebook.cells[:4]
    if len(first) < 4 or first[0].cell_type != "markdown" or not first[0].source.startswith(f"# {number} "):
        raise ChapterError(f"does not open with the title '# {number} ...', the set-up, the parameters and the imports")
    if lacking := [words for words in _OPENING if words not in first[0].source]:
        raise ChapterError(f"its first cell does not say {', '.join(lacking)}")
    for cell, tag in zip(first[1:], ("setup", "parameters", "imports"), strict=True):
        if only_cell(notebook, tag) is not cell:
            raise ChapterError("expected set-up, parameters and imports as its second, third and fourth cell")
    unchecked = [name for name in parameters(notebook) if f"{name}=" not in first[3].source]
    if "check_parameters(" not in first[3].source or unchecked:
        raise ChapterError(f"its fourth cell does not check {', '.join(unchecked) or 'the parameters'}")
    if "hide-input" not in tags(first[3]):
        raise ChapterError('its imports are not folded: tags=["imports", "hide-input"]')


def _check_answer(notebook: Any) -> None:
    """``**In short.**`` in a text, or a call of a function whose name holds ``in_short``."""
    if not any(_ANSWER.lower() in cell.source.lower().replace("_", " ") for cell in notebook.cells[:_FIRST_SCREEN]):
        raise ChapterError(f"does not answer its question ('**{_ANSWER}.** ...') in its first {_FIRST_SCREEN} cells")


def _check_closing(notebook: Any) -> None:
    """The last sections, in this order."""
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    for section in _CLOSING:
        if section not in lines:
            raise ChapterError(f"has no section {section!r}")
    if [line for line in lines if line in _CLOSING] != list(_CLOSING):
        raise ChapterError(f"expected its last sections in this order, each once: {', '.join(_CLOSING)}")


def _check_exercises(notebook: Any, number: str) -> None:
    """Numbered and labelled, each with a hint and a solution; one in code, one that predicts, one that is open."""
    counts = {part: sum(part in tags(cell) for cell in notebook.cells) for part in _PARTS}
    if len(set(counts.values())) != 1 or not counts["exercise"]:
        raise ChapterError(f"expected at least one exercise in code, and a check and a solution for each, got {counts}")
    exercises = _exercises(notebook)
    found = [name for name, _, _ in exercises]
    if found != [f"{number}.{i}" for i in range(1, len(found) + 1)] or len(found) < _LEAST_EXERCISES:
        expected = f"{number}.1, {number}.2, {number}.3 (and so on)"
        raise ChapterError(f"has the exercises {', '.join(found) or 'none'}, expected {expected}, each with a (label)")
    for name, _, text in exercises:
        for part in ("Hint", "Solution"):
            if not re.search(_DROPDOWN.format(part), text, re.MULTILINE):
                raise ChapterError(f"exercise {name} has no folded part {part!r} (:class: dropdown)")
    for kind in ("predict", "open"):
        if not any(label.startswith(kind) for _, label, _ in exercises):
            raise ChapterError(f"has no exercise with the label ({kind}: ...)")


def _exercises(notebook: Any) -> list[tuple[str, str, str]]:
    """Number, label and text of each exercise; a cell tagged solution counts as the folded part that it becomes."""
    texts = []
    for cell in notebook.cells:
        if "solution" in tags(cell):
            texts.append(":::{admonition} Solution\n:class: dropdown")
        elif cell.cell_type == "markdown":
            texts.append(cell.source)
    text = "\n\n".join(texts)
    starts = [*_EXERCISE.finditer(text)]
    ends = [*(match.start() for match in starts[1:]), len(text)]
    return [(m[1], m[2], text[m.start() : end]) for m, end in zip(starts, ends, strict=True)]
