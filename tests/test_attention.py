import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from calip_core.attention import CalipConfig, calip_logits, parameter_free_attention
from calip_core.backbones.clip_import import clip
from calip_core.backbones.dense import attention_pooling
from calip_core.tokens import ImageTokens
from tests import reference

VARIANTS = {
    "official": (CalipConfig.official(), (0.5, 0.5, "mean+max", False)),
    "paper": (CalipConfig.paper(), (2.0, 2.0, "mean+max", False)),
    "susx": (CalipConfig.susx(), (2.0, 2.0, "mean", True)),
    "dassl": (CalipConfig.dassl(), (2.0, 2.0, "mean+max", False)),
    "ttabc": (CalipConfig.ttabc(), (0.5, 0.5, "mean+max", False)),
    "unequal": (CalipConfig(alpha_t=0.1, alpha_s=0.7, pooling="max"), (0.1, 0.7, "max", False)),
    "sharp": (CalipConfig(alpha_t=0.005, alpha_s=0.005), (0.005, 0.005, "mean+max", False)),
    "sharp, unit": (CalipConfig(alpha_t=0.01, alpha_s=2.0, normalize=True), (0.01, 2.0, "mean+max", True)),
}
TERMS = ("clip", "text_attended", "visual_attended")


def random_features(n=3, grid=(2, 3), c=8, k=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    pooled, text = torch.randn(n, c, generator=generator), torch.randn(k, c, generator=generator)
    spatial = torch.randn(n, grid[0] * grid[1], c, generator=generator)
    unit = [normalize(x.double(), dim=-1).to(dtype) for x in (pooled, spatial, text)]
    return ImageTokens(unit[0], unit[1], grid), unit[2]


def reference_logits(tokens, text, settings, scale):
    rows = [
        reference.logits(pooled.double().numpy(), spatial.double().numpy(), text.double().numpy(), *settings, scale)
        for pooled, spatial in zip(tokens.pooled, tokens.spatial, strict=True)
    ]
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(TERMS)}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_agrees_with_loops_over_the_equations(variant, dtype, tolerance):
    config, settings = VARIANTS[variant]
    tokens, text = random_features(dtype=dtype)
    logits = calip_logits(tokens, text, config, logit_scale=7.0)
    for name, expected in reference_logits(tokens, text, settings, 7.0).items():
        gap = np.abs(getattr(logits, name).double().numpy() - expected).max()
        assert gap <= tolerance * np.abs(expected).max(), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
@pytest.mark.parametrize("variant", ["official", "paper", "susx"])
def test_half_precisions_stay_within_their_rounding(variant, dtype, tolerance):
    tokens, text = random_features(grid=(7, 7), c=64, k=20, dtype=dtype)
    logits = calip_logits(tokens, text, VARIANTS[variant][0], logit_scale=1.0)
    assert logits.clip.dtype == torch.float32
    for name, expected in reference_logits(tokens, text, VARIANTS[variant][1], 1.0).items():
        assert np.abs(getattr(logits, name).numpy() - expected).max() <= tolerance * np.abs(expected).max(), name


def test_attention_by_hand():
    # Two tokens, two classes, on the axes: A is the identity, so every softmax is of (1/alpha, 0).
    spatial, text = torch.eye(2)[None], torch.eye(2)
    text_attended, visual_attended = parameter_free_attention(spatial, text, alpha_t=1.0, alpha_s=0.5)
    near_t, near_s = np.e / (np.e + 1), np.e**2 / (np.e**2 + 1)
    torch.testing.assert_close(text_attended[0], torch.tensor([[near_t, 1 - near_t], [1 - near_t, near_t]]))
    torch.testing.assert_close(visual_attended[0], torch.tensor([[near_s, 1 - near_s], [1 - near_s, near_s]]))


def test_attention_agrees_with_loops():
    tokens, text = random_features(n=1)
    ours = parameter_free_attention(tokens.spatial, text, alpha_t=0.3, alpha_s=1.7)
    loops = reference.attention(tokens.spatial[0].numpy(), text.numpy(), 0.3, 1.7)
    for mine, expected in zip(ours, loops, strict=True):
        np.testing.assert_allclose(mine[0].numpy(), expected, atol=1e-12)


def test_batches_and_chunks_change_nothing(monkeypatch):
    tokens, text = random_features(n=7)
    whole = calip_logits(tokens, text)
    monkeypatch.setattr("calip_core.attention._CPU_CHUNK_ELEMENTS", 2 * 6 * 5)
    chunked = calip_logits(tokens, text)
    for name in TERMS:
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


@given(st.integers(0, 10**6), st.floats(0.002, 50.0), st.floats(0.002, 50.0))
def test_order_of_tokens_and_classes_does_not_matter(seed, alpha_t, alpha_s):
    tokens, text = random_features(seed=seed)
    config = CalipConfig(alpha_t=alpha_t, alpha_s=alpha_s)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    classes = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    shuffled = ImageTokens(tokens.pooled, tokens.spatial[:, order], tokens.grid)
    plain, moved = calip_logits(tokens, text, config), calip_logits(shuffled, text[classes], config)
    for name in TERMS:
        torch.testing.assert_close(getattr(moved, name), getattr(plain, name)[:, classes], rtol=1e-9, atol=1e-9)


@given(st.floats(0.002, 100.0))
def test_equal_tokens_leave_the_text_nothing_to_choose(alpha):
    # If all spatial tokens are the same vector, F_t^a is that vector for every class, at every temperature.
    tokens, text = random_features()
    same = ImageTokens(tokens.pooled, tokens.spatial[:, :1].expand(-1, 6, -1).clone(), tokens.grid)
    attended = calip_logits(same, text, CalipConfig(alpha_t=alpha, alpha_s=alpha)).text_attended
    assert (attended.max(dim=1).values - attended.min(dim=1).values).max() < 1e-9


