from dataclasses import replace

import pytest
import torch

from calip_core import CalipConfig, calip_logits
from calip_core.analysis.synthetic import TokenModel, phase_diagram, text_lead, weight_on_object
from calip_core.analysis.window import temperature_sweep, token_facts


def test_the_same_seed_repeats_a_draw_and_another_does_not():
    model = TokenModel()
    first, again, other = (model.draw(5, seed) for seed in (0, 0, 1))
    assert torch.equal(first.test.spatial, again.test.spatial) and torch.equal(first.text, again.text)
    assert not torch.equal(first.test.spatial, other.test.spatial)
    assert not torch.equal(first.val.spatial, first.test.spatial)


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
def test_classes_are_of_unit_length_and_share_a_direction(common):
    text = TokenModel(common=common, width=512, classes=4).draw(1).text
    cosines = text @ text.T
    torch.testing.assert_close(cosines.diagonal(), torch.ones(4))
    assert cosines[~torch.eye(4, dtype=torch.bool)].mean() == pytest.approx(common, abs=0.05)


def test_rows_are_of_unit_length_and_the_pool_is_the_mean_direction():
    tokens = TokenModel().draw(6).test
    for rows in (tokens.pooled, tokens.spatial):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))
    copies = TokenModel(spread=0.0).draw(6).test
    torch.testing.assert_close(copies.spatial, tokens.pooled.unsqueeze(1).expand_as(copies.spatial))


def test_without_noise_there_are_as_many_kinds_of_tokens_as_things_to_see():
    model = TokenModel(noise=0.0, share=0.5, distractors=0.3)
    for image in model.draw(4).test.spatial:
        assert len(torch.unique((image * 1e4).round(), dim=0)) == 3
    only_object = replace(model, share=1.0, distractors=0.0).draw(4).test
    torch.testing.assert_close(only_object.spatial, only_object.pooled.unsqueeze(1).expand_as(only_object.spatial))


def test_the_share_is_that_of_the_tokens_on_the_object():
    sample = TokenModel(noise=0.0, share=0.3, common=0.0, strength=5.0).draw(300)
    affinity = (sample.test.spatial * sample.text[torch.from_numpy(sample.test_labels)].unsqueeze(1)).sum(dim=-1)
    assert (affinity > 0.8).float().mean() == pytest.approx(0.3, abs=0.02)


def test_without_an_object_clip_and_calip_guess():
    table = temperature_sweep(TokenModel(share=0.0).draw(1000), [0.05, 0.5])
    assert (table[["clip", "calip"]] < 0.16).all(axis=None)


@pytest.mark.parametrize("alpha", [1e-4, 1e6])
def test_at_extreme_temperatures_nothing_is_gained(alpha):
    table = temperature_sweep(TokenModel(share=0.35).draw(1000), [alpha])
    assert abs(table["gain"].item()) < 0.02


def test_the_gain_needs_spread_and_a_temperature_in_the_middle():
    table = phase_diagram(temperatures=[0.02, 0.1, 2.0], shares=[0.1], spreads=[0.0, 1.0], images=500)
    gain = table.set_index(["spread", "alpha"])["gain"]
    assert len(table) == 6 and gain[1.0, 0.1] > 0.1
    assert gain.drop([(1.0, 0.1)]).abs().max() < 0.03


def test_more_spread_means_more_spread_affinities():
    spreads = [token_facts(TokenModel(spread=spread).draw(50))["affinity_spread"] for spread in (0.0, 0.3, 1.0)]
    assert spreads[0] == pytest.approx(0, abs=1e-6) and spreads[0] < spreads[1] < spreads[2]


def test_the_weight_on_the_object_is_that_of_a_softmax_over_tokens():
    """Two kinds of tokens without noise: the closed form against the library's text-attended term."""
    sample, alpha = TokenModel(noise=0.0, share=0.4).draw(20), 0.2
    text, tokens = sample.text.double(), sample.test.to(torch.float64)
    found = calip_logits(tokens, text, CalipConfig(alpha, alpha), logit_scale=1.0).text_attended
    for image, label in enumerate(sample.test_labels):
        spatial = tokens.spatial[image]
        own = spatial @ text[label]
        on_object = own > (own.max() + own.min()) / 2
        thing, rest = spatial[on_object][0], spatial[~on_object][0]
        weight = weight_on_object(on_object.double().mean(), text @ (thing - rest), alpha)  # (k)
        pooled = tokens.pooled[image]
        torch.testing.assert_close(found[image], pooled @ rest + weight * (pooled @ (thing - rest)), rtol=0, atol=1e-6)


def test_the_weight_on_the_object_at_its_limits():
    assert weight_on_object(0.3, 0.5, 1e9) == pytest.approx(0.3)
    assert weight_on_object(0.3, 0.5, 1e-9) == 1 and weight_on_object(0.3, -0.5, 1e-9) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.2}, "share is 1.2"),
        ({"share": 0.7, "distractors": 0.5}, "exceed 1 together"),
        ({"tokens": 50}, "expected a square"),
        ({"spread": float("nan")}, "spread is nan"),
    ],
)
def test_impossible_models_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TokenModel(**options)


def test_the_lead_vanishes_at_both_ends_of_temperature_and_share():
    def lead(share, alpha):
        return float(text_lead(share, alpha, strength=1.0, common=0.5))

    assert lead(0.5, 0.3) == pytest.approx(0.5 * float(weight_on_object(0.5, 1, 0.3) - weight_on_object(0.5, 0.5, 0.3)))
    assert lead(0.5, 0.3) > 0.05
    for share, alpha in ((0.5, 1e-3), (0.5, 1e3), (1e-4, 0.3), (0.9999, 0.3)):
        assert abs(lead(share, alpha)) < 0.002
    first_order = 0.5 * 0.5 * 0.5 * 0.5 / 100  # rho a times rho (1 - rho) a (1 - kappa) / alpha
    assert lead(0.5, 100.0) == pytest.approx(first_order, rel=0.01)
