"""The exact search for view weights against PointCLIP's: ten values for each of six weights, a million points."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from calip_core.analysis.speed_records import Measurement
from calip_core.blend import view_weights
from calip_core.metrics import accuracy

CLOUDS, CLASSES, VIEWS, STEPS = 2468, 40, 6, 10  # ModelNet40's test split, PointCLIP's views, its SEARCH.TIME at 10
SEEDS = (0, 1, 2)
LINES_AT_ONCE = 2  # so many lines of the grid fit into a cache
SAMPLED_POINTS, CHANNELS = 10, 1024


def run() -> Iterator[Measurement]:
    """Accuracy on the labels that are searched, and seconds, for three sets of logits."""
    point = published_point()
    yield Measurement(what="one point of the published loop", value=1000 * point, unit="ms")
    hours = point * STEPS**VIEWS / 3600
    yield Measurement(what=f"published loop, {STEPS**VIEWS:,} points at that pace", value=hours, unit="h")
    for seed in SEEDS:
        logits, labels = random_logits(seed)
        started = time.perf_counter()
        ours = view_weights.search(logits, labels)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        grid = exhaustive(logits, labels)
        loop = time.perf_counter() - started
        best = accuracy(view_weights.fuse(logits.double(), grid), labels)
        same = accuracy(view_weights.fuse(logits, view_weights.uniform(VIEWS).weights), labels)
        of = f"{CLOUDS:,} clouds x {CLASSES} classes x {VIEWS} views, seed {seed}"
        yield Measurement(what=f"{of}: exact search", value=seconds, unit="s", goal=1, better="lower")
        yield Measurement(what=f"{of}: accuracy of equal weights", value=100 * same, unit="%")
        yield Measurement(
            what=f"{of}: accuracy found, with that of the best of {STEPS**VIEWS:,} points as the goal",
            value=100 * ours.accuracy, unit="%", goal=100 * best,
        )  # fmt: skip
        yield Measurement(what=f"{of}: all points by exact lines", value=loop, unit="s")


def random_logits(seed: int) -> tuple[Tensor, Tensor]:
    """Views of different quality and scale that share half of the variance of their errors, and have favourites."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (CLOUDS,), generator=generator)
    shared = torch.randn(CLOUDS, CLASSES, generator=generator)
    quality = torch.linspace(1.3, 2.6, VIEWS)[torch.randperm(VIEWS, generator=generator)]
    views = []
    for strength in quality:
        own = torch.randn(CLOUDS, CLASSES, generator=generator)
        logits = (shared + own) / 2**0.5 + 0.5 * torch.randn(CLASSES, generator=generator)
        logits[torch.arange(CLOUDS), labels] += strength
        views.append(logits * (0.7 + 0.6 * torch.rand((), generator=generator)))
    return torch.stack(views, dim=1), labels


def exhaustive(logits: Tensor, labels: Tensor) -> Tensor:
    """The best of all points of the grid. Along the sixth weight its ten values follow from one exact line.

    At fixed slopes the bounds of a line are linear in the other five weights: one matrix product gives those of all
    images and classes.
    """
    lead = (logits.gather(2, labels.view(-1, 1, 1).expand(-1, VIEWS, 1)) - logits).permute(1, 2, 0).contiguous()
    lead[:, labels, torch.arange(len(labels))] = 1.0
    lead = lead[:, :, ~(lead >= 0).all(dim=0).all(dim=0) & ~(lead < 0).all(dim=0).any(dim=0)].contiguous()
    slope = lead[-1]
    crossing = (-lead[:-1] / slope).flatten(1)
    lower, upper = torch.where(slope > 0, 0.0, -torch.inf), torch.where(slope < 0, 0.0, torch.inf)
    values = torch.arange(1, STEPS + 1) / STEPS
    others = torch.cartesian_prod(*[values] * (VIEWS - 1))
    hits = torch.empty(len(others), STEPS, dtype=torch.int64)
    for i in range(0, len(others), LINES_AT_ONCE):
        bounds = (others[i : i + LINES_AT_ONCE] @ crossing).view(-1, *slope.shape)
        first, last = (bounds + lower).amax(dim=1), (bounds + upper).amin(dim=1)
        for j, value in enumerate(values.tolist()):
            hits[i : i + LINES_AT_ONCE, j] = ((first < value) & (value < last)).sum(dim=1)
    best = int(hits.argmax())
    return torch.cat([others[best // STEPS], values[best % STEPS, None]])


def published_point() -> float:
    """Seconds of one step of the loop in PointCLIP's ``trainers/search_weights.py``: features weighted, then logits."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(CLOUDS, VIEWS * CHANNELS, generator=generator)
    text = torch.randn(CLASSES, VIEWS * CHANNELS, generator=generator)
    labels = torch.randint(0, CLASSES, (CLOUDS,), generator=generator)
    started = time.perf_counter()
    for i in range(SAMPLED_POINTS):
        weights = torch.full((VIEWS,), 0.1 * (i + 1))
        weighted = (features.reshape(-1, VIEWS, CHANNELS) * weights.reshape(1, -1, 1)).reshape(CLOUDS, -1)
        predicted = (100 * weighted @ text.t()).topk(5, 1, True, True)[1].t()
        predicted.eq(labels.view(1, -1).expand_as(predicted))[:1].float().sum()
    return (time.perf_counter() - started) / SAMPLED_POINTS
