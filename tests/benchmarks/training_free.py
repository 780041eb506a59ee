"""How long the heads without labels take for 5,000 images and 100 classes, from their features."""

import time
from collections.abc import Iterator

import torch
from torch.nn.functional import normalize

from calip_core.analysis.speed_records import Measurement
from calip_core.methods import METHODS, make_method
from calip_core.tokens import ImageTokens

IMAGES, CLASSES, WIDTH = 5000, 100, 512
VIEWS_OF = 300  # images of MTA, 64 views each
GOAL_SECONDS = 60


def run() -> Iterator[Measurement]:
    """Each head, then all that need no views together."""
    generator = torch.Generator().manual_seed(0)
    text = normalize(torch.randn(CLASSES, WIDTH, generator=generator), dim=1)
    noise = normalize(torch.randn(IMAGES, WIDTH, generator=generator), dim=1)
    tokens = ImageTokens.without_places(normalize(noise + 0.3 * text[torch.arange(IMAGES) % CLASSES], dim=1))
    total = 0.0
    for name, head in METHODS.items():
        if head.sees in ("unlabelled", "stream", "batch"):
            seconds = _seconds(name, tokens, text)
            total += seconds
            yield Measurement(what=f"{name}: {IMAGES} images", value=seconds, unit="s")
    yield Measurement(what="all of these", value=total, unit="s", goal=GOAL_SECONDS, better="lower")
    seconds = _seconds("mta", tokens[torch.arange(64 * VIEWS_OF) % IMAGES], text)
    yield Measurement(what=f"mta: {VIEWS_OF} images of 64 views, already encoded", value=seconds, unit="s")


def _seconds(name: str, tokens: ImageTokens, text: torch.Tensor) -> float:
    """Seconds of one classification."""
    head = make_method(name).fit(tokens if METHODS[name].sees == "unlabelled" else None, None, text)
    start = time.perf_counter()
    head.logits(tokens)
    return time.perf_counter() - start
