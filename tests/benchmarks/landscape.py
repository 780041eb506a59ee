"""The exact landscape of the blend weights against the released search, which evaluates its grid point by point."""

import resource
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from calip_core.analysis.speed_records import Measurement
from calip_core.blend.landscape import beta_landscape, released_grid
from calip_core.tokens import CalipLogits

CLASSES = 1000
SAMPLED_POINTS = 20


def run() -> Iterator[Measurement]:
    beta2, beta3 = released_grid()
    for images, goal, goal_gib in ((5_000, 1, None), (50_000, 10, 3)):
        logits, labels = random_logits(images)
        started = time.perf_counter()
        landscape = beta_landscape(logits, labels, beta2=beta2, beta3=beta3)
        ours = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        size = f"{images:,} images x {CLASSES:,} classes, {len(beta2)} x {len(beta3)} pairs"
        yield Measurement(what=f"{size}: the landscape", value=ours, unit="s", goal=goal, better="lower")
        yield Measurement(
            what=f"{size}: peak memory of the process", value=peak, unit="GiB", goal=goal_gib, better="lower"
        )
        if images == 5_000:
            a_point = released_point(logits, labels)
            loop = a_point * landscape.correct.size
            yield Measurement(what=f"{size}: one pair in the released loop", value=1000 * a_point, unit="ms")
            yield Measurement(what=f"{size}: speed against the released loop", value=loop / ours, unit="times")


def random_logits(images: int) -> tuple[CalipLogits, Tensor]:
    """Logits of about ImageNet's difficulty: the attended terms repeat CLIP's own, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (images,), generator=generator)
    clip = torch.randn(images, CLASSES, generator=generator)
    clip[torch.arange(images), labels] += 3.0
    noise = [torch.randn(images, CLASSES, generator=generator) for _ in range(2)]
    return CalipLogits(clip, 0.9 * clip + 0.5 * noise[0], 2 * clip + noise[1]), labels


def released_point(logits: CalipLogits, labels: Tensor) -> float:
    """Seconds that one evaluation takes: the blend, then the accuracy by topk as the released code counts it."""
    started = time.perf_counter()
    for i in range(SAMPLED_POINTS):
        blend = logits.combine(beta2=0.1 * i, beta3=0.01 * i)
        predicted = blend.topk(1, 1, True, True)[1].t()
        predicted.eq(labels.view(1, -1)).float().sum()
    return (time.perf_counter() - started) / SAMPLED_POINTS
