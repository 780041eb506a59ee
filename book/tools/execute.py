"""Run every chapter whose result could have changed, and keep the executed notebooks with what made them.

Usage: python -m book.tools.execute [CHAPTER ...]

A chapter is run again when its cells (parameters among them), a module that it imports, the lock file, the data, the
weights or the Python changed. The usual notebook caches look at the cells alone and would show a changed library's old
results. What runs is the source, with its MyST Markdown; the .ipynb files are editions for Colab. Two chapters run at a
time. None sees what another records, so their order does not matter.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, cast

import nbformat
import papermill
import yaml
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from book.tools.chapters import KERNEL, NOTEBOOKS, ROOT, chapter_sources, read_chapter, replacing, tags, to_ipynb
from book.tools.dependencies import Library
from book.tools.machine import describe_machine, versions

EXECUTED = ROOT / "book" / "_build" / "executed"
_CELL_SECONDS = 1200
_AT_A_TIME = 2  # the longest chapter takes almost half of the time of all: with more, one would wait for it anyway


class ChapterFailed(RuntimeError):
    """A chapter did not run to its end; the message names the chapter and the cell."""


def ingredients(root: Path = ROOT) -> list[Path]:
    """The files, beside a chapter's own cells and the library, that its results depend on."""
    found = [root / "constraints.txt"]
    for folder in (root / "data").glob("[!.]*"):
        # The reader's own datasets may be millions of files, and their records tell of them; no chapter reads speeds.
        if folder.name not in ("datasets", "benchmarks"):
            found += [path for path in folder.rglob("*") if path.is_file() and not _is_cache(path, root)]
    return sorted(path for path in found if path.exists())


def _is_cache(path: Path, root: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)


def records_of_datasets(root: Path = ROOT) -> list[bytes]:
    """The lines of the file of records that chapters are given to show: those of real datasets.

    Those of generated images, each chapter measures itself; those of stand-ins, no chapter shows.
    """
    cards = (root / "data" / "cards").glob("*.yaml")
    datasets = {card.stem for card in cards if "layout" in yaml.safe_load(card.read_text(encoding="utf-8"))}
    file = Path(os.environ.get("CALIP_RESULTS") or root / "results" / "runs.jsonl")
    lines = file.read_bytes().splitlines() if file.is_file() else []
    real = [line for line in lines if b'"standin":true' not in line]
    return [line for line in real if any(f'"task":"{name}"'.encode() in line for name in datasets)]


def common_fingerprint(records: Iterable[bytes], root: Path = ROOT) -> str:
    """Of everything that all chapters share: files, the Python, and the ``records`` that they are given."""
    digest = hashlib.sha256(sys.version.encode())
    for path in ingredients(root):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for line in records:
        digest.update(hashlib.sha256(line).digest())
    return digest.hexdigest()


def fingerprint(source: Path, common: str, library: Library) -> str:
    """Of one chapter: its cells with their tags, the modules that they import, and what is shared.

    Raises:
        ChapterFailed: a code cell is not Python.
    """
    cells = read_chapter(source).cells
    try:
        modules = library.modules_of("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    except SyntaxError as error:
        raise ChapterFailed(f"chapter {source.stem}: {error.msg}: {error.text}") from error
    contents = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in cells]
    prints = [[name, library.fingerprints[name]] for name in sorted(modules)]
    return hashlib.sha256(json.dumps([common, contents, prints]).encode()).hexdigest()


