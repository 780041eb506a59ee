"""CALIP's gain along the training of a miniature: ``python -m calip_core.analysis.training_gains SNAPSHOTS``.

The weights along a training run come from ``python -m calip_core.miniature.train --arch vit --snapshots SNAPSHOTS``.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from calip_core.analysis.window import wide_grid
from calip_core.backbones import load_backbone
from calip_core.blend.protocols import Protocol
from calip_core.datasets import load_task
from calip_core.evaluation.evaluate import evaluate
from calip_core.evaluation.record import Record
from calip_core.paths import DATA_DIR, atomic_path

TASKS = ("mini-shapes", "mini-pairs", "mini-textures", "digits")
"""Tasks of the procedural world."""

_SNAPSHOT = re.compile(r"mini-(rn|vit)-(\d+)\.pt")
_PROTOCOLS: tuple[Protocol, ...] = ("validation", "fixed")
_DIGITS = 5


def measure(
    snapshots: Path,
    tasks: Sequence[str] = TASKS,
    *,
    limit: int | None = None,
    seed: int = 0,
    features: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Evaluate CALIP with every file of weights in a folder.

    Args:
        snapshots: folder with files ``mini-ARCH-SAMPLES.pt``.
        tasks: names of tasks with validation images.
        limit: maximum number of test images, and of validation images.
        seed: which images a limit selects.
        features: folder of the feature stores; a folder in the user's cache by default.
        progress: whether to show progress bars.

    Returns:
        One row per file, task and protocol, in the order of training. "validation" chooses the blend weights from
        ``wide_grid``, "fixed" takes the paper's pair. Accuracies and gains are fractions from 0 to 1.

    Raises:
        ValueError: the folder has no such file.
    """
    found = {int(match[2]): path for path in snapshots.iterdir() if (match := _SNAPSHOT.fullmatch(path.name))}
    if not found:
        raise ValueError(f"{snapshots} has no weights mini-ARCH-SAMPLES.pt: make them with train --snapshots")
    rows = []
    for samples, path in sorted(found.items()):
        backbone = load_backbone(path)
        for task in map(load_task, tasks):
            for protocol in _PROTOCOLS:
                record = evaluate(
                    task, backbone, protocol=protocol, seed=seed, limit=limit, features=features, progress=progress,
                    grid=wide_grid() if protocol == "validation" else None,
                )  # fmt: skip
                rows.append({"samples": samples} | _row(record))
    return pd.DataFrame(rows)


def _row(record: Record) -> dict[str, str | int | float]:
    score = record.score
    return {
        "task": record.data.task, "protocol": record.choice.protocol, "images": record.data.images,
        "seed": record.seed, "clip": round(score.clip_top1, _DIGITS), "gain": round(score.gain, _DIGITS),
        "gain_low": round(score.gain_low, _DIGITS), "gain_high": round(score.gain_high, _DIGITS),
        "only_calip": score.only_method, "only_clip": score.only_clip, "p": float(f"{score.mcnemar_p:.3g}"),
        "beta2": round(record.choice.values["beta2"], _DIGITS), "beta3": round(record.choice.values["beta3"], _DIGITS),
    }  # fmt: skip


def shipped_gains(backbone: str = "mini-vit") -> pd.DataFrame:
    """The table that ``measure`` made along the training of a shipped miniature.

    Raises:
        FileNotFoundError: there is none for this backbone.
    """
    return pd.read_csv(DATA_DIR / "miniature" / f"{backbone}.gains.csv")


def main(arguments: list[str] | None = None) -> None:
    """Measure every snapshot and write the table."""
    parser = argparse.ArgumentParser(prog="python -m calip_core.analysis.training_gains", description=__doc__)
    parser.add_argument("snapshots", type=Path, help="folder of weights along a training run")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--limit", type=int, help="maximum number of test and of validation images")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--features", type=Path, help="folder of the feature stores (default: the user's cache)")
    parser.add_argument("--out", type=Path, default=Path("mini-vit.gains.csv"), help="CSV file to write")
    options = parser.parse_args(arguments)
    table = measure(options.snapshots, options.tasks, limit=options.limit, seed=options.seed, features=options.features)
    with atomic_path(options.out) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
