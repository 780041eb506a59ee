"""CALIP and zero-shot CLIP as heads."""

import numpy as np
import pytest
import torch

from calip_core.attention import CalipConfig, calip_logits
from calip_core.blend import selection
from calip_core.blend.selection import Grid
from calip_core.methods import CONFIGS, make_method
from tests.test_attention import random_features


def test_zero_shot_by_hand():
    tokens, text = random_features()
    logits = make_method("zero_shot", logit_scale=3.0).fit(None, None, text).logits(tokens)
    assert logits[1, 2].item() == pytest.approx(3 * float(tokens.pooled[1] @ text[2]))


@pytest.mark.parametrize("config", ["paper", CalipConfig.paper(), {"alpha_t": 2.0, "alpha_s": 2.0}])
def test_calip_is_the_blend_of_its_terms(config):
    tokens, text = random_features()
    head = make_method("calip", beta1=2.0, beta2=0.3, beta3=0.4, config=config).fit(None, None, text)
    terms = calip_logits(tokens, text, CalipConfig.paper())
    torch.testing.assert_close(head.logits(tokens), terms.combine(2.0, beta2=0.3, beta3=0.4))
    assert torch.equal(head.terms(tokens).visual_attended, terms.visual_attended)
    assert head.chosen == {"beta1": 2.0, "beta2": 0.3, "beta3": 0.4}


def test_calip_without_its_terms_is_zero_shot():
    tokens, text = random_features()
    blended = make_method("calip", beta2=0.0, beta3=0.0).fit(None, None, text).logits(tokens)
    torch.testing.assert_close(blended, make_method("zero_shot").fit(None, None, text).logits(tokens))


def test_half_tokens_meet_single_text_in_single_precision():
    tokens, text = random_features(dtype=torch.float32)
    half = tokens.to(torch.float16)
    head = make_method("calip").fit(None, None, text)
    assert torch.equal(head.logits(half), head.logits(half.to(torch.float32)))


def test_every_named_reading_is_another():
    assert len({(c.alpha_t, c.alpha_s, c.pooling, c.normalize) for c in CONFIGS.values()}) == len(CONFIGS)
    assert CalipConfig.dassl() == CONFIGS["paper"] and CalipConfig.ttabc() == CONFIGS["official"]


def test_a_function_cannot_be_written_down():
    head = make_method("calip", config=CalipConfig(1.0, 1.0, pooling=lambda rows: rows.mean(dim=1)))
    with pytest.raises(ValueError, match=r"options.config.pooling is <function .*cannot be written down"):
        head.options_dict()


def test_validation_chooses_on_the_grid_that_is_set():
    tokens, text = random_features(n=30, k=3)
    labels, grid = np.arange(30) % 3, Grid(np.linspace(0, 1, 5), np.linspace(0, 1, 3))
    head = make_method("calip", beta2=None, beta3=None)
    for head.grid in (None, grid):
        head.fit(None, None, text, (tokens, labels))
        expected = selection.validation(calip_logits(tokens, text), labels, head.grid)
        assert head.selection == expected
        assert head.chosen == {"beta1": 1, "beta2": expected.beta2, "beta3": expected.beta3}
    assert head.selection.grid == str(grid)


@pytest.mark.parametrize("criterion", selection.CRITERIA)
def test_it_adapts_without_labels(criterion):
    tokens, text = random_features(n=30, k=3)
    grid = Grid(np.linspace(0, 1, 5), np.linspace(0, 1, 3))
    head = make_method("calip").fit(None, None, text).adapt(tokens, criterion, grid)
    assert head.selection == selection.label_free(calip_logits(tokens, text), criterion, grid)
    assert head.selection.labels == "none" and head.chosen_by.startswith(f"{criterion} on 30 images without labels: ")
    with pytest.raises(RuntimeError, match="call fit"):
        make_method("calip").adapt(tokens)
