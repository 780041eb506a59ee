"""Parts of splits: the same crops whoever decodes them, and whole clouds."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.backbones.base import Backbone
from calip_core.datasets.subsets import CloudSubset, ImageSubset, blurred, random_box, with_crops
from calip_core.datasets.task import Split
from calip_core.features import FeatureStore
from tests.backbones.clips import random_clip
from tests.evaluation.tasks import cloud_task


def noise(index):
    return Image.fromarray(np.random.default_rng(index).integers(0, 256, (48, 64, 3)).astype(np.uint8))


@dataclass(frozen=True)
class Files:
    """Reads pictures from files."""

    paths: tuple[Path, ...]

    def __call__(self, index):
        return Image.open(self.paths[index]).convert("RGB")


def never(picture):
    raise AssertionError("depth maps do not go through CLIP's preprocessing")


@pytest.fixture
def split():
    return Split(noise, np.arange(6) % 3)


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("rn"), precision="fp32")


def test_threads_that_decode_side_by_side_give_the_same_crops(split, backbone, tmp_path):
    stores = [
        FeatureStore.encode(
            backbone, ImageSubset(split, range(6), augmentations=8, seed=2), root=tmp_path / str(run), workers=workers,
            progress=False,
        )
        for run, workers in enumerate((8, 8, 1))
    ]  # fmt: skip
    first, second, alone = (store.tokens() for store in stores)
    assert len({store.manifest.source for store in stores}) == 1
    assert torch.equal(first.pooled, second.pooled) and torch.equal(first.spatial, second.spatial)
    assert torch.equal(first.pooled, alone.pooled)


def test_a_crop_keeps_half_the_area_or_more_and_lies_inside():
    rng, shares, shapes = np.random.default_rng(0), [], []
    for _ in range(500):
        left, top, right, bottom = random_box(rng, 200, 160)
        assert 0 <= left < right <= 200 and 0 <= top < bottom <= 160
        shares.append((right - left) * (bottom - top) / (200 * 160))
        shapes.append((right - left) / (bottom - top))
    assert 0.49 < min(shares) < 0.55 and 0.9 < max(shares) <= 1
    assert 0.74 < min(shapes) < 0.8 and 1.25 < max(shapes) < 1.35


def test_an_image_comes_before_its_crops_which_depend_on_the_seed(split):
    cropped, again, other = (with_crops(split, 3, seed) for seed in (1, 1, 2))
    pixels, same, different = ([np.asarray(one[i][0]) for i in range(len(one))] for one in (cropped, again, other))
    assert cropped.views == 4 and cropped.labels.tolist() == np.repeat(split.labels, 4).tolist()
    for row, picture in enumerate(pixels):
        assert (picture == same[row]).all() and picture.shape == (48, 64, 3)
        is_image = row % 4 == 0
        assert (picture == np.asarray(split[row // 4][0])).all() == is_image
        assert (picture == different[row]).all() == is_image


def test_crops_of_files_are_known_by_their_number_and_seed(tmp_path):
    files = Files(tuple(tmp_path / f"{i}.png" for i in range(2)))
    split = Split(files, np.arange(2), paths=files.paths)
    kinds = [with_crops(split, 2, 0), with_crops(split, 3, 0), with_crops(split, 2, 1), split]
    assert len({kind.identity for kind in kinds}) == 4
    assert kinds[0].paths == [files.paths[0]] * 3 + [files.paths[1]] * 3


def test_crops_are_of_images_and_at_least_one(split, tmp_path):
    with pytest.raises(ValueError, match="crops is 0, expected at least 1"):
        with_crops(split, 0)
    with pytest.raises(ValueError, match="the split holds views of point clouds, expected images"):
        with_crops(cloud_task(tmp_path).splits["test"], 3)


def test_where_no_crop_fits_it_is_the_largest_in_the_middle():
    assert random_box(np.random.default_rng(0), 1000, 30) == (480, 0, 520, 30)
    assert random_box(np.random.default_rng(0), 30, 1000) == (0, 480, 30, 520)


def test_drawn_files_are_known_by_their_names_and_their_crops_by_the_rule(tmp_path, backbone):
    files = Files(tuple(tmp_path / f"{i}.png" for i in range(3)))
    for i, path in enumerate(files.paths):
        noise(i).save(path)
    split = Split(files, np.arange(3), paths=files.paths)
    assert ImageSubset(split, [2, 0]).paths == [files.paths[2], files.paths[0]]
    assert len(ImageSubset(split, [2, 0], 3).paths) == 6
    assert ImageSubset(split, [2, 0]).identity is None
    kinds = (0, 1), (2, 1), (2, 2), (3, 1)
    sources = {
        FeatureStore.encode(backbone, ImageSubset(split, [0, 1], *kind), root=tmp_path, progress=False).manifest.source
        for kind in kinds
    }
    assert len(sources) == len(kinds)


def test_blurred_images_and_clouds_stay_what_they_are(split, tmp_path):
    out_of_focus = blurred(split, 2.0)
    assert (out_of_focus.labels == split.labels).all() and blurred(split, 0.0) is split
    assert np.asarray(out_of_focus[1][0]).std() < 0.5 * np.asarray(split[1][0]).std()
    clouds = cloud_task(tmp_path).splits["test"]
    changed = blurred(clouds, 3.0)
    assert changed.views == clouds.views == 6
    assert changed.depth_maps and not out_of_focus.depth_maps
    before, after = (x.encoder_input(7, never, 32) for x in (clouds, changed))
    assert before.shape == after.shape and after.std() < before.std()
    assert len({changed.identity, blurred(clouds, 2.0).identity, clouds.identity}) == 3
    drawn = CloudSubset(changed, range(6))
    assert drawn.depth_maps and drawn.encoder_input(0, never, 32).equal(changed.encoder_input(0, never, 32))
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="radius is"):
            blurred(split, bad)
