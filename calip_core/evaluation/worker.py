"""A sweep's worker: load a task and a backbone once, then measure one cell after another."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from calip_core.backbones import load_backbone
from calip_core.backbones.base import Backbone
from calip_core.datasets import load_task
from calip_core.datasets.names import root_of
from calip_core.datasets.task import Task
from calip_core.errors import in_words
from calip_core.evaluation.evaluate import Evaluation, plan
from calip_core.evaluation.store import RecordedKeys, append
from calip_core.evaluation.sweep import Cell, Group, Outcome
from calip_core.methods import METHODS


def run_group(
    group: Group, device: str = "auto", started: Callable[[Cell], Any] = lambda cell: None
) -> Iterator[Outcome]:
    """Measure the cells of a group that have no record yet, and append their records.

    Several workers, of one sweep or of several, may run the same group: each cell has a lock, and a worker that finds
    it taken measures the others first.

    Args:
        group: the cells.
        device: where the backbone computes.
        started: called with each cell before it is measured.
    """
    try:
        task, backbone = load(group, device)
    except Exception as error:  # whatever is wrong with the data or the weights concerns this group alone
        yield from (Outcome(cell, "failed", reason(error)) for cell in group.cells)
        return
    recorded, waiting = RecordedKeys(group.results), []
    for cell in group.cells:
        started(cell)
        outcome = _measure(cell, group, task, backbone, recorded, wait=False)
        if outcome is None:
            waiting.append(cell)
        else:
            yield outcome
    for cell in waiting:
        started(cell)
        outcome = _measure(cell, group, task, backbone, recorded, wait=True)
        assert outcome is not None  # a waiting worker gets the lock
        yield outcome


def load(group: Group, device: str) -> tuple[Task, Backbone]:
    """The task and the backbone of a group, as this machine has them."""
    dataset, views, backbone, tokens = group.cells[0].loads
    options = {} if views is None else {"views": views}
    task = load_task(dataset, root_of(dataset, group.root), prompts=group.prompts, **options)
    return task, load_backbone(backbone, device=device, precision=group.precision, tokens=tokens)


def _measure(
    cell: Cell, group: Group, task: Task, backbone: Backbone, recorded: RecordedKeys, *, wait: bool
) -> Outcome | None:
    """The outcome of one cell; None if another worker is measuring it and ``wait`` is False."""
    try:
        evaluation = plan_cell(cell, group, task, backbone)
        with FileLock(lock_file(group.results, evaluation.key), timeout=-1 if wait else 0):
            if evaluation.key in recorded and not group.again:
                return Outcome(cell, "recorded", key=evaluation.key)
            append(evaluation.run(progress=group.progress), group.results)
            return Outcome(cell, "measured", key=evaluation.key)
    except Timeout:
        return None
    except Exception as error:  # a cell that fails must not stop the others
        return Outcome(cell, "failed", reason(error))


def plan_cell(cell: Cell, group: Group, task: Task, backbone: Backbone) -> Evaluation:
    """The evaluation of a cell."""
    batch_size = group.batch_size if METHODS[cell.method].sees == "batch" else None
    return plan(
        task, backbone, cell.method, protocol=cell.protocol, shots=cell.shots, seed=cell.seed, limit=group.limit,
        options=cell.options, batch_size=batch_size, short=group.short,
    )  # fmt: skip


def lock_file(results: Path, key: str) -> Path:
    """What the measurer of a setting holds."""
    folder = results.with_name(f".{results.name}.locks")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{key}.lock"


def reason(error: Exception) -> str:
    """Why a cell failed, in words."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory on the GPU: choose a smaller backbone, or free the GPU"
    return in_words(error)
