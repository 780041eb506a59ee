"""How long the few-shot heads take, with CLIP and CALIP: five numbers of shots, three draws, on cached tokens."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from calip_core.analysis.speed_records import Measurement
from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.evaluation.evaluate import evaluate
from calip_core.methods import METHODS

TASK, BACKBONE = "mini-pairs", "mini-rn"
SHOTS, SEEDS = (1, 2, 4, 8, 16), (1, 2, 3)
HEADS = {name: head for name, head in METHODS.items() if head.sees in ("nothing", "labels")}
GOAL_MINUTES = 10


def run() -> Iterator[Measurement]:
    """Mean accuracy and seconds of every head with the fixed recipe, and the seconds of all together."""
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_backbone(BACKBONE, device="cpu", precision="fp32")
        measured = partial(evaluate, load_task(TASK), backbone, features=Path(folder), progress=False)
        for shots in SHOTS:
            for seed in SEEDS:
                measured("tip_adapter", shots=shots, seed=seed)  # encodes the support set
        yield from measure(measured)


def measure(measured: partial) -> Iterator[Measurement]:
    """All fits, timed with the reading of their tokens and the measurement on the test images. Goal: zero-shot CLIP."""
    began = time.perf_counter()
    for method, head in HEADS.items():
        asked = SHOTS if head.sees == "labels" else (0,)
        started = time.perf_counter()
        records = [measured(method, shots=shots, seed=seed) for shots in asked for seed in SEEDS]
        seconds = time.perf_counter() - started
        most = [record.score.top1 for record in records if record.shots == asked[-1]]
        yield Measurement(what=f"{method}: all shots and draws", value=seconds, unit="s")
        yield Measurement(
            what=f"{method}: mean accuracy at {asked[-1]} shots", value=100 * sum(most) / len(most), unit="%",
            goal=100 * records[0].score.clip_top1,
        )  # fmt: skip
    yield Measurement(
        what=f"{TASK} with {BACKBONE}: {len(HEADS)} heads x {len(SHOTS)} numbers of shots x {len(SEEDS)} draws, "
        "fixed recipe, from cached tokens", value=time.perf_counter() - began, unit="s", goal=60 * GOAL_MINUTES,
        better="lower",
    )  # fmt: skip
