import math

import pytest
import torch
from torch import nn

from calip_core.backbones.dense import attention_pool_outputs, attention_pool_values, average_channels, dense_tower
from tests.backbones.clips import FAMILIES, GRIDS, WIDTH, random_clip, random_images


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def output_of(module, run):
    """What ``module`` gives while ``run`` runs."""
    kept = []
    hook = module.register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.no_grad():
        run()
    hook.remove()
    return kept[0].double()


def run_tower(model, images, tokens="joint"):
    with torch.no_grad():
        return dense_tower(model.visual, tokens)(images)


def reference_pool_outputs(pool, feature_map):
    """CLIP's attention pool for every query: float64, one image, query and head at a time."""
    weights = {name: value.double() for name, value in pool.state_dict().items()}
    size = feature_map.shape[1] // pool.num_heads

    def project(name, rows):
        return rows @ weights[f"{name}_proj.weight"].T + weights[f"{name}_proj.bias"]

    results = []
    for image in feature_map:
        places = [image[:, row, column] for row in range(image.shape[1]) for column in range(image.shape[2])]
        tokens = torch.stack([sum(places) / len(places), *places]) + weights["positional_embedding"]
        query, key, value = (project(name, tokens) for name in "qkv")
        for one_query in query:
            heads = []
            for head in range(pool.num_heads):
                part = slice(head * size, (head + 1) * size)
                share = torch.softmax(key[:, part] @ one_query[part] / math.sqrt(size), dim=0)
                heads.append(share @ value[:, part])
            results.append(project("c", torch.cat(heads)))
    return torch.stack(results).view(len(feature_map), -1, weights["c_proj.bias"].shape[0])


def test_the_pooled_feature_is_that_of_the_package(family):
    model, images = random_clip(family), random_images(family)
    with torch.no_grad():
        expected = model.encode_image(images)
    for tokens in ("joint", "value", "pre_pool"):
        pooled, spatial = run_tower(model, images, tokens)
        torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)
        assert spatial.shape == (len(images), math.prod(GRIDS[family]), WIDTH)


def test_resnet_tokens_are_every_output_of_the_attention_pool():
    model, images = random_clip("rn"), random_images("rn")
    feature_map = output_of(model.visual.layer4, lambda: model.encode_image(images))
    pooled, spatial = run_tower(model, images)
    reference = reference_pool_outputs(model.visual.attnpool, feature_map)
    torch.testing.assert_close(torch.cat([pooled[:, None], spatial], dim=1).double(), reference, rtol=0, atol=1e-5)


def reference_values(weights, token, heads, out):
    """What one attention layer gives for a token that every head looks at alone: float64, head by head."""
    value = weights["value"] @ token + weights["value_bias"]
    size = len(value) // heads
    parts = (weights[out][:, h * size : (h + 1) * size] @ value[h * size : (h + 1) * size] for h in range(heads))
    return sum(parts) + weights[f"{out}_bias"]


def test_resnet_value_tokens_are_the_pool_looking_at_one_place():
    model, images = random_clip("rn"), random_images("rn")
    pool = model.visual.attnpool
    feature_map = output_of(model.visual.layer4, lambda: model.encode_image(images)).flatten(2)  # n, d, m
    _, spatial = run_tower(model, images, "value")
    weights = {
        "value": pool.v_proj.weight, "value_bias": pool.v_proj.bias,
        "c": pool.c_proj.weight, "c_bias": pool.c_proj.bias,
    }  # fmt: skip
    weights = {name: value.detach().double() for name, value in weights.items()}
    positions = pool.positional_embedding.detach().double()
    expected = [
        [reference_values(weights, image[:, m] + positions[m + 1], pool.num_heads, "c") for m in range(image.shape[1])]
        for image in feature_map
    ]
    reference = torch.stack([torch.stack(rows) for rows in expected])
    torch.testing.assert_close(spatial.double(), reference, rtol=0, atol=1e-5)


