"""Choices of blend weights that look at no labels, and the oracle's control, on logits of ImageNet's size."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.analysis.speed_records import Measurement
from calip_core.blend import selection
from calip_core.metrics import accuracy
from calip_core.tokens import CalipLogits

IMAGES, CLASSES, WIDTH, REPEATS = 6_000, 1_000, 512, 20
LIMIT_S = 5
SCALE, LIKENESS, SHIFT = 100.0, 0.17, 0.2  # CLIP's scale; an image's share of its class, and of what all images share


def run() -> Iterator[Measurement]:
    """Seconds of each label-free criterion over its default grid, and of the control with 20 permutations."""
    logits, labels = random_logits()
    zero_shot = 100 * accuracy(logits.clip, labels)
    yield Measurement(what="zero-shot accuracy of these logits", value=zero_shot, unit="%")
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
    """Cosines times CLIP's scale, of images near the vectors of their classes, and attended terms as they come out.

    The text-attended term sees the image with noise and differs less among the classes, here by a quarter of CLIP's
    spread (by a sixteenth in ``mini-vit``). The visual-attended one differs among the classes, hardly among the images.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(rows: int, columns: int = WIDTH) -> Tensor:
        return torch.randn(rows, columns, generator=generator)

    def directions(rows: int) -> Tensor:
        return normalize(normal(rows), dim=1)

    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    shift = directions(1)
    text = normalize(directions(CLASSES) + SHIFT * shift, dim=1)
    images = normalize(LIKENESS * text[labels] + SHIFT * shift + directions(IMAGES), dim=1)
    attended = normalize(images + 0.5 * directions(IMAGES), dim=1)
    visual = SCALE + 2 * normal(1, CLASSES) + 0.1 * normal(IMAGES, CLASSES)
    return CalipLogits(SCALE * images @ text.T, 0.7 * SCALE + 0.25 * SCALE * attended @ text.T, visual), labels
