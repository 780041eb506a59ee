"""Choices of blend weights that look at no labels, and the oracle's control, on logits of ImageNet's size."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.analysis.speed_records import Measurement
from calip_core.blend import selection
from calip_core.tokens import CalipLogits

IMAGES, CLASSES, WIDTH, REPEATS = 6_000, 1_000, 512, 20
LIMIT_S = 5
SCALE, LIKENESS, SHIFT = 100.0, 0.28, 0.2  # CLIP's scale; an image's share of its class, and of what all images share


def run() -> Iterator[Measurement]:
    """Seconds of each label-free criterion over its default grid, and of the control with 20 permutations."""
    logits, labels = random_logits()
    size = f"{IMAGES:,} images x {CLASSES:,} classes"
    for criterion in selection.CRITERIA:
        started = time.perf_counter()
        chosen = selection.label_free(logits, criterion)
        seconds = time.perf_counter() - started
        what = f"{size}, {chosen.grid}: {criterion}"
        yield Measurement(what=what, value=seconds, unit="s", goal=LIMIT_S, better="lower")
    started = time.perf_counter()
    selection.oracle_control(logits, labels, seed=0, repeats=REPEATS)
    seconds = time.perf_counter() - started
    what = f"{size}, {selection.Grid.released()}: the oracle's control, {REPEATS} permutations"
    yield Measurement(what=what, value=seconds, unit="s", goal=LIMIT_S, better="lower")


def random_logits() -> tuple[CalipLogits, Tensor]:
    """Cosines times CLIP's scale: images near the vectors of their classes, the attended terms seen with more noise."""
    generator = torch.Generator().manual_seed(0)

    def directions(rows: int) -> Tensor:
        return normalize(torch.randn(rows, WIDTH, generator=generator), dim=1)

    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    shift = directions(1)
    text = normalize(directions(CLASSES) + SHIFT * shift, dim=1)
    images = normalize(LIKENESS * text[labels] + SHIFT * shift + directions(IMAGES), dim=1)
    attended = (normalize(images + noise * directions(IMAGES), dim=1) for noise in (0.5, 1.0))
    return CalipLogits(*(SCALE * rows @ text.T for rows in (images, *attended))), labels
