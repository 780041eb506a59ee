"""Stated versions: what caches are keyed by. Whoever moves an output finds here which number to raise.

The golden values are summaries that rounding on another processor hardly moves; a change of the code does.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from calip_core import load_backbone, pointclouds, world, zero_shot_classifier
from calip_core.backbones import open_clip as wrapper
from calip_core.backbones.base import Backbone
from calip_core.backbones.dense import DenseResNet, DenseViT
from calip_core.datasets import subsets
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.datasets.task import Split
from calip_core.features import texts
from calip_core.world.solid_clouds import SolidClouds
from tests.golden import check

FEATURES, PIXELS = 5e-4, 0.5
ENCODERS = {"mini-rn": DenseResNet, "mini-vit": DenseViT}


def pictures():
    """Two smooth pictures that no random numbers and no other code are needed for."""
    rows, columns = np.mgrid[0:96, 0:96] / 96
    planes = [np.stack([np.sin(7 * rows * (i + 1)), columns, np.cos(5 * columns - rows)], axis=2) for i in range(2)]
    return [Image.fromarray(((plane + 1) * 127).round().astype(np.uint8)) for plane in planes]


def cloud(index):
    """A bent band of 400 points."""
    t, s = np.mgrid[0:1:40j, 0:1:10j]
    band = np.stack([np.sin(4 * t + index), 0.5 * s + 0.2 * t, np.cos(3 * t) * (s + 1)], axis=-1)
    return band.reshape(-1, 3).astype(np.float32)


@pytest.fixture(scope="module", params=ENCODERS)
def backbone(request):
    return load_backbone(request.param, device="cpu", precision="fp32")


IMAGE_GOLD = {
    "mini-rn": ([-0.03463, 0.03827, -0.05261, -0.02853], [-0.17246, 0.01748, -0.00348, 0.00045]),
    "mini-vit": ([-0.01725, -0.00692, -0.01462, -0.01529], [0.16779, 0.0053, 0.00637, -0.04769]),
}
"""Of pooled and of spatial features."""
VALUE_GOLD = {
    "mini-rn": [-0.12993, 0.00281, -0.01725, -0.0644],
    "mini-vit": [-0.22481, 0.01782, 0.00189, 0.02271],
}
"""Of value tokens."""
TEXT_GOLD = [0.13155, 0.06403, -0.03764, 0.00648]
"""Both miniatures have one text tower."""


def test_image_features(backbone):
    tokens = backbone.encode_image(torch.stack([backbone.preprocess(picture) for picture in pictures()]))
    tower = ENCODERS[backbone.name]
    assert backbone.encoder == f"backbone {Backbone.VERSION}, {tower.__name__} {tower.VERSION}"
    what = f"{tower.__name__}.VERSION (of the tower) or Backbone.VERSION (of what is around it)"
    check(tokens.pooled, IMAGE_GOLD[backbone.name][0], what, within=FEATURES)
    check(tokens.spatial, IMAGE_GOLD[backbone.name][1], what, within=FEATURES)


def test_value_tokens(backbone):
    values = load_backbone(backbone.name, device="cpu", precision="fp32", tokens="value")
    tokens = values.encode_image(torch.stack([backbone.preprocess(picture) for picture in pictures()]))
    tower = ENCODERS[backbone.name]
    check(tokens.spatial, VALUE_GOLD[backbone.name], f"{tower.__name__}.VERSION", within=FEATURES)


def test_text_features(backbone):
    text = zero_shot_classifier(backbone, ["circle", "red square"], ["a photo of a {}.", "one {}"])
    check(text, TEXT_GOLD, "calip_core.features.texts.VERSION", within=FEATURES)


class OpenClipsLayout(nn.Module):
    """What the wrapper uses of open_clip's VisionTransformer, with weights that a formula gives."""

    grid_size = (2, 2)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.ln_post = nn.LayerNorm(8)
        self.proj = nn.Parameter(torch.empty(8, 6))
        self.transformer = nn.Module()
        self.transformer.batch_first = True
        block = nn.Module()
        block.ln_1, block.attn, block.ls_1 = nn.LayerNorm(8), nn.MultiheadAttention(8, 2), nn.Identity()
        self.transformer.resblocks = nn.ModuleList([block])
        for number, parameter in enumerate(self.parameters(), start=1):
            steps = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.data = (steps * number).sin().reshape(parameter.shape)

    def forward(self, images):
        places = self.conv(images).flatten(2).mT
        tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
        self.transformer.resblocks[-1].ln_1(tokens)
        return self.ln_post(tokens)[:, 0] @ self.proj


