import math

import numpy as np
import pytest
import torch

from calip_core.methods import TipAdapterF, TrainingOptions
from calip_core.metrics import accuracy
from tests.methods.few_shots import LABELS, informative, random_support

STILL = TrainingOptions(learning_rate=1e-30, epochs=1, warmup_epochs=0)
SHORT = TrainingOptions.tip_adapter_f(epochs=3)


def reference(pooled, text, keys, labels, alpha, beta, scale):
    """One image, one key after the other in float64, from the equation."""
    result = scale * pooled.double().numpy() @ text.double().numpy().T
    for row, x in zip(result, pooled.double().numpy(), strict=True):
        for key, label in zip(keys.double().numpy(), labels, strict=True):
            row[label] += alpha * math.exp(-beta * (1 - float(x @ key)))
    return result


@pytest.mark.parametrize("training", [STILL, SHORT])
def test_logits_follow_the_equation(training):
    tokens, text = random_support()
    head = TipAdapterF(alpha=2.0, beta=3.0, training=training, logit_scale=7.0).fit(tokens, LABELS, text)
    keys = tokens.pooled if training is STILL else head.state()["keys"]
    others = random_support(seed=5)[0]
    expected = reference(others.pooled, text, keys, LABELS, 2.0, 3.0, 7.0)
    np.testing.assert_allclose(head.logits(others).numpy(), expected, rtol=1e-12)


def test_keys_learn_and_nothing_else_does():
    tokens, text = random_support()
    before = tokens.pooled.clone()
    state = TipAdapterF(training=SHORT).fit(tokens, LABELS, text).state()
    assert not torch.equal(state["keys"], before)
    assert torch.equal(tokens.pooled, before) and torch.equal(state["text"], text)
    assert state["blend"].tolist() == [1.17, 1.0]


def test_validation_chooses_a_pair_no_grid_point_beats():
    task = informative(shots=2)
    options = {"training": SHORT, "logit_scale": 5.0, "alpha_max": 4.0, "beta_max": 3.0, "beta_steps": 4}
    chosen = TipAdapterF(**options).fit(task.support, task.labels, task.text, task.val)
    keys, best = chosen.state()["keys"], 0.0
    for beta in np.linspace(0.1, 3.0, 4):
        for alpha in np.linspace(0, 4, 81):
            logits = reference(task.val[0].pooled, task.text, keys, task.labels, alpha, beta, 5.0)
            best = max(best, accuracy(torch.from_numpy(logits), task.val[1]))
    assert accuracy(chosen.logits(task.val[0]), task.val[1]) >= best


def test_a_given_weight_is_not_searched():
    task = informative(shots=2)
    fit = {"tokens": task.support, "labels": task.labels, "text": task.text, "val": task.val}
    assert TipAdapterF(beta=2.5, training=SHORT).fit(**fit).state()["blend"][1] == 2.5
    assert TipAdapterF(alpha=0.5, training=SHORT).fit(**fit).state()["blend"][0] == 0.5
