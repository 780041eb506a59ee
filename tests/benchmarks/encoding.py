"""Encoding with RN50 (random weights: speed does not depend on them), and what low precision costs in accuracy."""

import copy
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from calip_core import load_backbone, load_task, zero_shot_classifier
from calip_core.analysis.speed import encoding_seconds, paired_seconds
from calip_core.analysis.speed_records import Measurement
from calip_core.backbones import available_backbones
from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import clip
from calip_core.backbones.precision import choose_dtype
from calip_core.datasets.task import Split
from calip_core.features import FeatureStore, encode_split
from calip_core.metrics import accuracy
from tests.benchmarks.backbones import ARCHITECTURES

RN50 = ARCHITECTURES["RN50"]
IMAGES = 16
PHOTOGRAPHS, BATCH = 256, 64
GOAL = 4  # times the plain call, on a processor with AVX512-BF16


def run() -> Iterator[Measurement]:
    """Images a second of the plain call and of this library, then the accuracy gap on the miniature's tasks."""
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        yield from _speeds(device)
    yield from _pipeline()
    yield from _accuracy_gap()


def _pipeline() -> Iterator[Measurement]:
    """Files to stored tokens, against a plain DataLoader that feeds the bare model, alternating in one process."""
    with tempfile.TemporaryDirectory() as folder:
        split = _photographs(Path(folder))
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            torch.manual_seed(0)
            backbone = Backbone.from_clip("RN50", clip.model.CLIP(**RN50).eval().float(), device=device)
            found = paired_seconds(
                {
                    "plain": lambda backbone=backbone: _plain(split, backbone),
                    "memory": lambda backbone=backbone: encode_split(
                        backbone, split, batch_size=BATCH, progress=False
                    ),
                    "store": lambda backbone=backbone: _store(split, backbone),
                },
                repeats=3,
            )
            for name, what in (("memory", "encode_split"), ("store", "a feature store, written and checked")):
                yield Measurement(
                    what=f"{device}: RN50, JPEG files to all tokens: {what}, against a DataLoader with as many "
                    f"processes and the bare model ({PHOTOGRAPHS / found['plain']:.1f} images/s)",
                    value=found["plain"] / found[name], unit="times", goal=0.95,
                )  # fmt: skip


def _photographs(folder: Path) -> Split:
    """JPEG files of the usual size."""
    random = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(PHOTOGRAPHS)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (20, 26, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return Split(lambda i: Image.open(paths[i]), np.zeros(PHOTOGRAPHS, dtype=np.int64), paths=paths)


class _Files(Dataset[torch.Tensor]):
    def __init__(self, split: Split, backbone: Backbone) -> None:
        self.split, self.preprocess = split, backbone.preprocess

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.preprocess(self.split[index][0])


@torch.no_grad()
def _plain(split: Split, backbone: Backbone) -> None:
    """What a short script does: pooled features alone, kept in memory."""
    loader = DataLoader(_Files(split, backbone), batch_size=BATCH, num_workers=os.cpu_count() or 1, pin_memory=True)
    for images in loader:
        images = images.to(backbone.device, backbone.dtype, memory_format=torch.channels_last)
        backbone.model.encode_image(images).float().cpu()


def _store(split: Split, backbone: Backbone) -> None:
    with tempfile.TemporaryDirectory() as root:
        FeatureStore.encode(backbone, split, root=Path(root), batch_size=BATCH, progress=False)


def _speeds(device: str) -> Iterator[Measurement]:
    torch.manual_seed(0)
    plain = clip.model.CLIP(**RN50).eval().float().to(device)
    for precision in ("fp32", "bf16") if device == "cpu" else ("fp32", "auto"):
        backbone = Backbone.from_clip("RN50", copy.deepcopy(plain), device=device, precision=precision)
        slow, fast = encoding_seconds(backbone, plain, IMAGES)
        what = f"{device}: RN50 in {str(backbone.dtype).removeprefix('torch.')}"
        chosen = ", what auto chooses here" if backbone.dtype == choose_dtype("auto", backbone.device) else ""
        yield Measurement(what=f"{what}, all tokens{chosen}", value=IMAGES / fast, unit="images/s")
        yield Measurement(
            what=f"{what}, all tokens, against the plain fp32 call, pooled vector alone ({IMAGES / slow:.1f} images/s)",
            value=slow / fast, unit="times", goal=GOAL if precision == "bf16" and _multiplies_bfloat16() else None,
        )  # fmt: skip


def _multiplies_bfloat16() -> bool:
    """Whether the processor is of the kind that the goal was set for."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _accuracy_gap() -> Iterator[Measurement]:
    for name in (b for b in available_backbones() if b.startswith("mini-")):
        for task_name in ("mini-shapes", "mini-pairs", "mini-textures", "digits"):
            exact, low = (_test_accuracy(name, task_name, precision) for precision in ("fp32", "bf16"))
            yield Measurement(what=f"{name} on {task_name}: accuracy in float32", value=100 * exact, unit="%")
            gap = 100 * (low - exact)
            yield Measurement(what=f"{name} on {task_name}: bfloat16 less float32", value=gap, unit="points")


def _test_accuracy(name: str, task_name: str, precision: str) -> float:
    backbone, task = load_backbone(name, precision=precision), load_task(task_name)
    tokens, labels = encode_split(backbone, task.splits["test"], limit=500, progress=False)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    return accuracy(tokens.pooled @ text.T, labels)
