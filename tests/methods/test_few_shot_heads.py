"""What all heads that learn from a support set have in common."""

import numpy as np
import pytest
import torch

from calip_core.methods import Method, make_method
from calip_core.metrics import accuracy
from tests.methods.synthetic import CLASSES, as_tokens, synthetic_task

HEADS = ("linear_probe", "tip_adapter", "gda", "clap")
SCALE = 30.0


def made(name, **options):
    return make_method(name, **({} if name == "linear_probe" else {"logit_scale": SCALE}), **options)


@pytest.mark.parametrize("name", HEADS)
def test_each_answers_to_the_interface(name):
    assert isinstance(make_method(name), Method)


@pytest.mark.parametrize("with_val", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_each_beats_zero_shot_where_images_know_more(name, with_val):
    gains = []
    for seed in range(3):
        support, val, (test, labels), text = synthetic_task(shots=16, seed=seed)
        logits = made(name).fit(*support, text, val=val if with_val else None).logits(test)
        zero_shot = accuracy(test.pooled @ text.T, labels)
        assert accuracy(logits, labels) > 2 / CLASSES
        gains.append(accuracy(logits, labels) - zero_shot)
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("name", HEADS)
def test_the_same_fit_gives_the_same_bytes(name):
    support, val, (test, _), text = synthetic_task()
    logits = [made(name).fit(*support, text, val=val).logits(test) for _ in range(2)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", HEADS)
def test_half_precision_is_classified_in_single(name):
    support, val, (test, labels), text = synthetic_task()
    half = [(tokens.to(torch.float16), y) for tokens, y in (support, val)]
    logits = made(name).fit(*half[0], text.half(), val=half[1]).logits(test.to(torch.float16))
    assert logits.dtype == torch.float32
    whole = made(name).fit(*support, text, val=val).logits(test)
    assert abs(accuracy(logits, labels) - accuracy(whole, labels)) < 0.05


@pytest.mark.parametrize("name", HEADS)
def test_bad_support_and_validation_sets_are_named(name):
    (tokens, labels), _, _, text = synthetic_task(shots=2)
    head = make_method(name)
    with pytest.raises(ValueError, match=f"{name} learns from a support set"):
        head.fit(None, None, text)
    with pytest.raises(ValueError, match=f"{name}: 1 of 6 classes have no image .* the first is class 5"):
        head.fit(tokens[:10], labels[:10], text)
    with pytest.raises(ValueError, match=f"{name}: image features are 23 wide and text features 24"):
        head.fit(as_tokens(tokens.pooled[:, :-1]), labels, text)
    fitted = head.fit(tokens, labels, text)
    with pytest.raises(ValueError, match=r"image features are 23 wide and text features 24"):
        fitted.logits(as_tokens(tokens.pooled[:, :-1]))


@pytest.mark.parametrize("name", ["linear_probe", "tip_adapter", "gda"])
def test_an_unusable_validation_set_is_named(name):
    (tokens, labels), _, _, text = synthetic_task(shots=2)
    with pytest.raises(ValueError, match=f"{name}: the validation set has no images"):
        make_method(name).fit(tokens, labels, text, val=(tokens[:0], labels[:0]))
    with pytest.raises(ValueError, match="labels run from 0 to 6, expected 0 to 5"):
        make_method(name).fit(tokens, labels, text, val=(tokens[:2], np.array([0, 6])))


@pytest.mark.parametrize("name", ["linear_probe", "tip_adapter", "gda"])
def test_a_choice_says_where_it_comes_from(name):
    support, val, _, text = synthetic_task(shots=2)
    assert made(name).chosen_by == "not fitted yet"
    assert "as there is no validation set" in made(name).fit(*support, text).chosen_by
    assert "search on 120 validation images" in made(name).fit(*support, text, val=val).chosen_by


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("linear_probe", {"C": 0.0}, "C is 0.0, expected a finite number above 0"),
        ("linear_probe", {"C": float("inf")}, "C is inf"),
        ("tip_adapter", {"alpha": -1.0, "beta": 1.0}, "alpha is -1.0, expected a finite number, 0 or more"),
        ("tip_adapter", {"alpha": 1.0, "beta": float("nan")}, "beta is nan"),
        ("tip_adapter", {"alpha": 1.0}, "alpha is 1.0 and beta None, expected both"),
        ("tip_adapter", {"alpha_max": 0.0}, "alpha_max is 0.0"),
        ("tip_adapter", {"views": 0}, "views is 0, expected at least 1"),
        ("gda", {"alpha": -0.1}, "alpha is -0.1"),
        ("gda", {"logit_scale": 0.0}, "logit_scale is 0.0"),
        ("clap", {"strength": -1.0}, "strength is -1.0"),
        ("clap", {"iterations": 0}, "iterations is 0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, said):
    with pytest.raises(ValueError, match=f"{name}: .*{said}"):
        make_method(name, **options)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_asked_before_a_fit_is_refused(name):
    head = make_method(name)
    with pytest.raises(RuntimeError, match="call fit"):
        head.prices if name == "clap" else head.chosen  # noqa: B018
    with pytest.raises(RuntimeError, match="call fit"):
        head.state()
