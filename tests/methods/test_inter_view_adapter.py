"""PointCLIP's adapter between the views of a cloud."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from calip_core.methods import TrainingOptions, make_method
from calip_core.tokens import ImageTokens

VIEWS, WIDTH, CLASSES = 3, 8, 4
SHORT = TrainingOptions(epochs=100, learning_rate=0.05, warmup_epochs=0)


def clouds(seed=0, n=24):
    """Only the mean over a cloud's views knows its class: single views are mostly noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(n) % CLASSES
    signal = torch.eye(WIDTH)[torch.from_numpy(labels) + 4].unsqueeze(1)
    pooled = normalize(signal + 0.4 * torch.randn(n, VIEWS, WIDTH, generator=generator), dim=2).flatten(0, 1)
    return ImageTokens(pooled, pooled.unsqueeze(1), (1, 1)), np.repeat(labels, VIEWS)


TEXT = torch.eye(WIDTH)[:CLASSES]  # orthogonal to the signal: zero-shot is at chance


def head(**options):
    return make_method("inter_view_adapter", cloud_views=VIEWS, training=SHORT, **options)


def test_logits_are_the_equation():
    tokens, labels = clouds()
    fitted = head(ratio=0.3, logit_scale=5.0).fit(tokens, labels, TEXT)
    w = {name: tensor.double() for name, tensor in fitted.state_dict().items()}
    for cloud in (0, 7):
        views = tokens.pooled[cloud * VIEWS : (cloud + 1) * VIEWS].double()
        whole = torch.relu(w["gather"] @ views.reshape(-1))
        for i, view in enumerate(views):
            told = torch.relu(w["spread"][i * WIDTH : (i + 1) * WIDTH] @ whole)
            mixed = 0.3 * told + 0.7 * view
            expected = 5.0 * w["text"] @ (mixed / mixed.norm())
            assert torch.allclose(fitted.logits(tokens)[cloud * VIEWS + i].double(), expected, atol=1e-5)


def test_it_learns_what_zero_shot_cannot_know_and_keeps_the_text():
    fitted = head().fit(*clouds(0), TEXT)
    tokens, labels = clouds(1)
    right = fitted.logits(tokens).view(-1, VIEWS, CLASSES).mean(dim=1).argmax(dim=1).numpy() == labels[::VIEWS]
    assert right.mean() > 0.8
    assert torch.equal(fitted.state_dict()["text"], TEXT)


def test_a_seed_gives_the_same_head_and_without_adapter_it_is_zero_shot():
    tokens, labels = clouds()
    first, second = (head(seed=3).fit(tokens, labels, TEXT).logits(tokens) for _ in range(2))
    assert torch.equal(first, second)
    plain = head(ratio=0.0).fit(tokens, labels, TEXT).logits(tokens)
    assert torch.allclose(plain, 100 * tokens.pooled @ TEXT.T, atol=1e-4)


def test_bad_input_is_named():
    tokens, labels = clouds()
    with pytest.raises(ValueError, match="there are 70 views, expected a multiple of 3"):
        head().fit(tokens[:70], labels[:70], TEXT)
    with pytest.raises(ValueError, match=r"the 3 views of cloud 0 have labels .3, 0, 0., expected one label"):
        head().fit(tokens, np.roll(labels, 1), TEXT)
