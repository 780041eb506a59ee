"""The one way in which classes without a split are cut into train, val and test: by a hash of their files' names."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TypeVar

from calip_core.datasets.checks import SPLITS

Item = TypeVar("Item")

TRAIN, VAL = 50, 20
"""Per cent of a class in a dataset without any split; the rest is test. CoOp's shares."""
VAL_OF_TRAIN = 20
"""Per cent of a class's training images that is val where a dataset has train and test alone, as in CoOp."""
BY_RULE = f"cut {TRAIN}/{VAL}/{100 - TRAIN - VAL} in every class by a hash of the file names"
VAL_BY_RULE = f"{VAL_OF_TRAIN} % of every class in train is val, by a hash of the file names"


def in_hash_order(items: Iterable[Item], path: Callable[[Item], PurePath]) -> list[Item]:
    """An order that looks random, is the same on every machine and hardly changes with one file more.

    It depends on the names of the files; where two folders hold files of one name, their paths decide.
    """

    def rank(item: Item) -> tuple[bytes, str]:
        file = path(item)
        # The name as it is stored: it need not be UTF-8.
        return hashlib.sha256(file.name.encode(errors="surrogateescape")).digest(), file.as_posix()

    return sorted(items, key=rank)


def cut_class(items: Iterable[Item], path: Callable[[Item], PurePath]) -> dict[str, list[Item]]:
    """Cut the images of one class into train, val and test.

    What does not divide evenly goes to test, so a class of a single image still has a test image.

    Args:
        items: the images.
        path: gives the path of one.
    """
    order = in_hash_order(items, path)
    first = len(order) * TRAIN // 100
    second = first + len(order) * VAL // 100
    return dict(zip(SPLITS, (order[:first], order[first:second], order[second:]), strict=True))


def cut_val(items: Iterable[Item], path: Callable[[Item], PurePath], most: int | None = None) -> dict[str, list[Item]]:
    """Split val off the training images of one class: a fifth, to the nearest image, but at most ``most``."""
    order = in_hash_order(items, path)
    size = round(len(order) * VAL_OF_TRAIN / 100)
    size = size if most is None else min(size, most)
    return {"train": order[size:], "val": order[:size]}
