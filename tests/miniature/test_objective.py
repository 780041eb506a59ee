import math

import numpy as np
import pytest
import torch

from calip_core.miniature.objective import choice_loss, contrastive_loss


def by_loops(images, texts, scale, true):
    """The definition, in float64 and one term at a time."""
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    n, total = len(images), 0.0
    for rows, columns, fits in ((images, texts, true), (texts, images, true.T)):
        for i in range(n):
            logits = [scale * rows[i] @ columns[j] for j in range(n)]
            normaliser = math.log(sum(math.exp(logit) for logit in logits))
            positives = [j for j in range(n) if fits[i, j]]
            total -= sum(logits[j] - normaliser for j in positives) / len(positives) / n / 2
    return total


def test_it_agrees_with_loops_over_the_definition():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 7, 5))
    true = np.eye(7, dtype=bool) | (rng.random((7, 7)) < 0.3)
    found = contrastive_loss(*map(torch.from_numpy, (images, texts)), torch.tensor(3.0), torch.from_numpy(true))
    assert found.item() == pytest.approx(by_loops(images, texts, 3.0, true), rel=1e-6)


def test_with_one_caption_a_picture_it_is_clips_loss():
    rng = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 4, generator=rng), dim=1) for _ in range(2))
    logits, labels = 10 * images @ texts.T, torch.arange(6)
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(logits, labels) + entropy(logits.T, labels)) / 2
    found = contrastive_loss(images, texts, torch.tensor(10.0), torch.eye(6, dtype=torch.bool))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_length_of_the_features_does_not_matter():
    images, texts = torch.eye(3), torch.eye(3)
    true = torch.eye(3, dtype=torch.bool)
    scale = torch.tensor(5.0)
    assert torch.isclose(
        contrastive_loss(7 * images, 0.2 * texts, scale, true), contrastive_loss(images, texts, scale, true)
    )


def test_a_second_true_caption_is_no_mistake():
    """Two pictures that both fit both captions: the best loss is log 2, reached when nothing tells them apart."""
    same = torch.ones(2, 3)
    found = contrastive_loss(same, same, torch.tensor(50.0), torch.ones(2, 2, dtype=torch.bool))
    assert found.item() == pytest.approx(math.log(2), rel=1e-5)


def test_choice_by_hand():
    """Cosines 1 and 0 at scale 2: the right one has probability e^2 / (e^2 + 1)."""
    expected = math.log(1 + math.exp(-2))
    found = choice_loss(torch.tensor([[3.0, 0.0]]), torch.eye(2), torch.tensor(2.0), torch.tensor([0]))
    assert found.item() == pytest.approx(expected, rel=1e-5)
