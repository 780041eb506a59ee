"""Tip-Adapter's weight and sharpness: the exact search against the published loop over 200 x 20 points."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from calip_core.analysis.speed_records import Measurement
from calip_core.blend.tip_adapter import tip_search
from calip_core.methods.tip_adapter import BETA_STEPS, searched_betas
from calip_core.published import published_tip

IMAGES, CLASSES, SHOTS, WIDTH = 1000, 100, 16, 1024
ALPHA_STEPS = 20
SAMPLED_POINTS = 40
MODALITY_GAP, TEXT_NOISE, IMAGE_NOISE = 0.8, 1.5, 4.0  # such that zero-shot and the cache both err, on other images


def run() -> Iterator[Measurement]:
    """Seconds and accuracy on the searched labels, with the ends of the search of the published configurations."""
    for dataset in ("imagenet", "eurosat"):
        limits = published_tip(dataset)
        features, labels, keys, key_labels, text = random_features()
        betas = searched_betas(limits.beta_max)
        started = time.perf_counter()
        clip, affinity = 100 * features @ text.T, features @ keys.T
        choice = tip_search(clip, affinity, key_labels, labels, betas=betas, alpha_max=limits.alpha_max)
        ours = time.perf_counter() - started
        values = one_hot(key_labels, CLASSES).float()
        alphas = [0.1 + i * (limits.alpha_max - 0.1) / ALPHA_STEPS for i in range(ALPHA_STEPS)]
        point = published_point(features, labels, keys, values, text, betas.tolist(), alphas)
        loop = point * BETA_STEPS * ALPHA_STEPS
        votes = ((-beta * (1 - affinity)).exp() @ values for beta in betas.tolist())
        grid = max(hits(clip + alpha * vote, labels) for vote in votes for alpha in alphas) / IMAGES
        size = f"limits of {dataset}, {IMAGES:,} images x {CLASSES} classes x {SHOTS} shots"
        yield Measurement(what=f"{size}: exact search", value=ours, unit="s")
        yield Measurement(
            what=f"{size}: speed against the published loop ({BETA_STEPS * ALPHA_STEPS:,} points, "
            f"{1000 * point:.1f} ms each)", value=loop / ours, unit="times", goal=100,
        )  # fmt: skip
        zero_shot = 100 * hits(clip, labels) / IMAGES
        yield Measurement(what=f"{size}: zero-shot accuracy on the searched labels", value=zero_shot, unit="%")
        yield Measurement(
            what=f"{size}: accuracy found, with the published grid's as the goal", value=100 * choice.accuracy,
            unit="%", goal=100 * grid,
        )  # fmt: skip


def random_features() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Classes around random directions, all images shifted as CLIP's are, and text vectors near the classes'."""
    generator = torch.Generator().manual_seed(0)

    def noise(rows: int) -> Tensor:
        return torch.randn(rows, WIDTH, generator=generator) / WIDTH**0.5

    centres, shift = noise(CLASSES), MODALITY_GAP * noise(1)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    key_labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    features, keys = (
        normalize(centres[y] + IMAGE_NOISE * noise(len(y)) + 4 * shift, dim=1) for y in (labels, key_labels)
    )
    return features, labels, keys, key_labels, normalize(centres + TEXT_NOISE * noise(CLASSES), dim=1)


def hits(logits: Tensor, labels: Tensor) -> float:
    """Right answers by topk, as the published ``cls_acc`` counts them."""
    predicted = logits.topk(1, 1, True, True)[1].t()
    return float(predicted.eq(labels.view(1, -1)).float().sum())


def published_point(
    features: Tensor, labels: Tensor, keys: Tensor, values: Tensor, text: Tensor,
    betas: list[float], alphas: list[float],
) -> float:  # fmt: skip
    """Seconds of one step of ``search_hp`` in the published ``utils.py``: both products are made anew at each point."""
    stored, classifier = keys.t().contiguous(), text.t().contiguous()
    started = time.perf_counter()
    for i in range(SAMPLED_POINTS):
        beta, alpha = betas[i * len(betas) // SAMPLED_POINTS], alphas[i % len(alphas)]
        votes = (-1 * (beta - beta * (features @ stored))).exp() @ values
        hits(100.0 * features @ classifier + votes * alpha, labels)
    return (time.perf_counter() - started) / SAMPLED_POINTS
