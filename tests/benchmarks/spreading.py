"""Images a second that one and two of Ray's workers of one core encode and blend with RN50 (random weights)."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from calip_core.analysis.speed_records import Measurement
from calip_core.backbones.clip_import import clip
from calip_core.evaluation.engines import ray_data
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import groups_of, make_sweep, run_sweep
from tests.benchmarks.encoding import RN50

WORKERS = (1, 2)
SIZES = (850, 2550)  # about 30 % are test images; the difference of their times is free of what a start takes
CLASSES = 10
PICTURE = (500, 375)  # a common size of ImageNet's photographs
GOAL = 1.8  # times one worker's speed, with two


def run() -> Iterator[Measurement]:
    """A fresh cluster of as many cores as workers for each number of them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        weights = _weights(root)
        speeds = []
        for workers in WORKERS:
            (few, start), (many, end) = (_timed(root, weights, images, workers) for images in SIZES)
            speeds.append((many - few) / (end - start))
            what = f"RN50 in float32, {workers} worker{'s' * (workers > 1)} of one core"
            yield Measurement(what=what, value=speeds[-1], unit="images/s")
        yield Measurement(what="two workers against one", value=speeds[1] / speeds[0], unit="times", goal=GOAL)
        yield Measurement(what="margins and five best classes, on the disk", value=_row(root), unit="bytes/image")


def _weights(root: Path) -> Path:
    torch.manual_seed(0)
    path = root / "RN50.pt"
    torch.save(clip.model.CLIP(**RN50).state_dict(), path)
    return path


def _pictures(root: Path, images: int) -> Path:
    """A folder of smooth random photographs, in classes of equal size."""
    folder = root / f"pictures-{images}"
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        path = folder / f"class {number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize(PICTURE, Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def _timed(root: Path, weights: Path, images: int, workers: int) -> tuple[int, float]:
    """How many test images, and the seconds that they took."""
    import ray

    sweep = make_sweep(
        datasets=[f"folder:{_pictures(root, images)}"], backbones=[str(weights)], precision="fp32", root=root
    )
    groups = groups_of(sweep, root / "runs.jsonl", again=True)
    engine = ray_data.ray_data_engine(cores=1)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        start = time.perf_counter()
        summary = run_sweep(groups, engine, progress=False)
        seconds = time.perf_counter() - start
    finally:
        ray.shutdown()
    if summary.failed:
        raise RuntimeError("; ".join(summary.failed.values()))
    return load(root / "runs.jsonl")[-1].data.images, seconds


def _row(root: Path) -> float:
    results = root / "runs.jsonl"
    record = load(results)[-1]
    return ray_data.margins_file(results, record.key).stat().st_size / record.data.images
