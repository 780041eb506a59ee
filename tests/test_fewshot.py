"""Few-shot measurements: the same images for every head, drawn once, encoded once, counted once."""

import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split, Task
from calip_core.fewshot import DrawnImages, FewShotBench
from tests.backbones.clips import random_clip
from tests.test_benchmark import NAMES, cloud_task

SIZES = {"train": 30, "val": 15, "test": 24}


class Coloured:
    """Gives noisy pictures whose colour is their class."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 60, (64, 64, 3))
        pixels[..., index % 3] += 150
        return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def task():
    splits = {name: Split(Coloured(i), np.arange(size) % 3) for i, (name, size) in enumerate(SIZES.items())}
    return Task("colours", "Colours", NAMES, ("a {}.",), splits, "MIT", "drawn here")


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def bench(task, backbone, root):
    return FewShotBench(task, backbone, features=root, progress=False)


def test_a_support_set_has_its_shots_and_its_few_validation_images(bench):
    support, val = bench.support(8, seed=1)
    assert (np.bincount(support.labels) == 8).all() and (np.bincount(val.labels) == 4).all()
    assert len(support.tokens) == 24
    again, _ = bench.support(8, seed=1)
    other, _ = bench.support(8, seed=2)
    assert torch.equal(again.tokens.pooled, support.tokens.pooled) and again.source == support.source
    assert other.source != support.source


def test_nested_sets_lie_inside_each_other(bench):
    small, large = (bench.support(shots, seed=1, nested=True)[0].tokens.pooled for shots in (2, 4))
    assert all(any(torch.equal(row, candidate) for candidate in large) for row in small)


def test_a_record_says_what_was_measured(bench, task):
    record = bench.run("zero_shot", 2, seed=1)
    assert (record.images, record.classes, record.shots, record.seed) == (24, 3, 2, 1)
    assert record.top1 == record.clip_top1 and record.gain == 0 and record.parameters == 0
    assert record.correct().mean() == pytest.approx(record.top1)
    assert record.low <= record.top1 <= record.high
    assert record == type(record).model_validate_json(record.model_dump_json())


# A random network gives all images nearly one direction: the kernel of Tip-Adapter tells them apart less well.
@pytest.mark.parametrize(
    ("method", "least"), [("linear_probe", 0.9), ("gda", 0.9), ("clap", 0.9), ("tip_adapter", 0.6)]
)
def test_colours_are_learnt_from_a_few_images(bench, method, least):
    record = bench.run(method, 8, seed=1, hyperparameters="validation")
    assert record.top1 > max(least, record.clip_top1 + 0.2) and record.parameters > 0
    assert record.hyperparameters == "validation"


def test_more_shots_than_images_are_refused(bench):
    with pytest.raises(ValueError, match="has 10 images, fewer than 11 shots"):
        bench.run("tip_adapter", 11, seed=1)


def test_choosing_needs_a_validation_split(backbone, root):
    splits = {name: Split(Coloured(0), np.arange(0 if name == "val" else 12) % 3) for name in SIZES}
    task = Task("colours", "Colours", NAMES, ("a {}.",), splits, "MIT", "drawn here")
    bench = FewShotBench(task, backbone, features=root, progress=False)
    with pytest.raises(ValueError, match="no val images to choose on"):
        bench.run("gda", 2, seed=1, hyperparameters="validation")
    assert bench.run("gda", 2, seed=1).hyperparameters == "fixed"


def test_augmented_views_are_crops_that_depend_on_seed_image_and_view_alone(task):
    drawn = DrawnImages(task.splits["train"], [3, 7], augmentations=3, seed=5)
    before = torch.random.get_rng_state()
    views = [np.asarray(drawn[i][0]) for i in range(6)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(drawn) == 6 and drawn.labels.tolist() == [0, 0, 0, 1, 1, 1] and views[0].shape == (64, 64, 3)
    assert len({view.tobytes() for view in views}) == 6
    alone = DrawnImages(task.splits["train"], [7], augmentations=3, seed=5)
    assert (np.asarray(alone[1][0]) == views[4]).all()
    assert (np.asarray(DrawnImages(task.splits["train"], [3])[0][0]) == np.asarray(task.splits["train"][3][0])).all()


def test_augmented_rows_reach_the_heads(task, backbone, root):
    bench = FewShotBench(task, backbone, augmentations=2, features=root, progress=False)
    support, _ = bench.support(4, seed=1)
    assert len(support.tokens) == 24 and support.views == 2
    with pytest.raises(ValueError, match="augmentations is -1"):
        FewShotBench(task, backbone, augmentations=-1, features=root, progress=False)


def test_clouds_are_drawn_and_counted_whole(backbone, root):
    task = cloud_task(root)
    with pytest.raises(ValueError, match="and 0 for clouds"):
        FewShotBench(task, backbone, augmentations=2, features=root, progress=False)
    task.splits["train"] = task.splits["val"]
    bench = FewShotBench(task, backbone, features=root, progress=False)
    support, _ = bench.support(2, seed=1)
    assert len(support.tokens) == 2 * 3 * 6 and (support.thing_labels == [0, 0, 1, 1, 2, 2]).all()
    record = bench.run("gda", 2, seed=1)
    assert record.images == 12 and record.projection == "pointclip, 40 points"