def test_very_high_temperature_is_the_plain_mean():
    tokens, text = random_features()
    logits = calip_logits(tokens, text, CalipConfig(alpha_t=1e9, alpha_s=1e9, pooling="mean"), logit_scale=1.0)
    mean_token = tokens.spatial.mean(dim=1)
    torch.testing.assert_close(logits.text_attended, (tokens.pooled * mean_token).sum(1, keepdim=True).expand(-1, 5))
    torch.testing.assert_close(logits.visual_attended, (text.mean(0) @ text.T).expand(3, -1))


def test_no_images_give_no_logits():
    tokens, text = random_features()
    assert calip_logits(tokens[:0], text).clip.shape == (0, 5)


def test_a_pool_of_ones_own():
    tokens, text = random_features()
    own = calip_logits(tokens, text, CalipConfig.susx(pool=lambda features: features[:, 0]))
    named = calip_logits(tokens, text, CalipConfig.susx())
    assert not torch.allclose(own.visual_attended, named.visual_attended)


def random_attention_pool(side=2, width=16, heads=4, out=8):
    torch.manual_seed(0)
    pool = clip.model.AttentionPool2d(side, width, heads, out).double()
    for parameter in pool.parameters():  # larger than at the start, so that attention is far from even
        torch.nn.init.normal_(parameter, std=0.5)
    return pool


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_susx_pools_with_clips_own_layer(dtype, tolerance):
    pool = random_attention_pool()
    layers = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj)
    ]
    position = pool.positional_embedding.detach().numpy()

    def by_loops(attended):  # 8 channels for the layer's 16: each stands twice
        return reference.attention_pool(np.repeat(attended, 2, axis=1), position, *layers, heads=4)

    tokens, text = random_features(grid=(2, 2), dtype=dtype)
    config = CalipConfig.susx(pool=attention_pooling(pool.to(dtype)))
    logits = calip_logits(tokens, text, config, logit_scale=7.0)
    for name, expected in reference_logits(tokens, text, (2.0, 2.0, by_loops, True), 7.0).items():
        gap = np.abs(getattr(logits, name).double().numpy() - expected).max()
        assert gap <= tolerance * np.abs(expected).max(), name


def test_clips_own_layer_pools_in_the_precision_of_the_tokens():
    features = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled = attention_pooling(random_attention_pool().float())(features)
    assert pooled.dtype == torch.float64 and pooled.shape == (3, 8)


def test_the_first_order_of_the_text_attended_term():
    # F_v F_t^aT = mean(q) + Cov(q, A_k) / alpha + O(1 / alpha^2) with q = F_s F_v^T: ten times alpha, 1/100 the rest
    tokens, text = random_features()
    similarity = (tokens.spatial @ tokens.pooled.unsqueeze(2)).squeeze(2)
    affinity = tokens.spatial @ text.T
    product = (similarity.unsqueeze(2) * affinity).mean(dim=1)
    covariance = product - similarity.mean(dim=1, keepdim=True) * affinity.mean(dim=1)
    rest = {}
    for alpha in (10.0, 100.0):
        exact = calip_logits(tokens, text, CalipConfig(alpha_t=alpha, alpha_s=1.0), logit_scale=1.0).text_attended
        rest[alpha] = (exact - similarity.mean(dim=1, keepdim=True) - covariance / alpha).abs().max().item()
    assert 0 < rest[100.0] < 0.02 * rest[10.0]


@pytest.mark.parametrize("part", ["pooled", "spatial", "text"])
def test_nan_is_named(part):
    tokens, text = random_features()
    {"pooled": tokens.pooled, "spatial": tokens.spatial, "text": text}[part][1, 0] = float("nan")
    with pytest.raises(ValueError, match=rf"{part} features hold NaN or infinity in 1 rows, the first at \[1\]"):
        calip_logits(tokens, text)


def test_widths_that_differ_are_named(shapes_unchecked):
    tokens, text = random_features()
    with pytest.raises(ValueError, match="width 8, text features have width 7"):
        calip_logits(tokens, text[:, :7])
    with pytest.raises(ValueError, match="width 8, text features have width 7"):
        parameter_free_attention(tokens.spatial, text[:, :7], alpha_t=1.0, alpha_s=1.0)


def test_no_classes_is_an_error():
    tokens, text = random_features()
    with pytest.raises(ValueError, match="at least one class"):
        calip_logits(tokens, text[:0])


def test_pooled_features_alone_are_refused():
    tokens, text = random_features()
    with pytest.raises(ValueError, match="the images have pooled features alone: CALIP needs their spatial tokens"):
        calip_logits(ImageTokens.without_places(tokens.pooled), text)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperatures_are_named(alpha):
    with pytest.raises(ValueError, match="alpha_s is"):
        CalipConfig(alpha_t=1.0, alpha_s=alpha)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_logit_scales_are_named(scale):
    with pytest.raises(ValueError, match="logit_scale is .*, expected a positive finite number"):
        calip_logits(*random_features(), logit_scale=scale)


def test_text_of_another_kind_or_precision_is_named(shapes_unchecked):
    tokens, text = random_features()
    with pytest.raises(ValueError, match="text is a ndarray, expected a tensor"):
        calip_logits(tokens, text.numpy())
    with pytest.raises(ValueError, match=r"torch.float64 on cpu, image tokens torch.float16 on cpu.*text.to"):
        calip_logits(tokens.to(torch.float16), text)


def test_unknown_pooling_lists_the_choices(shapes_unchecked):
    with pytest.raises(ValueError, match="'mean', 'mean\\+max'"):
        CalipConfig(alpha_t=1.0, alpha_s=1.0, pooling="median")
