"""A task where images say more than text: class directions, images around them, text vectors a little off."""

import numpy as np
import torch
from torch.nn.functional import normalize

from calip_core.tokens import ImageTokens

CLASSES = 6


def as_tokens(pooled):
    return ImageTokens(pooled, pooled.unsqueeze(1), (1, 1))


def synthetic_task(shots=8, seed=0, width=24, text_noise=2.0, image_noise=0.7, val_each=20, test_each=60):
    """Support, validation and test sets of equally many images a class, and the text features; float32."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(CLASSES, width))
    # Images spread along some directions more than along others, as a covariance can learn.
    spread = image_noise * np.geomspace(2.0, 0.2, width)[rng.permutation(width)]
    centres = rng.normal(size=(CLASSES, width))

    def images(each):
        labels = np.repeat(np.arange(CLASSES), each)
        return as_tokens(unit(centres[labels] + 2 * spread * rng.normal(size=(len(labels), width)))), labels

    return images(shots), images(val_each), images(test_each), unit(centres + text_noise * noise)


def unit(rows):
    return normalize(torch.from_numpy(np.asarray(rows, dtype=np.float64)), dim=1).float()
