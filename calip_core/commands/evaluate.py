"""``calip evaluate TASK BACKBONE``: measure one setting and append its record."""

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from calip_core.commands.arguments import add_choice, add_encoding, check_cache, whole_number
from calip_core.commands.sweep import add_engine, add_results, engine_of, results_path
from calip_core.errors import in_words
from calip_core.paths import expanded

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.evaluation.record import Record
    from calip_core.evaluation.sweep import Engine, Sweep


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    from calip_core.blend.protocols import PROTOCOLS
    from calip_core.evaluation.shots import Short
    from calip_core.methods.configs import CONFIG_NAMES, PRIOR_NAMES
    from calip_core.methods.registry import HEADS
    from calip_core.pointclouds.names import available_view_sets

    parser = subparsers.add_parser(
        "evaluate", help="measure one head on one task", description="Measure one setting and append its record."
    )
    add_encoding(parser, "test images")
    add_choice(parser, "--method", tuple(HEADS), "calip", "the head")
    add_choice(parser, "--protocol", PROTOCOLS, "fixed", "how hyperparameters are chosen")
    shots = whole_number(0)
    parser.add_argument("--shots", type=shots, default=0, metavar="N", help="labelled images per class (default: 0)")
    add_choice(parser, "--short", get_args(Short), "error", "what to do with a class of fewer images than shots")
    add_choice(parser, "--config", CONFIG_NAMES, "official", "the version of CALIP")
    add_choice(parser, "--prior", PRIOR_NAMES, "keep", "the class prior in CALIP's visual term")
    add_choice(parser, "--views", available_view_sets(), "pointclip", "the view set of point clouds")
    text = "images per batch, for a head that sees a batch (default: all test images)"
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", help=text)
    text = 'JSON file of class descriptions, in place of templates: {"cat": ["a small animal.", ...], ...}'
    parser.add_argument("--prompts", type=expanded, metavar="FILE", help=text)
    add_engine(parser)
    text = "with ray: cores of each worker (default: 2, or a GPU's share of its machine)"
    parser.add_argument("--cores", type=whole_number(1), metavar="N", help=text)
    add_results(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, append and print; 1 if it failed, 2 if the setting is not one."""
    from calip_core.evaluation.sweep import groups_of, run_sweep

    try:
        _check_shots(arguments.method, arguments.shots)
        _check_unused(arguments)
        check_cache()
        sweep, engine = _sweep(arguments), _engine(arguments)
        results = results_path(arguments)
        prompts = None if arguments.prompts is None else arguments.prompts.absolute()
        groups = groups_of(sweep, results, prompts=prompts, progress=True, again=True)
    except (ValueError, OSError, ImportError) as error:
        print(f"calip evaluate: {in_words(error)}", file=sys.stderr)
        return 2
    summary = run_sweep(groups, engine, progress=False)
    if summary.exit_status:
        print(f"calip evaluate: {'; '.join(summary.failed.values()) or 'stopped'}", file=sys.stderr)
        return summary.exit_status
    from calip_core.evaluation.store import load

    (key,) = summary.measured.values()
    print(describe(next(record for record in reversed(load(results)) if record.key == key)))
    print(f"recorded in {results}")
    if arguments.engine == "ray":
        from calip_core.evaluation.engines.ray_data import margins_file

        print(f"margins of every image in {margins_file(results, key)}")
    return 0


def _engine(arguments: argparse.Namespace) -> "Engine":
    """An engine for one cell: on Ray, one that spreads its images."""
    if arguments.engine == "ray":
        from calip_core.evaluation.engines.ray_data import ray_data_engine

        return ray_data_engine(arguments.address, arguments.cores)
    return engine_of(arguments)


def _check_shots(method: str, shots: int) -> None:
    """Refuse shots for a head that takes none, which a grid would ignore, and a head that learns without shots."""
    from calip_core.methods.registry import HEADS

    learns = HEADS[method].learns
    if learns and not shots:
        raise ValueError(f"{method} learns from labelled images: give --shots, such as 4")
    if shots and not learns:
        raise ValueError(f"{method} takes no labelled images: leave --shots out")


def _check_unused(arguments: argparse.Namespace) -> None:
    """Refuse what this method, task or engine would ignore."""
    from calip_core.datasets.names import task_kind

    for flag, given, of in (
        ("--config", arguments.config != "official" and arguments.method != "calip", "the method calip"),
        ("--prior", arguments.prior != "keep" and arguments.method != "calip", "the method calip"),
        ("--views", arguments.views != "pointclip" and task_kind(arguments.task) == "images", "point clouds"),
        ("--cores", arguments.cores is not None and arguments.engine != "ray", "--engine ray"),
        ("--address", arguments.address is not None and arguments.engine != "ray", "--engine ray"),
    ):
        if given:
            raise ValueError(f"{flag} is for {of}: leave it out")
    if arguments.batch_size is not None or arguments.engine == "ray":
        from calip_core.methods import METHODS  # it imports torch

        method, sees = arguments.method, METHODS[arguments.method].sees
        if arguments.batch_size is not None and sees != "batch":
            raise ValueError(f"{method} sees no batch of images: leave --batch-size out")
        if arguments.engine == "ray" and sees != "nothing":
            raise ValueError(f"{method} sees {sees}, and --engine ray shows one image at a time: leave it out")


def _sweep(arguments: argparse.Namespace) -> "Sweep":
    """A grid of one cell."""
    from calip_core.evaluation.sweep import make_sweep

    return make_sweep(
        datasets=[arguments.task], backbones=[arguments.backbone], methods=[arguments.method],
        protocols=[arguments.protocol], shots=[arguments.shots], seeds=[arguments.seed], tokens=[arguments.tokens],
        precision=arguments.precision, configs=[arguments.config], priors=[arguments.prior], views=[arguments.views],
        samples="all" if arguments.limit is None else arguments.limit, batch_size=arguments.batch_size,
        short=arguments.short,
    )  # fmt: skip


def describe(record: "Record") -> str:
    """What was measured, in three lines, or in four if a cluster measured it."""
    from calip_core.exhibits.results import gain_text, interval_text

    data, score, choice = record.data, record.score, record.choice
    shots, support = (f", {n} shots", f"; support: {n} per class") if (n := record.shots) else ("", "")
    seen = "" if record.head.sees in ("nothing", "labels") else f" (sees {record.head.sees})"
    mark = " (stand-in)" if data.standin else f" (only a part: {data.part})" if data.part else ""
    head = f"{data.task}{mark}, {record.encoder.backbone}, {record.head.method}{shots}{seen}"
    spread = record.run.spread
    shared = "" if spread is None else (
        f"\nspread over {spread.workers} workers (threads of each: {spread.threads}); {spread.doubtful} images are so "
        "close to the boundary that other batches could classify them otherwise"
    )  # fmt: skip
    return (
        f"{head}: {data.images} images, seed {record.seed}\n"
        f"top-1 {interval_text(score)} %, CLIP {100 * score.clip_top1:.2f} %, gain {gain_text(score)} points\n"
        f"protocol {choice.protocol} ({choice.chosen_by}), labels seen by the choice: {choice.labels_seen}{support}"
        f"{shared}"
    )
