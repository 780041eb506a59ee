"""``calip evaluate TASK BACKBONE``: measure one setting and append its record."""

import argparse
import sys
from typing import TYPE_CHECKING

from calip_core.commands.errors import in_words
from calip_core.commands.sweep import add_engine, add_results, engine_of, results_path

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.evaluation.record import Record
    from calip_core.evaluation.sweep import Sweep


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "evaluate", help="measure one head on one task", description="Measure one setting and append its record."
    )
    parser.add_argument("task", metavar="TASK", help="such as mini-shapes, eurosat or folder:PATH")
    parser.add_argument("backbone", metavar="BACKBONE", help="such as mini-rn, RN50 or a checkpoint's path")
    parser.add_argument("--method", default="calip", help="the head (default: %(default)s)")
    parser.add_argument("--protocol", default="fixed", help="how hyperparameters are chosen (default: %(default)s)")
    parser.add_argument("--shots", type=int, default=0, help="labelled images per class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="at most this many test images (default: all)")
    parser.add_argument("--tokens", default="joint", help="which spatial tokens (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: %(default)s)")
    parser.add_argument("--config", default="official", help="the version of CALIP (default: %(default)s)")
    parser.add_argument("--views", default="pointclip", help="the view set of point clouds (default: %(default)s)")
    add_engine(parser)
    add_results(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, append and print; 1 if it failed, 2 if the setting is not one."""
    from calip_core.evaluation.sweep import groups_of, run_sweep

    try:
        sweep, engine = _sweep(arguments), engine_of(arguments)
        results = results_path(arguments)
        groups = groups_of(sweep, results, progress=True, again=True)
    except (ValueError, OSError, ImportError) as error:
        print(f"calip evaluate: {in_words(error)}", file=sys.stderr)
        return 2
    summary = run_sweep(groups, engine, progress=False)
    if summary.exit_status:
        print("\n".join(["calip evaluate: failed", *summary.failed.values()]), file=sys.stderr)
        return summary.exit_status
    from calip_core.evaluation.store import load

    (key,) = summary.measured.values()
    print(describe(next(record for record in reversed(load(results)) if record.key == key)))
    print(f"recorded in {results}")
    return 0


def _sweep(arguments: argparse.Namespace) -> "Sweep":
    """A grid of one cell."""
    from calip_core.evaluation.sweep import make_sweep

    return make_sweep(
        datasets=[arguments.task], backbones=[arguments.backbone], methods=[arguments.method],
        protocols=[arguments.protocol], shots=[arguments.shots], seeds=[arguments.seed], tokens=[arguments.tokens],
        precision=arguments.precision, configs=[arguments.config], views=[arguments.views],
        samples="all" if arguments.limit is None else arguments.limit,
    )  # fmt: skip


def describe(record: "Record") -> str:
    """What was measured, in three lines."""
    from calip_core.exhibits.results import gain_text, interval_text

    data, score, choice = record.data, record.score, record.choice
    shots = f", {record.shots} shots" if record.shots else ""
    head = f"{data.task}, {record.encoder.backbone}, {record.head.method}{shots}"
    return (
        f"{head}: {data.images} images, seed {record.seed}\n"
        f"top-1 {interval_text(score)} %, CLIP {100 * score.clip_top1:.2f} %, gain {gain_text(score)} points\n"
        f"protocol {choice.protocol} ({choice.chosen_by}), labels seen: {choice.labels_seen}"
    )
