"""A point-cloud task: classes, prompt templates and labelled clouds, before projection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, Int64

from calip_core.datasets.checks import SPLITS, check_classnames, check_templates
from calip_core.datasets.task import Identity, check_labels
from calip_core.pointclouds.clouds import Cloud
from calip_core.pointclouds.names import UpAxis
from calip_core.templates import Templates


class CloudSplit:
    """Labelled clouds in a fixed order, as stored; each is read on access.

    Attributes:
        labels: the class number of every cloud, known without reading one.
    """

    def __init__(
        self,
        read: Callable[[int], Cloud],
        labels: Sequence[int] | Int[np.ndarray, " n"],
        identity: Identity,
        origin: Callable[[int], str] | None = None,
    ) -> None:
        """Join clouds and labels.

        Args:
            read: gives the points of cloud number 0 .. n-1, as many as are stored. It can be pickled.
            labels: class numbers from 0.
            identity: a text that changes when any of the clouds would.
            origin: names the file that cloud number 0 .. n-1 comes from, for messages, if there is one.
        """
        self._read, self._identity, self._origin = read, identity, origin
        self.labels: Int64[np.ndarray, " n"] = np.asarray(labels, dtype=np.int64)

    @cached_property
    def identity(self) -> str:
        """A text that changes when any of the clouds would: the content of files, seeds, versions of rules."""
        return self._identity() if callable(self._identity) else self._identity

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Cloud, int]:
        """The points and the label; a negative index counts from the end.

        Raises:
            IndexError: there is no such cloud.
        """
        position = range(len(self))[index]
        return self._read(position), int(self.labels[position])

    def origin(self, index: int) -> str | None:
        """The file that a cloud comes from; None for generated clouds."""
        return self._origin(index) if self._origin else None

    def fewest_points(self) -> int:
        """The number of stored points in the smallest cloud, an upper bound for all. Reads every cloud once."""
        return min(len(self._read(index)) for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class CloudTask:
    """A point-cloud benchmark. Fields have the same meaning as in an image ``Task``.

    Raises:
        ValueError: there are no classes or no templates, a class name is empty, a template has no ``{}``, class
            descriptions are not of the classes, the splits are not train, val and test, or a label is not a class.
    """

    name: str
    title: str
    classnames: tuple[str, ...]
    templates: Templates
    splits: dict[str, CloudSplit]
    licence: str
    source: str
    citation: str | None = None
    split_source: str = "as its dataset card says"
    standin: bool = False
    up: UpAxis = "y"
    """Which stored axis points up."""
    shuffled: bool = False
    """Whether to keep random points of a cloud instead of the first ones, because files may be in scan order."""

    def __post_init__(self) -> None:
        check_classnames(self.classnames, self.name)
        check_templates(self.templates, self.name, self.classnames)
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"task {self.name}: splits are {sorted(self.splits)}, expected {sorted(SPLITS)}")
        for split, clouds in self.splits.items():
            check_labels(clouds.labels, len(self.classnames), f"task {self.name}, split {split}")
