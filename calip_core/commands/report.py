"""``calip report FILE``: one chapter of the book, executed on the finished records of a sweep."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from calip_core.commands.sweep import add_results, results_path
from calip_core.errors import in_words

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.evaluation.sweep import Sweep

_CHAPTERS = {"images": "06_benchmarks_2d.ipynb", "clouds": "07_point_clouds.ipynb"}


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "report",
        help="execute a chapter on the finished records of a sweep",
        description="Execute the chapter on image benchmarks (or on point clouds) by papermill, on the records of a "
        "finished sweep.",
    )
    parser.add_argument("file", type=Path, help="the grid, such as sweep.yaml")
    parser.add_argument("--output", type=Path, default=Path("report.ipynb"), help="(default: %(default)s)")
    add_results(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Execute the chapter; 1 if it fails, 2 if there is no such sweep or papermill is not installed."""
    from calip_core.evaluation.sweep import read_sweep

    try:
        import papermill

        sweep = read_sweep(arguments.file)
        chapter, parameters = chapter_of(sweep)
    except ImportError:
        print("calip report: it needs papermill: `pip install calip-core[book]`", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"calip report: {in_words(error)}", file=sys.stderr)
        return 2
    results = results_path(arguments).absolute()
    if not results.is_file():
        print(f"calip report: no records in {results}: run `calip sweep {arguments.file}` first", file=sys.stderr)
        return 1
    os.environ["CALIP_RESULTS"] = str(results)
    if sweep.root is not None:
        os.environ["CALIP_DATA"] = str(sweep.root)
    papermill.execute_notebook(
        chapter, arguments.output, parameters,
        cwd=chapter.parent, kernel_name="python3", progress_bar=sys.stderr.isatty(),
    )  # fmt: skip
    print(f"wrote {arguments.output}")
    return 0


def chapter_of(sweep: "Sweep") -> tuple[Path, dict[str, object]]:
    """The chapter that shows a sweep's first cell, and its parameters.

    Raises:
        FileNotFoundError: the notebooks are not here, as in an installation without the repository.
    """
    from calip_core.datasets.names import task_kind
    from calip_core.paths import repository

    cell = sweep.cells()[0]
    chapter = repository() / "notebooks" / _CHAPTERS[task_kind(cell.dataset)]
    if not chapter.is_file():
        raise FileNotFoundError(f"there is no chapter {chapter}: a report needs a checkout of the repository")
    parameters: dict[str, object] = {
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "tokens": cell.tokens,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "samples": 0 if sweep.samples == "all" else sweep.samples,
    }
    if cell.views is None and cell.config is not None:
        parameters["config"] = cell.config
    elif cell.views is not None:
        parameters["views"] = cell.views
    return chapter, parameters
