"""``calip sweep``: run a grid of measurements."""

import argparse
import sys
from pathlib import Path
from typing import Any

from calip_core.evaluation.store import results_file
from calip_core.evaluation.sweep import describe_samples, on_ray, read_sweep, run_here, run_sweep


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add this command to ``calip``; its function, which returns the exit status, is ``arguments.run``."""
    parser = subparsers.add_parser(
        "sweep",
        help="run a grid of measurements",
        description="Run every dataset with every backbone, config, protocol and seed of a YAML file through "
        "papermill. What is recorded, of the same data, split and weights, is skipped, so the same command resumes a "
        "sweep.",
    )
    parser.add_argument("file", type=Path, help="the grid, such as sweep.yaml")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where cells run (default: local)")
    parser.add_argument("--address", help="of the Ray cluster, such as auto; one on this machine when left out")
    parser.add_argument("--results", type=Path, help="the file of records (default: $CALIP_RESULTS, else the book's)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the sweep and say what became of its cells; the exit status is 0, 1 (failures) or 130 (Ctrl-C)."""
    try:
        sweep = read_sweep(arguments.file)
        engine = on_ray(arguments.address) if arguments.engine == "ray" else run_here
    except (OSError, ValueError, ImportError) as error:
        print(f"calip sweep: {error}", file=sys.stderr)
        return 2
    print(f"{len(sweep.cells())} cells, each of {describe_samples(sweep)}", file=sys.stderr)
    summary = run_sweep(sweep, arguments.results or results_file(), engine, progress=not arguments.quiet)
    print(summary, file=sys.stderr if summary.exit_status else sys.stdout)
    return summary.exit_status
