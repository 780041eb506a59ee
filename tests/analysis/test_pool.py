import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from calip_core.analysis.pool import one_head_pool, spoil_pool
from calip_core.tokens import ImageTokens
from tests.backbones.clips import random_clip


def tokens(seed=0):
    generator = torch.Generator().manual_seed(seed)
    pooled, spatial = torch.randn(3, 8, generator=generator), torch.randn(3, 4, 8, generator=generator)
    return ImageTokens(normalize(pooled, dim=-1), normalize(spatial, dim=-1), (2, 2))


@given(st.floats(0, 1))
def test_the_pooled_feature_is_mixed_with_the_mean_token(amount):
    whole, values = tokens(), tokens(seed=1).spatial
    spoiled = spoil_pool(whole, values, amount)
    for image in range(3):
        mixed = (1 - amount) * whole.pooled[image] + amount * values[image].mean(dim=0)
        torch.testing.assert_close(spoiled.pooled[image], mixed / mixed.norm(), rtol=0, atol=1e-5)
    assert torch.equal(spoiled.spatial, whole.spatial) and spoiled.grid == whole.grid


def test_nothing_is_spoiled_by_nothing():
    assert torch.equal(spoil_pool(tokens(), tokens(seed=1).spatial, 0.0).pooled, tokens().pooled)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_an_amount_is_a_share(amount):
    with pytest.raises(ValueError, match="expected a share from 0 to 1"):
        spoil_pool(tokens(), tokens().spatial, amount)


def test_a_mixture_without_direction_is_refused():
    whole = tokens()
    against = ImageTokens(-normalize(whole.spatial[:, :1].squeeze(1), dim=-1), whole.spatial[:, :1], (1, 1))
    with pytest.raises(ValueError, match="has no direction"):
        spoil_pool(against, whole.spatial[:, :1], 0.5)


@torch.no_grad()
def test_a_pool_whose_heads_agree_is_one_head():
    pool = random_clip("rn").visual.attnpool
    places = torch.randn(2, 4, pool.v_proj.in_features, generator=torch.Generator().manual_seed(0))
    real, one = one_head_pool(pool, places)
    assert (real * one).sum(dim=1).max() < 1 - 1e-4
    pool.q_proj.weight.zero_()
    pool.q_proj.bias.zero_()  # all heads now weigh all tokens alike
    real, one = one_head_pool(pool, places)
    torch.testing.assert_close(real, one, rtol=0, atol=1e-5)