OPEN_CLIP_GOLD = {
    "joint": [0.26783, -0.67213, 4.5308, -0.01414],
    "value": [0.26553, -0.24709, 0.11969, 0.31045],
    "pre_pool": [0.24034, -0.2521, 1.16535, 0.171],
}


@pytest.mark.parametrize("tokens", OPEN_CLIP_GOLD)
@torch.no_grad()
def test_features_of_open_clips_wrapper(tokens):
    images = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8).mul(9).sin()
    pooled, spatial = wrapper.OpenClipViT(OpenClipsLayout(), tokens)(images)
    check(torch.cat([pooled[:, None], spatial], dim=1), OPEN_CLIP_GOLD[tokens], "OpenClipViT.VERSION", within=FEATURES)


WORLD = "calip_core.world.VERSION"
WORLD_GOLD = {
    "scenes": [29660.46346, -14.21663, 4.70479, -6.88063],
    "held out": [29295.92991, -13.6764, 3.98874, -8.34067],
    "solids": [12201.1875, -0.36201, -0.05107, 0.0211],
    "digits": [45552.60471, 0.84614, 0.19449, 0.09847],
    "clouds": [3.28055, -0.13678, -0.22543, -0.66472],
}


def test_the_world():
    for pairs, name in (("seen", "scenes"), ("held_out", "held out")):
        scenes = world.render_scenes(world.sample_scenes(4, 11, pairs=pairs), resolution=64)
        check(scenes, WORLD_GOLD[name], WORLD, within=PIXELS)
    check(world.render_solids(world.sample_solids(3, 5)), WORLD_GOLD["solids"], WORLD, within=PIXELS)
    check(world.render_digits(world.sample_digits(4, 5)), WORLD_GOLD["digits"], WORLD, within=PIXELS)


def test_the_worlds_clouds():
    clouds = SolidClouds(np.array([0, 3]), 7)
    check(np.stack([clouds(0), clouds(1)]), WORLD_GOLD["clouds"], f"{WORLD} or pointclouds.VERSION", within=1e-3)


CLOUDS = "calip_core.pointclouds.VERSION"
VIEWS_GOLD = {
    "pointclip": [3.59381, 0.03851, -0.00876, 0.03243],
    "pointclip_v2": [225.11326, -0.06348, -0.00281, -0.01696],
    "bright_voxels": [-330.37146, 0.25741, 0.0065, 0.05373],
}


@pytest.mark.parametrize("views", VIEWS_GOLD)
def test_projected_clouds(views, tmp_path):
    nothing = CloudSplit(cloud, [], "none")
    splits = {"train": nothing, "val": nothing, "test": CloudSplit(cloud, [0, 1], "bands")}
    task = CloudTask("bands", "Bands", ("one", "two"), ("a {}.",), splits, "MIT", "made here", up="z", shuffled=True)
    test = view_task(task, Projection(views, points=300, turn="any", jitter=0.01, seed=3), tmp_path).splits["test"]
    inputs = [test.encoder_input(i, pytest.fail, 32) for i in range(len(test))]
    check(torch.stack(inputs), VIEWS_GOLD[views], CLOUDS, within=0.05)


SUBSETS = "calip_core.datasets.subsets.VERSION"
SUBSETS_GOLD = {
    "views": [56583.41874, -0.98562, 0.02523, 0.27506],
    "blurred": [34319.99641, 2.3805, -1.00732, -0.35846],
}


def test_augmented_and_blurred_pictures():
    split = Split(lambda index: pictures()[index], [0, 1])
    drawn = subsets.ImageSubset(split, [1, 0], augmentations=3, seed=4)
    check(np.stack([np.asarray(image) for image, _ in drawn]), SUBSETS_GOLD["views"], SUBSETS, within=PIXELS)
    blurred = subsets.blurred(split, 1.5)
    check(np.stack([np.asarray(image) for image, _ in blurred]), SUBSETS_GOLD["blurred"], SUBSETS, within=PIXELS)


def test_a_changed_output_says_which_number_to_raise():
    with pytest.raises(AssertionError, match=f"raise {WORLD} when you meant this change"):
        check(np.ones(10), [0.0] * 4, WORLD, within=PIXELS)


def test_versions_are_counted_from_one():
    stated = (world, pointclouds, subsets, texts, Backbone, DenseResNet, DenseViT, wrapper.OpenClipViT)
    assert all(isinstance(owner.VERSION, int) and owner.VERSION >= 1 for owner in stated)
