"""Bars for the code in a chapter: most of it teaches, and no cell or string is long."""

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from typing import Any

from book.tools.chapters import tags

LONGEST_CELL = 40
LONGEST_STRING = 3
MOST_LINES = {"06_benchmarks_2d": 150}
_UNCOUNTED = {"setup", "parameters", "imports", "exercise", "exercise-check", "solution"}
_SHOWING_PACKAGES = ("calip_core.exhibits", "calip_core.teaching")
_FSTRING_START = getattr(tokenize, "FSTRING_START", None)  # from Python 3.12 on
_FSTRING_END = getattr(tokenize, "FSTRING_END", None)


def faults(notebook: Any, stem: str) -> list[str]:
    """Every bar that a chapter misses."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"{stem}: {fault}" for cell in cells for fault in (*_long_cell(cell), *_long_strings(cell))]
    counts = shares(notebook)
    if counts["teaches"] < counts["displays"]:
        found.append(f"{stem}: {counts['teaches']} lines teach, {counts['displays']} display")
    total = sum(len(_lines(cell.source)) for cell in cells if "setup" not in tags(cell))
    if total >= MOST_LINES.get(stem, total + 1):
        found.append(f"{stem}: {total} lines of code, expected fewer than {MOST_LINES[stem]}")
    return found


def shares(notebook: Any) -> Counter[str]:
    """The numbers of lines that teach and that display; the book's machinery, exercises and imports do neither."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shows = {"display", "print"}.union(*(_showing_names(cell.source) for cell in cells))
    counts: Counter[str] = Counter(teaches=0, displays=0)
    for cell in cells:
        if not _UNCOUNTED & set(tags(cell)):
            code = _lines(cell.source)
            for kind, first, last in _parts(ast.parse(cell.source).body, shows):
                kind = "displays" if "hide-input" in tags(cell) else kind
                counts[kind] += sum(first <= line <= last for line in code)
    return counts


def _lines(source: str) -> list[int]:
    """The numbers of the lines that hold more than a comment."""
    return [n for n, line in enumerate(source.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")]


def _showing_names(source: str) -> set[str]:
    """The names under which a cell imports the exhibits and what is in them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name, full in names.items() if full.startswith(_SHOWING_PACKAGES)}
        elif isinstance(node, ast.Import):
            found |= {a.asname for a in node.names if a.asname and a.name.startswith(_SHOWING_PACKAGES)}
    return found


def _parts(body: list[ast.stmt], shows: set[str]) -> Iterator[tuple[str, int, int]]:
    """What each simple statement does, with its first and last line; a compound one's head goes with its body."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        blocks = [block for name in ("body", "orelse", "finalbody") if (block := getattr(node, name, []))]
        inner = [part for block in blocks for part in _parts(block, shows)]
        if not inner:
            yield ("displays" if _calls(node, shows) else "teaches"), node.lineno, node.end_lineno or node.lineno
            continue
        yield (
            ("displays" if {kind for kind, _, _ in inner} == {"displays"} else "teaches"),
            node.lineno,
            inner[0][1] - 1,
        )
        yield from inner


def _calls(node: ast.AST, names: set[str]) -> bool:
    return any(_root(call.func) in names for call in ast.walk(node) if isinstance(call, ast.Call))


def _root(function: ast.expr) -> str:
    """The first name of ``a.b.c``."""
    while isinstance(function, ast.Attribute):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ""


def _long_cell(cell: Any) -> Iterator[str]:
    lines = len(cell.source.strip().splitlines())
    if lines > LONGEST_CELL:
        yield f"a cell of {lines} lines: {cell.source.strip().splitlines()[0]!r}"


def _long_strings(cell: Any) -> Iterator[str]:
    """Strings joined over more than three lines, by ``+`` or by standing beside each other."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(cell.source)):
        if id(node) in inside or not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > LONGEST_STRING and _is_joined(node, cell.source):
            inside |= {id(child) for child in ast.walk(node)}
            yield f"a string joined over {lines} lines: {ast.get_source_segment(cell.source, node)!r:.60}"


def _is_joined(node: ast.expr, source: str) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and any(_is_string(side) for side in _summands(node))
    return _is_string(node) and _pieces(ast.get_source_segment(source, node) or "") > 1


def _summands(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (*_summands(node.left), *_summands(node.right))
    else:
        yield node


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _pieces(segment: str) -> int:
    """The number of literals that stand beside each other."""
    count = depth = 0
    for token in tokenize.generate_tokens(io.StringIO(f"({segment})").readline):
        if token.type == _FSTRING_START:
            count, depth = count + (depth == 0), depth + 1
        elif token.type == _FSTRING_END:
            depth -= 1
        elif token.type == tokenize.STRING and not depth:
            count += 1
    return count
