"""How long the whole field takes: every head, five numbers of shots, three draws, on a miniature's cached tokens."""

import tempfile
import time
from pathlib import Path

from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.fewshot import SEEDS, SHOTS, FewShotBench
from calip_core.methods import METHODS

TASK, BACKBONE = "mini-pairs", "mini-rn"
GOAL_MINUTES = 10


def run() -> None:
    """Mean accuracy and seconds of every head with the fixed recipe, and the seconds of all together."""
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_backbone(BACKBONE, device="cpu", precision="fp32")
        bench = FewShotBench(load_task(TASK), backbone, features=Path(folder), progress=False)
        for shots in SHOTS:
            for seed in SEEDS:
                bench.support(shots, seed)
        measure(bench)


def measure(bench: FewShotBench) -> None:
    """All fits, timed with the reading of their tokens and the measurement on the test images."""
    began, worked = time.perf_counter(), time.process_time()
    for method in METHODS:
        started = time.perf_counter()
        records = {(shots, seed): bench.run(method, shots, seed) for shots in SHOTS for seed in SEEDS}
        seconds = time.perf_counter() - started
        means = (sum(records[shots, seed].top1 for seed in SEEDS) / len(SEEDS) for shots in SHOTS)
        print(f"  {method}: {seconds:.1f} s; {', '.join(f'{100 * mean:.1f}' for mean in means)} %", flush=True)
    total, worked = time.perf_counter() - began, time.process_time() - worked
    print(
        f"  {TASK} with {BACKBONE}, {len(METHODS)} heads x {len(SHOTS)} numbers of shots x {len(SEEDS)} draws, fixed "
        f"recipe: {total:.0f} s (goal: {60 * GOAL_MINUTES}), {worked:.0f} s of processors; "
        f"zero-shot {next(iter(records.values())).clip_top1:.1%}"
    )
