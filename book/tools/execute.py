"""Run every chapter whose result could have changed, and keep the executed notebooks with what made them.

Usage: python -m book.tools.execute [CHAPTER ...]

A chapter is run again when its cells (parameters among them), the library, the lock file, the data, the weights or the
Python changed. The usual notebook caches look at the cells alone and would show a changed library's old results.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from book.tools.chapters import ROOT, chapter_sources, replacing, tags
from book.tools.machine import describe_machine, versions

EXECUTED = ROOT / "book" / "_build" / "executed"
_CELL_SECONDS = 1200


class ChapterFailed(RuntimeError):
    """A chapter did not run to its end; the message names the chapter and the cell."""


def ingredients(root: Path = ROOT) -> list[Path]:
    """The files, beside a chapter's own cells, that its results depend on."""
    found = [root / "constraints.txt", *(root / "calip_core").rglob("*.py")]
    for folder in (root / "data").glob("[!.]*"):
        # The reader's own datasets may be millions of files, and their records tell of them; no chapter reads speeds.
        if folder.name not in ("datasets", "benchmarks"):
            found += [path for path in folder.rglob("*") if path.is_file() and not _is_cache(path, root)]
    return sorted(path for path in found if path.exists())


def _is_cache(path: Path, root: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)


def records_of_datasets(root: Path = ROOT) -> list[bytes]:
    """The records in results/ that chapters 5 to 7 show without measuring them: those of real datasets.

    What chapters add to those files while they run is about generated images, and must not make them run again; nor
    must records of stand-ins, which no chapter shows.
    """
    cards = (root / "data" / "cards").glob("*.yaml")
    datasets = {card.stem for card in cards if "layout" in yaml.safe_load(card.read_text(encoding="utf-8"))}
    file = root / "results" / "runs.jsonl"
    lines = file.read_bytes().splitlines() if file.is_file() else []
    real = [line for line in lines if b'"standin":true' not in line]
    return [line for line in real if any(f'"task":"{name}"'.encode() in line for name in datasets)]


def common_fingerprint(root: Path = ROOT) -> str:
    """Of everything that all chapters share."""
    digest = hashlib.sha256(sys.version.encode())
    for path in ingredients(root):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for line in records_of_datasets(root):
        digest.update(hashlib.sha256(line).digest())
    return digest.hexdigest()


def fingerprint(notebook: Any, common: str) -> str:
    """Of one chapter: its cells with their tags, and what is shared."""
    cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in notebook.cells]
    return hashlib.sha256(json.dumps([common, cells]).encode()).hexdigest()


def is_current(name: str, wanted: str, executed: Path = EXECUTED) -> bool:
    """Whether the kept result of a chapter was made from what is there now."""
    try:
        record = json.loads((executed / f"{name}.json").read_text(encoding="utf-8"))
        kept = hashlib.sha256((executed / f"{name}.ipynb").read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
    return bool(record.get("fingerprint") == wanted and record.get("result") == kept)


def execute(source: Path, common: str, executed: Path = EXECUTED) -> bool:
    """Run one chapter unless its kept result is current.

    Returns:
        Whether it ran.

    Raises:
        ChapterFailed: a cell raised, hung, or was not run.
    """
    name = source.stem
    notebook = nbformat.read(source, as_version=4)
    wanted = fingerprint(notebook, common)
    if is_current(name, wanted, executed):
        return False
    start = time.perf_counter()
    with replacing(executed / f"{name}.ipynb") as output:
        _run(source, output)
        cells = check_all_cells_ran(name, notebook, nbformat.read(output, as_version=4))
        result = hashlib.sha256(output.read_bytes()).hexdigest()
    record = {
        "chapter": name,
        "fingerprint": wanted,
        "result": result,
        "seconds": round(time.perf_counter() - start, 1),
        "code_cells": cells,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": versions(),
    }
    with replacing(executed / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return True


def _run(source: Path, output: Path) -> None:
    try:
        papermill.execute_notebook(
            source,
            output,
            cwd=source.parent,
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=_CELL_SECONDS,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # else each warns that its sockets are not encrypted
        )
    except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise ChapterFailed(_explain(source.stem, output, error)) from error


def _explain(name: str, output: Path, error: Exception) -> str:
    """Chapter, cell and reason, with the cell's code; papermill has kept the notebook up to the failing cell."""
    cells = nbformat.read(output, as_version=4).cells
    cells = [cell for cell in cells if "papermill-error-cell-tag" not in tags(cell)]  # papermill's own note on top
    number = max((i for i, cell in enumerate(cells, 1) if _was_started(cell)), default=0)  # none came after it
    code = "\n".join(f"    {line}" for line in cells[number - 1].source.splitlines()) if number else ""
    reason = f"{error.ename}: {error.evalue}" if isinstance(error, PapermillExecutionError) else str(error)
    return f"chapter {name}, cell {number} of {len(cells)} failed\n{code}\n{reason}"


def _was_started(cell: Any) -> bool:
    return bool(cell.metadata.get("papermill", {}).get("start_time"))


def check_all_cells_ran(name: str, notebook: Any, result: Any) -> int:
    """The number of code cells, all of which were executed, or nothing could be said about those that were not.

    Raises:
        ChapterFailed: fewer were executed than the chapter has.
    """
    expected: int = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
    ran = sum(cell.cell_type == "code" and cell.execution_count is not None for cell in result.cells)
    if ran != expected or not expected:
        raise ChapterFailed(f"chapter {name}: {ran} of {expected} code cells were executed")
    return expected


def execute_all(names: Iterable[str] = ()) -> int:
    """Run what needs it, in reading order, with progress on the terminal; the process's exit status."""
    sources = [source.with_suffix(".ipynb") for source in chapter_sources()]
    chosen = [source for source in sources if not names or source.stem in names]
    if not chosen:
        print(f"no such chapter; there are: {', '.join(source.stem for source in sources)}", file=sys.stderr)
        return 1
    common = common_fingerprint()
    for number, source in enumerate(chosen, 1):
        start = time.perf_counter()
        print(f"[{number}/{len(chosen)}] {source.stem} ... ", end="", flush=True)
        try:
            ran = execute(source, common)
        except ChapterFailed as error:
            print(f"failed\n{error}", file=sys.stderr)
            return 1
        print(f"{time.perf_counter() - start:.0f} s" if ran else "unchanged", flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", nargs="*", help="such as 03_calip_attention; by default all")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # else every kernel warns about its debugger
    return execute_all(parser.parse_args(arguments).chapter)


if __name__ == "__main__":
    sys.exit(main())
