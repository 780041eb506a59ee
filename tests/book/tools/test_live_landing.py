"""What the landing page says about CALIP, for every outcome of a measurement."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from book.tools.live_data.landing import GROUPS, choice_said, chosen, leads, said
from calip_core.analysis.window import Sample
from calip_core.tokens import ImageTokens

ROW: dict[str, Any] = {
    "tokens": "value", "images": 2000, "clip": 0.9, "calip": 0.92, "gain": 0.02, "gain_low": 0.01, "gain_high": 0.03,
    "only_calip": 50, "only_clip": 10, "p": 0.00001, "beta2": 1.0, "beta3": 0.1,
}  # fmt: skip


def test_a_clear_gain_is_told_in_full() -> None:
    assert said(ROW) == (
        "CLIP is right on 90.0 % of 2,000 test images, CALIP on 92.0 %: +2.0 points, 95 % interval [1.0, 3.0]. It "
        "rescues 50 images and spoils 10 (McNemar’s p < 0.0001): CALIP helps."
    )


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"p": 0.3}, "(McNemar’s p = 0.3): no clear difference."),
        ({"p": 0.01, "gain": -0.02}, "(McNemar’s p = 0.01): CALIP hurts."),
        ({"tokens": "joint"}, "CALIP helps, but by a leak: these tokens are near copies of the good pooled vector, and "
         "carry it back in."),
        ({"tokens": "joint", "p": 0.3}, "no clear difference."),
        ({"beta2": 0.0, "beta3": 0.0}, "which is CLIP itself: CALIP has nothing to add here."),
        ({"beta2": 0.0}, "CALIP helps."),
    ],
)  # fmt: skip
def test_every_verdict(change: dict[str, Any], end: str) -> None:
    assert said(ROW | change).endswith(end)


def test_how_the_scenes_were_chosen_is_told_with_the_weights() -> None:
    told = choice_said(ROW | {"beta2": 4.375, "beta3": 0.05})
    assert told.startswith("Scenes with clear answers, chosen at λ = 0.6 with value tokens, β₂ = 4.375, β₃ = 0.05: ")


def test_a_lead_is_that_over_the_best_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5]])
    np.testing.assert_allclose(leads(logits, np.array([0, 1])), [0.5, -2.0])


def test_no_two_chosen_scenes_are_of_one_class() -> None:
    generator = torch.Generator().manual_seed(0)
    text = normalize(torch.randn(12, 8, generator=generator), dim=-1)
    labels = torch.randint(12, (2000,), generator=generator).numpy()
    pooled = normalize(text[labels] + 0.4 * torch.randn(2000, 8, generator=generator), dim=-1)
    spatial = normalize(text[labels].unsqueeze(1) + 0.8 * torch.randn(2000, 4, 8, generator=generator), dim=-1)
    tokens = ImageTokens(pooled, spatial, (2, 2))
    picked = chosen(Sample(text, tokens, labels, tokens, labels), {"beta2": 1.0, "beta3": 0.1})
    assert len({labels[image] for image in picked}) == len(picked) == sum(GROUPS.values())
