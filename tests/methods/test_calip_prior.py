"""Removing the class prior of CALIP's visual-attended term, in both forms."""

import numpy as np
import pytest
import torch

from calip_core.attention import CalipConfig, calip_logits, visual_prior
from calip_core.blend import selection
from calip_core.methods import METHODS, load_method, make_method, save_method
from tests.test_attention import VARIANTS, random_features, reference_logits

NAMES = ("cat", "dog", "oak", "elm", "fox")


class Stream:
    """Tokens that come two at a time."""

    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def batches(self):
        return self.tokens.batches(2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_constant_is_what_loops_find_at_an_endless_temperature(variant):
    tokens, text = random_features()
    _, (alpha_t, _, pooling, unit) = VARIANTS[variant]
    expected = reference_logits(tokens, text, (alpha_t, 1e12, pooling, unit), 7.0)["visual_attended"]
    found = visual_prior(text, CalipConfig(alpha_t, 0.5, pooling, unit), 7.0, places=6)
    np.testing.assert_allclose(np.broadcast_to(found.numpy(), expected.shape), expected, rtol=1e-9)


def test_it_counts_the_mean_class_vector_as_often_as_the_pooling_does():
    _, text = random_features()
    towards_mean = 7.0 * text @ text.mean(dim=0)
    for pooling, times in {"mean": 1, "max": 1, "mean+max": 2}.items():
        torch.testing.assert_close(visual_prior(text, CalipConfig(1, 1, pooling), 7.0), times * towards_mean)


def test_a_pooling_function_gets_as_many_tokens_as_images_have():
    tokens, text = random_features()
    config = CalipConfig(1.0, 1.0, pooling=lambda rows: rows.sum(dim=1))
    head = make_method("calip", config=config, prior="constant", logit_scale=7.0).fit(None, None, text)
    removed = calip_logits(tokens, text, config, 7.0).visual_attended - head.terms(tokens).visual_attended
    torch.testing.assert_close(removed, (6 * 7.0 * text @ text.mean(dim=0)).expand_as(removed))


@pytest.mark.parametrize("prior", ["constant", "mean"])
def test_nothing_else_changes(prior):
    tokens, text = random_features(n=6)
    support = Stream(tokens) if prior == "mean" else None
    head = make_method("calip", prior=prior, beta2=0.3, beta3=0.4, logit_scale=7.0).fit(support, None, text)
    released = calip_logits(tokens, text, CalipConfig.official(), 7.0)
    visual = released.visual_attended
    removed = visual_prior(text, None, 7.0) if prior == "constant" else visual.mean(dim=0)
    terms = head.terms(tokens)
    assert torch.equal(terms.clip, released.clip) and torch.equal(terms.text_attended, released.text_attended)
    torch.testing.assert_close(terms.visual_attended, visual - removed)
    torch.testing.assert_close(head.logits(tokens), terms.combine(beta2=0.3, beta3=0.4))


def test_the_error_of_the_constant_falls_with_the_temperature():
    tokens, text = random_features(n=6)
    left = []
    for alpha in (10.0, 100.0, 1e6):
        head = make_method("calip", prior="constant", logit_scale=1.0, config=CalipConfig(1.0, alpha))
        left.append(float(head.fit(None, None, text).terms(tokens).visual_attended.abs().max()))
    assert left[1] / left[0] == pytest.approx(0.1, rel=0.1) and left[2] < 1e-6


def test_what_it_sees_depends_on_the_option():
    assert METHODS["calip"].sees == "nothing"
    seen = {prior: make_method("calip", prior=prior).sees for prior in ("keep", "constant", "mean")}
    assert seen == {"keep": "nothing", "constant": "nothing", "mean": "unlabelled"}
    assert make_method("calip").options.prior == "keep"


def test_the_blend_is_chosen_on_terms_without_the_prior():
    tokens, text = random_features(n=30, k=3)
    labels = np.arange(30) % 3
    head = make_method("calip", beta2=None, beta3=None, prior="mean").fit(tokens[:10], None, text, (tokens, labels))
    terms = calip_logits(tokens, text)
    terms.visual_attended.sub_(calip_logits(tokens[:10], text).visual_attended.mean(dim=0))
    assert head.selection == selection.validation(terms, labels)


def test_the_mean_is_part_of_the_state(tmp_path):
    tokens, text = random_features(n=6, dtype=torch.float32)
    head = make_method("calip", prior="mean").fit(tokens, None, text)
    assert head.shapes() == {"text": "k c", "beta2": "", "beta3": "", "prior": "k"} and head.parameter_count() == 7
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES).head
    assert torch.equal(back.logits(tokens), head.logits(tokens)) and back.sees == "unlabelled"


@pytest.mark.parametrize(
    ("options", "support", "labels", "message"),
    [
        ({"prior": "none"}, False, None, "prior is 'none', expected one of keep, constant, mean"),
        ({"prior": "constant"}, True, None, "calip sees no support set and was given one of 3 images"),
        ({"prior": "mean"}, False, None, "calip takes a mean over images without labels: give their tokens"),
        ({"prior": "mean"}, True, np.zeros(3, int), "calip sees no labels here and was given 3"),
    ],
)
def test_what_does_not_fit_the_option_is_refused(options, support, labels, message):
    tokens, text = random_features()
    with pytest.raises(ValueError, match=message):
        make_method("calip", **options).fit(tokens if support else None, labels, text)
