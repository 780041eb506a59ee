"""scikit-learn's digits, cut in the order of its file."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from calip_core import world
from calip_core.datasets import load_task


def test_splits_are_consecutive_parts_of_the_file():
    splits = load_task("digits").splits
    labels = np.concatenate([splits[name].labels for name in ("train", "val", "test")])
    assert labels.tolist() == load_digits().target.tolist()
    assert [len(splits[name]) for name in ("train", "val", "test")] == [898, 300, 599]


def test_pixels_are_the_files_own():
    splits, expected = load_task("digits").splits, load_digits().images
    for name, index, position in (("train", 0, 0), ("val", 0, 898), ("test", -1, 1796)):
        image = splits[name][index][0]
        assert image.size == (128, 128)
        pixels = np.asarray(image.resize((10, 10), Image.Resampling.BOX), dtype=float)
        assert (pixels == pixels[..., :1]).all()
        scan = np.pad(expected[position] * (255 / 16), 1)
        assert np.corrcoef(pixels[..., 0].ravel(), scan.ravel())[0, 1] > 0.98


def test_class_numbers_are_their_names():
    task = load_task("digits")
    assert task.classnames[0] == "zero"
    assert task.classnames[9] == "nine"
    assert all(set(split.labels) == set(range(10)) for split in task.splits.values())


def test_the_miniature_knows_the_prompts():
    task = load_task("digits")
    captions = set(world.captions_for(world.sample_digits(3000, 0), 0))
    assert {template.format(name) for template in task.templates for name in task.classnames} <= captions
