"""Small few-shot tasks on which trained heads are tried."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.tokens import ImageTokens
from tests.test_attention import random_features

LABELS = np.array([0, 1, 2, 3, 4, 0, 1])
"""Of ``random_support``: every one of five classes, two of them twice."""


def random_support(seed=0, dtype=torch.float64):
    """Seven images of five classes with features that mean nothing, and text features: "7 8", "5 8"."""
    return random_features(n=len(LABELS), k=5, seed=seed, dtype=dtype)


@dataclass(frozen=True)
class Informative:
    """Images around prototypes that the text knows only roughly: a few labels help."""

    support: ImageTokens
    labels: np.ndarray
    val: tuple[ImageTokens, np.ndarray]
    test: ImageTokens
    test_labels: np.ndarray
    text: Tensor


def informative(shots=16, classes=6, width=24, seed=0):
    """Text vectors point some 60 degrees away from their class; two of an image's four tokens show it."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = normalize(torch.randn(classes, width, generator=generator), dim=-1)
    text = normalize(prototypes + 1.7 * normalize(torch.randn(classes, width, generator=generator), dim=-1), dim=-1)

    def draw(per_class):
        labels = torch.arange(classes).repeat_interleave(per_class)
        noise = torch.randn(len(labels), 5, width, generator=generator) * 0.9 * width**-0.5
        seen = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])[:, None] * prototypes[labels][:, None]
        rows = normalize(seen + noise, dim=-1)
        return ImageTokens(rows[:, 0], rows[:, 1:], (2, 2)), labels.numpy()

    support, val, test = draw(shots), draw(4), draw(50)
    return Informative(*support, val, *test, text)
