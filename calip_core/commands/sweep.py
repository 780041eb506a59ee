"""``calip sweep``: measure a grid."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from calip_core.commands.arguments import check_cache
from calip_core.errors import in_words

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.evaluation.sweep import Engine

_TERMINATED = 143  # 128 + SIGTERM


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "sweep",
        help="measure a grid of datasets, backbones, methods, protocols, shots and seeds",
        description="Measure every cell of the grid that a YAML file describes. Cells that have a record are skipped, "
        "so the same command resumes a sweep, and several sweeps at once share the work.",
    )
    parser.add_argument("file", type=Path, help="the grid, such as sweep.yaml")
    add_engine(parser)
    parser.add_argument("--workers", type=int, help="processes of the local engine (default: one per GPU, else one)")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="only the I-th of N parts, from 1")
    add_results(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    parser.set_defaults(run=run)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine`` and ``--address``."""
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where to run (default: local)")
    parser.add_argument("--address", help="address of a Ray cluster, such as auto (default: one on this machine alone)")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--results``."""
    parser.add_argument("--results", type=Path, help="the file of records (default: $CALIP_RESULTS, else the book's)")


def shard(text: str) -> tuple[int, int]:
    """The numbers of ``I/N``.

    Raises:
        argparse.ArgumentTypeError: it has another form, or I is not from 1 to N.
    """
    part, separator, parts = text.partition("/")
    if separator and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise argparse.ArgumentTypeError(f"{text!r} is no shard: expected I/N with I from 1 to N, such as 2/8")


def engine_of(arguments: argparse.Namespace) -> "Engine":
    """The engine that ``--engine`` names.

    Raises:
        ImportError: it is Ray, which is not installed.
        ValueError: fewer than one worker.
    """
    if arguments.engine == "ray":
        from calip_core.evaluation.engines.ray import ray_engine

        return ray_engine(arguments.address)
    from calip_core.evaluation.engines.local import local_engine

    return local_engine(getattr(arguments, "workers", None))


def run(arguments: argparse.Namespace) -> int:
    """Measure the grid and say what became of it: 0, 1 after failures, 2 for a bad file, 130 or 143 when stopped."""
    from calip_core.evaluation.sweep import groups_of, read_sweep, run_sweep

    try:
        check_cache()
        sweep = read_sweep(arguments.file)
        engine, results = engine_of(arguments), results_path(arguments)
    except (OSError, ValueError, ImportError) as error:
        print(f"calip sweep: {in_words(error)}", file=sys.stderr)
        return 2
    groups = groups_of(sweep, results, shard=arguments.shard, progress=not arguments.quiet)
    images = "every test image" if sweep.samples == "all" else f"at most {sweep.samples:,} test images"
    count = sum(len(group.cells) for group in groups)
    print(f"{count} cell{'s' * (count != 1)}, each of {images}; records: {results}", file=sys.stderr)
    signal.signal(signal.SIGTERM, _terminate)
    summary = run_sweep(groups, engine, progress=not arguments.quiet)
    print(summary, file=sys.stderr if summary.exit_status else sys.stdout)
    return summary.exit_status


def results_path(arguments: argparse.Namespace) -> Path:
    """The file that ``--results`` names, or the usual one.

    Raises:
        OSError: it is a folder, or its folder cannot be written.
    """
    from calip_core.paths import check_results, check_writable, results_file

    path = check_results(arguments.results) if arguments.results else results_file()
    check_writable(path.parent)
    return path


def _terminate(number: int, frame: FrameType | None) -> None:
    from calip_core.evaluation.sweep import Interrupted

    raise Interrupted(_TERMINATED)
