"""Pictures a second of the procedural world, on one core."""

import time
from collections.abc import Iterator

import torch

from calip_core import world
from calip_core.analysis.speed_records import Measurement

COUNT = 500


def run() -> Iterator[Measurement]:
    """Flat scenes and solids."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for what, goal, sample, render in (
            ("flat scenes", 1000, world.sample_scenes, world.render_scenes),
            ("solids", 300, world.sample_solids, world.render_solids),
        ):
            render(sample(COUNT, seed=1))
            start = time.perf_counter()
            render(sample(COUNT, seed=2))
            each = COUNT / (time.perf_counter() - start)
            yield Measurement(what=f"{what}, one core", value=each, unit="pictures/s", goal=goal)
    finally:
        torch.set_num_threads(threads)
