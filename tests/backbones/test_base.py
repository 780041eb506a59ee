import copy
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import clip
from tests.backbones.clips import FAMILIES, GRIDS, RESOLUTIONS, WIDTH, random_clip, random_images

MODELS = {family: random_clip(family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def backbone_of(family, precision="fp32", **options):
    return Backbone.from_clip(f"small {family}", copy.deepcopy(MODELS[family]), precision=precision, **options)


def test_what_a_backbone_says_of_itself(family):
    backbone = backbone_of(family)
    assert (backbone.name, backbone.embed_dim) == (f"small {family}", WIDTH)
    assert (backbone.grid, backbone.resolution) == (GRIDS[family], RESOLUTIONS[family])
    assert (backbone.context_length, backbone.device, backbone.dtype) == (16, torch.device("cpu"), torch.float32)
    assert backbone.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_the_pooled_feature_is_the_packages_made_unit_length(family):
    images = random_images(family)
    tokens = backbone_of(family).encode_image(images)
    with torch.no_grad():
        expected = normalize(MODELS[family].encode_image(images), dim=-1)
    torch.testing.assert_close(tokens.pooled, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", ["joint", "pre_pool"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_token_has_unit_length_in_float32(family, precision, tokens):
    encoded = backbone_of(family, precision, tokens=tokens).encode_image(random_images(family))
    assert encoded.grid == GRIDS[family]
    for features in (encoded.pooled, encoded.spatial):
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(features.shape[:-1]))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_close(family, precision):
    images, prompts = random_images(family), ["a red circle", "two"]
    exact, low = backbone_of(family), backbone_of(family, precision)
    assert (exact.encode_image(images).spatial * low.encode_image(images).spatial).sum(dim=-1).min() > 0.99
    assert (exact.encode_text(prompts) * low.encode_text(prompts)).sum(dim=-1).min() > 0.99


def test_a_large_batch_is_its_images_one_by_one(family):
    images, backbone = random_images(family, n=19), backbone_of(family)
    together = backbone.encode_image(images)
    alone = [backbone.encode_image(image[None]) for image in images]
    torch.testing.assert_close(together.spatial, torch.cat([t.spatial for t in alone]), rtol=0, atol=1e-5)


def test_texts_are_the_packages_whatever_their_length(family):
    prompts = ["a red circle", "x", "one two three four five six seven"]
    with torch.no_grad():
        expected = normalize(MODELS[family].encode_text(clip.tokenize(prompts, context_length=16)), dim=-1)
    backbone = backbone_of(family)
    torch.testing.assert_close(backbone.encode_text(prompts), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(backbone.encode_text(prompts[:1]), expected[:1], rtol=0, atol=1e-5)


def test_tokens_are_the_packages():
    prompts = ["a photo of a Dog, isn't it?", "x"]
    ours = backbone_of("vit").tokenize(prompts)
    theirs = clip.tokenize(prompts, context_length=16)
    assert ours.tolist() == theirs[:, : ours.shape[1]].tolist()
    assert not theirs[:, ours.shape[1] :].any()


def test_releases_of_clip_that_want_the_whole_context_get_it(monkeypatch):
    backbone, expected = backbone_of("vit"), backbone_of("vit").encode_text(["x"])
    encode = backbone.model.encode_text

    def insists(tokens):
        if tokens.shape[1] != 16:
            raise RuntimeError("The size of tensor a must match the size of tensor b")
        return encode(tokens)

    monkeypatch.setattr(backbone.model, "encode_text", insists)
    torch.testing.assert_close(backbone.encode_text(["x"]), expected, rtol=0, atol=1e-6)


def test_an_error_while_texts_are_read_is_not_taken_for_such_a_release(monkeypatch):
    backbone, lengths = backbone_of("vit"), []
    backbone.encode_text(["x"])

    def fails(tokens):
        lengths.append(tokens.shape[1])
        raise RuntimeError("out of memory")

    monkeypatch.setattr(backbone.model, "encode_text", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        backbone.encode_text(["a dog"])
    assert lengths == [4]


def test_preprocess_makes_what_encode_image_wants(family):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    backbone, image = backbone_of(family), Image.fromarray(pixels)
    prepared = backbone.preprocess(image)
    assert torch.equal(prepared, clip.clip._transform(RESOLUTIONS[family])(image))
    assert len(backbone.encode_image(prepared[None])) == 1
    assert backbone.preprocess(image.convert("L")).shape == prepared.shape


def test_features_can_train_a_head():
    backbone, head = backbone_of("vit"), nn.Linear(WIDTH, 2)
    head(backbone.encode_image(random_images("vit")).pooled).sum().backward()
    head(backbone.encode_text(["a dog"])).sum().backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 30, 30), torch.zeros(3, 48, 48), torch.zeros(1, 3, 48, 48, dtype=torch.uint8)],
    ids=["size", "no batch", "bytes"],
)
def test_images_that_were_not_preprocessed(images, shapes_unchecked):
    with pytest.raises(ValueError, match=r"small vit needs floats of shape \(n, 3, 48, 48\): apply"):
        backbone_of("vit").encode_image(images)


def test_images_in_a_list_are_named(shapes_unchecked):
    with pytest.raises(ValueError, match="images is a list, expected one tensor: torch.stack"):
        backbone_of("vit").encode_image([torch.zeros(3, 48, 48)])


def test_an_empty_batch_is_named():
    with pytest.raises(ValueError, match="empty batch"):
        backbone_of("vit").encode_image(torch.zeros(0, 3, 48, 48))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_with_nan_are_counted(family, value):
    images = random_images(family, n=12)
    images[[3, 10], 1, 5, 7] = value
    with pytest.raises(ValueError, match=r"NaN or infinity in 2 of 12, the first at \[3, 10\]"):
        backbone_of(family).encode_image(images)


def test_damaged_weights_are_told_from_bad_images(family):
    backbone = backbone_of(family)
    backbone.model.visual.conv1.weight[0] = float("nan")
    with pytest.raises(ValueError, match=f"small {family} gives NaN .*weights are damaged"):
        backbone.encode_image(random_images(family))


def test_a_prompt_too_long_is_named_with_its_length():
    backbone = backbone_of("vit")
    fits = " ".join(["dog"] * 14)
    assert backbone.encode_text([fits]).shape == (1, WIDTH)
    with pytest.raises(ValueError, match=rf"'{fits} dog' has 17 tokens, .* small vit reads 16: shorten it"):
        backbone.encode_text(["short", f"{fits} dog"])


def test_prompts_are_a_list_of_at_least_one(shapes_unchecked):
    for prompts in ([], "a dog", None):
        with pytest.raises(ValueError, match=rf"prompts is {re.escape(repr(prompts))}, expected a list of at least"):
            backbone_of("vit").encode_text(prompts)
    with pytest.raises(ValueError, match="prompts.1. is 7, expected a text"):
        backbone_of("vit").encode_text(["a dog", 7])


def test_prompts_may_be_an_array_or_a_generator(shapes_unchecked):
    prompts = ["a dog", "two"]
    expected = backbone_of("vit").encode_text(prompts)
    for given in (np.array(prompts), (prompt for prompt in prompts)):
        assert torch.equal(backbone_of("vit").encode_text(given), expected)


@pytest.mark.parametrize("mark", ["<|startoftext|>", "<|endoftext|>"])
def test_a_mark_inside_a_prompt_is_refused(mark):
    """CLIP takes its feature at the first end mark, so the rest would be cut off without a word."""
    with pytest.raises(ValueError, match=r"the prompt 'a cat<.*dog' holds a mark of CLIP's vocabulary"):
        backbone_of("vit").encode_text([f"a cat{mark} dog"])


@pytest.mark.parametrize("logarithm", [100.0, float("nan"), float("-inf")])
def test_a_logit_scale_that_is_no_positive_number_is_refused(logarithm):
    model = copy.deepcopy(MODELS["vit"])
    model.logit_scale.data.fill_(logarithm)
    with pytest.raises(ValueError, match=r"scaled has the logit scale (inf|nan|0.0), expected a finite number above 0"):
        Backbone.from_clip("scaled", model)
