import dataclasses
import math

import numpy as np
import pytest
import torch

from calip_core.methods import TipAdapter, TipAdapterF, TrainingOptions
from calip_core.methods.tip_adapter import searched_betas
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens
from tests.methods.few_shots import LABELS, informative, random_support

STILL = TrainingOptions(learning_rate=1e-30, epochs=1, warmup_epochs=0)
SHORT = TrainingOptions.tip_adapter_f(epochs=3)
GENERATOR = torch.Generator().manual_seed(0)


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
    keys = tokens.pooled if training is STILL else head.state_dict()["keys"]
    others = random_support(seed=5)[0]
    expected = reference(others.pooled, text, keys, LABELS, 2.0, 3.0, 7.0)
    np.testing.assert_allclose(head.logits(others).numpy(), expected, rtol=1e-12)


def test_keys_learn_and_nothing_else_does():
    tokens, text = random_support()
    before = tokens.pooled.clone()
    state = TipAdapterF(training=SHORT).fit(tokens, LABELS, text).state_dict()
    assert not torch.equal(state["keys"], before)
    assert torch.equal(tokens.pooled, before) and torch.equal(state["text"], text)
    assert [state["alpha"], state["beta"]] == [1.17, 1.0]


def test_validation_chooses_a_pair_no_grid_point_beats():
    task = informative(shots=2)
    options = {"training": SHORT, "logit_scale": 5.0, "alpha_max": 4.0, "beta_max": 3.0, "beta_steps": 4}
    chosen = TipAdapterF(**options).fit(task.support, task.labels, task.text, task.val)
    keys, best = chosen.state_dict()["keys"], 0.0
    for beta in searched_betas(3.0, 4):
        for alpha in np.linspace(0, 4, 81):
            logits = reference(task.val[0].pooled, task.text, keys, task.labels, alpha, beta, 5.0)
            best = max(best, accuracy(torch.from_numpy(logits), task.val[1]))
    assert accuracy(chosen.logits(task.val[0]), task.val[1]) >= best


def test_given_weights_are_not_searched():
    task = informative(shots=2)
    head = TipAdapterF(alpha=0.5, beta=2.5, training=SHORT).fit(task.support, task.labels, task.text, task.val)
    assert head.chosen == {"alpha": 0.5, "beta": 2.5}
    assert head.chosen_by == "given: alpha = 0.5, beta = 2.5"


def test_weights_are_in_proportion_to_the_logit_scale_as_those_of_tip_adapter():
    task = informative(shots=2)
    fit = task.support, task.labels, task.text
    still, scale = TrainingOptions(learning_rate=1e-30, epochs=1), 14.0
    frozen = TipAdapter(logit_scale=scale).fit(*fit)
    head = TipAdapterF(logit_scale=scale, training=still).fit(*fit)
    assert head.chosen == frozen.chosen
    searched = TipAdapterF(logit_scale=scale, training=still).fit(*fit, task.val)
    chosen = TipAdapter(logit_scale=scale).fit(*fit, task.val).chosen
    assert searched.chosen == pytest.approx(chosen, rel=1e-4)
    assert searched.chosen_by.startswith("exact search on 24 validation images")


def test_views_make_one_key_an_image_and_a_row_each():
    task = informative(shots=2)
    views = ImageTokens.cat([task.support[[i]] for i in range(12) for _ in range(2)])
    noisy = torch.nn.functional.normalize(views.pooled + 0.3 * torch.randn(24, 24, generator=GENERATOR), dim=1)
    views, labels = ImageTokens(noisy, views.spatial, views.grid), np.repeat(task.labels, 2)
    head = TipAdapterF(views=2, training=STILL).fit(views, labels, task.text)
    mean = torch.nn.functional.normalize(noisy.view(12, 2, 24).mean(dim=1), dim=1)
    torch.testing.assert_close(head.state_dict()["keys"], mean)
    assert head.state_dict()["classes"].tolist() == task.labels.tolist()
    trained = TipAdapterF(views=2, training=dataclasses.replace(SHORT, batch_size=8)).fit(views, labels, task.text)
    assert trained.report.steps == 3 * 3
    with pytest.raises(ValueError, match=r"the 2 views of support image 0 have labels .5, 0."):
        TipAdapterF(views=2, training=STILL).fit(views, np.roll(labels, 1), task.text)
