"""Small tasks of images and of point clouds for tests of evaluations."""

import numpy as np
from PIL import Image

from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.datasets.task import Split, Task

NAMES = ("cat", "dog", "tree")


class Noise:
    """Reads noise that has nothing to do with its class."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


class Coloured:
    """Reads noisy pictures whose colour is their class."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 60, (64, 64, 3))
        pixels[..., index % 3] += 150
        return Image.fromarray(pixels.astype(np.uint8))


def noise_task(name="noise", val=12):
    sizes = {"train": 0, "val": val, "test": 25}
    splits = {
        split: Split(Noise(i), np.random.default_rng(i).integers(0, len(NAMES), size))
        for i, (split, size) in enumerate(sizes.items())
    }
    return Task(name, "Noise", NAMES, ("a {}.",), splits, "MIT", "drawn here")


def colour_task(name="colours", **sizes):
    sizes = {"train": 30, "val": 15, "test": 24} | sizes
    splits = {split: Split(Coloured(i), np.arange(size) % 3) for i, (split, size) in enumerate(sizes.items())}
    return Task(name, "Colours", NAMES, ("a {}.",), splits, "MIT", "drawn here")


class Blobs:
    """Reads clouds of 40 points; each class is long along another axis."""

    def __call__(self, index):
        rng = np.random.default_rng(index)
        return (rng.normal(size=(40, 3)) * np.roll([3, 1, 0.3], index % 3)).astype(np.float32)


def cloud_task(root, views="pointclip", train=0):
    sizes = {"train": train, "val": 9, "test": 12}
    splits = {split: CloudSplit(Blobs(), np.arange(size) % 3, split) for split, size in sizes.items()}
    clouds = CloudTask("blobs", "Blobs", NAMES, ("a {}.",), splits, "MIT", "drawn here")
    return view_task(clouds, Projection(views, points=40), root)
