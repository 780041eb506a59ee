"""Pictures a second of the procedural world, on one core."""

import time

import torch

from calip_core.backbones.miniature import world

COUNT = 500


def run() -> None:
    """Flat scenes and solids (goals: 1,000 and 300 a second on one core)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for what, sample, render in (
            ("flat scenes", world.sample_scenes, world.render_scenes),
            ("solids", world.sample_solids, world.render_solids),
        ):
            render(sample(COUNT, seed=1))
            start = time.perf_counter()
            render(sample(COUNT, seed=2))
            print(f"  {what}: {COUNT / (time.perf_counter() - start):.0f} a second on one core")
    finally:
        torch.set_num_threads(threads)
