"""The two expansions agree with loops, and their error is of second order."""

import numpy as np
import pytest
import torch

from calip_core.analysis.expansions import effective_share, text_covariance, text_first_order, visual_first_order
from calip_core.attention import CalipConfig, calip_logits
from tests.test_attention import random_features


def exact(tokens, text, alpha):
    logits = calip_logits(tokens, text, CalipConfig(alpha, alpha, pooling="mean"), logit_scale=1.0)
    return logits.text_attended, logits.visual_attended


def test_the_covariance_is_what_a_loop_finds():
    tokens, text = random_features()
    found = text_covariance(tokens, text)
    for i, k in np.ndindex(3, 5):
        q = [float(token @ tokens.pooled[i]) for token in tokens.spatial[i]]
        a = [float(token @ text[k]) for token in tokens.spatial[i]]
        assert float(found[i, k]) == pytest.approx(np.mean(np.array(q) * a) - np.mean(q) * np.mean(a))


def test_the_smeared_answer_is_what_a_loop_finds():
    tokens, text = random_features()
    found = visual_first_order(tokens, text, alpha=0.7)
    for i, k in np.ndindex(3, 5):
        expected = sum(float(row @ text[k]) for row in text) / 5
        for token in tokens.spatial[i]:
            a = [float(token @ row) for row in text]
            expected += sum((a[j] - np.mean(a)) * float(text[j] @ text[k]) for j in range(5)) / (5 * 6 * 0.7)
        assert float(found[i, k]) == pytest.approx(expected)


@pytest.mark.parametrize(("term", "first_order"), [(0, text_first_order), (1, visual_first_order)])
def test_the_error_is_of_second_order(term, first_order):
    tokens, text = random_features(n=20)
    errors = [
        float((exact(tokens, text, alpha)[term] - first_order(tokens, text, alpha)).norm()) for alpha in (5.0, 50.0)
    ]
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.2)


def test_the_effective_share_counts_equal_choices():
    two_of_four = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert effective_share(two_of_four[:1], 1) == pytest.approx(0.5)
    assert effective_share(two_of_four, 1) == pytest.approx(0.75)
    assert effective_share(two_of_four.T, 0) == pytest.approx(0.75)