def test_a_pool_that_looks_at_one_token_gives_its_value():
    pool = random_clip("rn", seed=3).visual.attnpool.double()
    places = torch.randn(2, math.prod(GRIDS["rn"]), 256, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        pool.k_proj.weight.zero_()
        pool.k_proj.bias.zero_()  # equal weights in all heads: the output is the mean of the values
        outputs, values = attention_pool_outputs(pool, places), attention_pool_values(pool, places)
    torch.testing.assert_close(outputs, values.mean(dim=1, keepdim=True).expand_as(outputs), rtol=0, atol=1e-9)


def test_vit_value_tokens_are_the_last_attention_looking_at_one_patch():
    model, images = random_clip("vit"), random_images("vit")
    block = model.visual.transformer.resblocks[-1]
    normed = output_of(block.ln_1, lambda: model.encode_image(images))  # token, image, channel
    _, spatial = run_tower(model, images, "value")
    width = block.attn.embed_dim
    weights = {
        "value": block.attn.in_proj_weight[2 * width :], "value_bias": block.attn.in_proj_bias[2 * width :],
        "out": block.attn.out_proj.weight, "out_bias": block.attn.out_proj.bias,
    }  # fmt: skip
    weights = {name: value.detach().double() for name, value in weights.items()}
    for image in range(len(images)):
        for m in range(spatial.shape[1]):
            out = reference_values(weights, normed[m + 1, image], block.attn.num_heads, "out")
            with torch.no_grad():
                expected = model.visual.ln_post(out.float()).double() @ model.visual.proj.double()
            torch.testing.assert_close(spatial[image, m].double(), expected, rtol=0, atol=1e-5)


def test_a_pool_of_several_heads_in_float64():
    pool = random_clip("rn", seed=3).visual.attnpool.double()
    pool.num_heads = 8
    feature_map = torch.randn(2, 256, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        outputs = attention_pool_outputs(pool, feature_map.flatten(2).mT)
    torch.testing.assert_close(outputs, reference_pool_outputs(pool, feature_map), rtol=0, atol=1e-9)


def test_vit_tokens_go_through_the_last_norm_and_the_projection():
    model, images = random_clip("vit"), random_images("vit")
    nn.init.normal_(model.visual.ln_post.weight)
    nn.init.normal_(model.visual.ln_post.bias)
    tokens = output_of(model.visual.transformer, lambda: model.encode_image(images)).transpose(0, 1)
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    normed = centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + 1e-5)
    normed = normed * model.visual.ln_post.weight.double() + model.visual.ln_post.bias.double()
    pooled, spatial = run_tower(model, images)
    ours = torch.cat([pooled[:, None], spatial], dim=1).double()
    torch.testing.assert_close(ours, normed @ model.visual.proj.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", ["joint", "pre_pool"])
def test_vit_tokens_follow_the_rows_of_the_image(tokens):
    model, images = random_clip("vit"), random_images("vit", n=1)
    for block in model.visual.transformer.resblocks:  # without attention a token sees its own patch alone
        nn.init.zeros_(block.attn.out_proj.weight)
    changed = images.clone()
    changed[:, :, 16:32, 32:48] += 1  # row 1, column 2 of the 3x3 patches
    difference = run_tower(model, changed, tokens)[1] - run_tower(model, images, tokens)[1]
    assert difference.abs().amax(dim=(0, 2)).nonzero().flatten().tolist() == [1 * 3 + 2]


def test_pre_pool_tokens_are_channel_means_of_the_last_map():
    model, images = random_clip("rn"), random_images("rn")
    feature_map = output_of(model.visual.layer4, lambda: model.encode_image(images))
    _, spatial = run_tower(model, images, "pre_pool")
    for row in range(2):
        for column in range(2):
            means = feature_map[:, :, row, column].reshape(len(images), WIDTH, -1).mean(dim=-1)
            torch.testing.assert_close(spatial[:, 2 * row + column].double(), means, rtol=0, atol=1e-6)


def test_channel_means_by_hand():
    four = torch.tensor([[[1.0, 3.0, 10.0, 20.0]]])
    assert average_channels(four, 2).tolist() == [[[2.0, 15.0]]]
    assert average_channels(four[..., :2], 4).tolist() == [[[1.0, 1.0, 3.0, 3.0]]]


def test_the_model_is_left_as_it_was(family):
    model, images = random_clip(family), random_images(family)
    with torch.no_grad():
        before = model.encode_image(images)
        run_tower(model, images)
        assert torch.equal(model.encode_image(images), before)
    assert not any(module._forward_hooks for module in model.modules())
    if family == "rn":
        assert type(model.visual.attnpool).__name__ == "AttentionPool2d"


def test_a_failing_image_leaves_no_hook_behind(shapes_unchecked):
    model = random_clip("vit")
    with pytest.raises(RuntimeError):
        run_tower(model, torch.zeros(1, 3, 16, 16))
    assert not model.visual.transformer._forward_hooks


def test_bad_requests_are_named(shapes_unchecked):
    with pytest.raises(ValueError, match="tokens is 'pooled', expected one of joint, value, pre_pool"):
        dense_tower(random_clip("rn").visual, "pooled")
    with pytest.raises(ValueError, match="class Linear"):
        dense_tower(nn.Linear(2, 2))