def is_current(name: str, wanted: str, executed: Path = EXECUTED) -> bool:
    """Whether the kept result of a chapter was made from what is there now."""
    try:
        record = json.loads((executed / f"{name}.json").read_text(encoding="utf-8"))
        kept = hashlib.sha256((executed / f"{name}.ipynb").read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
    return bool(record.get("fingerprint") == wanted and record.get("result") == kept)


def execute(source: Path, wanted: str, machine: dict[str, str], executed: Path = EXECUTED) -> None:
    """Run one chapter and keep its result with the fingerprint ``wanted`` of what it is made from, and the machine.

    Raises:
        ChapterFailed: a cell raised, hung, or was not run.
    """
    name = source.stem
    start = time.perf_counter()
    with replacing(executed / f"{name}.ipynb") as output:
        notebook = read_chapter(source)
        output.write_text(to_ipynb(notebook.cells, KERNEL), encoding="utf-8")
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
        "machine": machine,
        "versions": versions(),
    }
    with replacing(executed / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _run(source: Path, output: Path) -> None:
    """Run the cells that are in ``output``, in place."""
    try:
        papermill.execute_notebook(
            output,
            output,
            cwd=source.parent,
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=_CELL_SECONDS,
            # Else each kernel warns that its sockets are not encrypted, and calls the end of a run an error.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
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


def run_side_by_side(
    wanted: dict[Path, str], records: list[bytes], executed: Path = EXECUTED
) -> Iterator[tuple[str, float]]:
    """Run chapters, two at a time, each in a process of its own with its share of the processor's cores.

    Args:
        wanted: the chapters in reading order, each with its fingerprint.
        records: those that the fingerprints cover, which every chapter is given.
        executed: the folder of the results.

    Yields:
        The name of each chapter that has run to its end, and its seconds.

    Raises:
        ChapterFailed: a chapter has not; it has told why. Whatever ends this ends the chapters that are running.
    """
    from calip_core.environment import core_count  # slow to import, and needed only here

    at_a_time = min(_AT_A_TIME, core_count())
    threads = core_count() // at_a_time  # also if one chapter runs alone: last digits depend on the number of threads
    options = (describe_machine(), executed, threads, records)
    waiting = list(wanted)
    running: dict[int, tuple[str, float, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                source = waiting.pop()  # the last third holds the longest, and the short ones then fill the gaps
                process = get_context("spawn").Process(target=_run_in_process, args=(source, wanted[source], *options))
                process.start()
                running[process.sentinel] = source.stem, time.perf_counter(), process
            for sentinel in wait(list(running)):
                name, start, process = running[cast(int, sentinel)]
                process.join()
                if process.exitcode:
                    raise ChapterFailed(f"chapter {name} failed")
                del running[process.sentinel]
                yield name, time.perf_counter() - start
    finally:
        for _, _, process in running.values():
            process.terminate()
        for _, _, process in running.values():
            process.join()


def _run_in_process(
    source: Path, wanted: str, machine: dict[str, str], executed: Path, threads: int, records: list[bytes]
) -> None:
    """Run a chapter with ``records`` as the only ones; a failure is told on stderr and by the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the first one ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.jsonl"
        file.write_bytes(b"".join(line + b"\n" for line in records))
        os.environ["CALIP_RESULTS"] = str(file)
        try:
            execute(source, wanted, machine, executed)
        except ChapterFailed as error:
            sys.exit(str(error))


def execute_all(names: Iterable[str] = (), folder: Path = NOTEBOOKS, executed: Path = EXECUTED) -> int:
    """Run what needs it, with progress on the terminal; the process's exit status."""
    start = time.perf_counter()
    sources = chapter_sources(folder)
    chosen = [source for source in sources if not names or source.stem in names]
    if not chosen:
        print(f"no such chapter; there are: {', '.join(source.stem for source in sources)}", file=sys.stderr)
        return 1
    library, records = Library(ROOT), records_of_datasets()
    common = common_fingerprint(records)
    try:
        wanted = {source: fingerprint(source, common, library) for source in chosen}
        changed = {source: wanted[source] for source in chosen if not is_current(source.stem, wanted[source], executed)}
        unchanged = len(chosen) - len(changed)
        print(f"{unchanged} of {len(chosen)} chapters are unchanged", flush=True)
        ended = run_side_by_side(changed, records, executed) if changed else ()
        for number, (name, seconds) in enumerate(ended, unchanged + 1):
            print(f"[{number}/{len(chosen)}] {name} {seconds:.0f} s", flush=True)
    except ChapterFailed as error:
        print(f"execute: {error}", file=sys.stderr)
        return 1
    print(f"chapters executed in {time.perf_counter() - start:.0f} s")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", nargs="*", help="such as 03_calip_attention; by default all")
    names = parser.parse_args(arguments).chapter
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # else every kernel warns about its debugger
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return execute_all(names)
    except KeyboardInterrupt:
        print("execute: stopped; run it again to continue", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
