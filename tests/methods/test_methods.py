import pytest
import torch

from calip_core.attention import CalipConfig, calip_logits
from calip_core.methods import METHODS, make_method
from tests.test_attention import random_features


def test_zero_shot_by_hand():
    tokens, text = random_features()
    logits = make_method("zero_shot", logit_scale=3.0).fit(None, None, text).logits(tokens)
    assert logits[1, 2].item() == pytest.approx(3 * float(tokens.pooled[1] @ text[2]))


def test_zero_shot_names_features_of_another_width():
    tokens, text = random_features()
    head = make_method("zero_shot").fit(None, None, text[:, :-1])
    with pytest.raises(ValueError, match=r"zero_shot: image features are \d+ wide"):
        head.logits(tokens)


def test_calip_is_the_blend_of_its_terms():
    tokens, text = random_features()
    head = make_method("calip", beta1=2.0, beta2=0.3, beta3=0.4, config=CalipConfig.paper()).fit(None, None, text)
    terms = calip_logits(tokens, text, CalipConfig.paper())
    torch.testing.assert_close(
        head.logits(tokens), 2 * terms.clip + 0.3 * terms.text_attended + 0.4 * terms.visual_attended
    )


def test_calip_without_its_terms_is_zero_shot():
    tokens, text = random_features()
    blended = make_method("calip", beta2=0.0, beta3=0.0).fit(None, None, text).logits(tokens)
    torch.testing.assert_close(blended, make_method("zero_shot").fit(None, None, text).logits(tokens))


@pytest.mark.parametrize("name", METHODS)
def test_unfitted_heads_say_so(name):
    with pytest.raises(RuntimeError, match="call fit"):
        make_method(name).logits(random_features()[0])


def test_unknown_method_lists_the_choices():
    with pytest.raises(ValueError, match="calip.*zero_shot"):
        make_method("tip")
