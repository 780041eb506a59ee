"""A list of classes that lacks some: the images of those classes have no right answer on it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class ShortList:
    """The classes of a task, split into those on the list and those off it, both in ascending order.

    Attributes:
        listed: class numbers on the list.
        off: class numbers that were taken off it.
    """

    listed: Int[np.ndarray, " k"]
    off: Int[np.ndarray, " j"]

    @classmethod
    def draw(cls, classes: int, off: int, *, seed: int) -> "ShortList":
        """Take ``off`` of the classes off the list, drawn by ``seed``.

        Raises:
            ValueError: no class is taken off, or fewer than two stay.
        """
        if not 1 <= off <= classes - 2:
            raise ValueError(f"{off} of {classes} classes off the list: expected at least 1, and at least 2 that stay")
        drawn = np.random.default_rng(seed).permutation(classes)
        return cls(np.sort(drawn[off:]), np.sort(drawn[:off]))

    def places(self, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The place on the list of each image's class, from 0; -1 if it is off the list."""
        place = np.full(len(self.listed) + len(self.off), -1)
        place[self.listed] = np.arange(len(self.listed))
        return np.asarray(place[labels])
