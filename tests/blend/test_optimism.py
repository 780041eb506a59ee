"""The optimism of a search: what the images that choose gain, and what the others gain."""

import numpy as np
import pytest
import torch

from calip_core.blend.landscape import beta_landscape
from calip_core.blend.optimism import optimism
from calip_core.blend.selection import Grid
from calip_core.metrics import correct_predictions
from calip_core.tokens import CalipLogits

GRID = Grid(np.linspace(0, 4, 9), np.linspace(0, 4, 9))


def noise(n=120, k=5):
    """Terms and labels of independent noise: whatever a search finds is luck."""
    generator = torch.Generator().manual_seed(0)
    terms = (torch.randn(n, k, generator=generator) for _ in range(3))
    return CalipLogits(*terms), torch.randint(k, (n,), generator=generator).numpy()


def test_the_first_draw_by_hand():
    logits, labels = noise()
    found = optimism(logits, labels, seed=3, sizes=[40], draws=2, grid=GRID)
    order = np.random.default_rng(3).permutation(len(labels))
    own, others = order[:40], order[40:]
    best = beta_landscape(logits[own.tolist()], labels[own], beta2=GRID.beta2, beta3=GRID.beta3).best()
    hits = correct_predictions(logits.combine(beta2=best.beta2, beta3=best.beta3), labels)
    clip = correct_predictions(logits.clip, labels)
    assert found.own[0, 0] == pytest.approx(hits[own].mean() - clip[own].mean())
    assert found.others[0, 0] == pytest.approx(hits[others].mean() - clip[others].mean())


def test_noise_gains_on_the_images_that_choose_and_less_with_more_of_them():
    found = optimism(*noise(), seed=0, sizes=[10, 60], draws=20, grid=GRID)
    own, others = found.own.mean(axis=1), found.others.mean(axis=1)
    assert (own > others).all() and own[0] > own[1] > 0
    assert (found.own >= 0).all()  # CLIP itself is on the grid


@pytest.mark.parametrize(("n", "sizes"), [(120, (50,)), (400, (50, 100, 200)), (60, (30,))])
def test_sizes_end_at_half_of_the_images(n, sizes):
    assert optimism(*noise(n), seed=0, draws=1, grid=GRID).sizes == sizes


@pytest.mark.parametrize("wrong", [{"sizes": [120]}, {"sizes": [0]}, {"draws": 0}])
def test_an_impossible_draw_is_refused(wrong):
    with pytest.raises(ValueError, match="images on both sides"):
        optimism(*noise(), seed=0, grid=GRID, **wrong)
