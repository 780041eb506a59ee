"""A task: the classes, the prompt templates and the labelled images that a classifier is evaluated on."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Int64
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from calip_core.datasets.cards import CARD_DIR, Card
from calip_core.datasets.checks import SPLITS, check_classnames, check_templates
from calip_core.prompts import shared_names
from calip_core.templates import Templates

Preprocess = Callable[[Image.Image], Float[Tensor, "3 h w"]]
"""A backbone's preprocessing of a picture for its image encoder."""

Identity = str | Callable[[], str]
"""A fingerprint of certain images or clouds, or a function that returns it if computing it is expensive."""


class Split(Dataset[tuple[Image.Image, int]]):
    """Labelled images in a fixed order, decoded on access.

    Its images are determined by the content of ``paths`` and by ``identity``, or, if it has neither, by their pixels.

    Attributes:
        labels: the class number of every image, known without decoding.
        views: number of consecutive images of one item; they are drawn, classified and counted together.
        paths: the image files in the split's order; None if images do not have files of their own.
        depth_maps: whether the images are depth maps, which reach an encoder without CLIP's preprocessing. Their
            pictures are only for display: augmenting or distorting them would not change the encoder's input.
    """

    depth_maps: bool = False

    def __init__(
        self,
        read: Callable[[int], Image.Image],
        labels: Sequence[int] | Int[np.ndarray, " n"],
        *,
        views: int = 1,
        paths: Sequence[Path] | None = None,
        identity: Identity | None = None,
    ) -> None:
        """Combine images and labels.

        Args:
            read: returns image number 0 .. n-1 in RGB. It must be picklable, so that worker processes can read too.
            labels: class numbers from 0.
            views: consecutive images per item.
            paths: the files of the images, if any.
            identity: a fingerprint of everything besides those files that determines the images.
        """
        self._read = read
        self.labels: Int64[np.ndarray, " n"] = np.asarray(labels, dtype=np.int64)
        self.views, self.paths, self._identity = views, paths, identity

    @cached_property
    def identity(self) -> str | None:
        """A fingerprint of everything besides the files that determines the images, or None."""
        return self._identity() if callable(self._identity) else self._identity

    def encoder_input(self, index: int, preprocess: Preprocess, resolution: int) -> Float[Tensor, "3 h w"]:
        """The image encoder's input for one image.

        Args:
            index: number of the image.
            preprocess: the backbone's preprocessing, which turns a picture into the encoder's input.
            resolution: height and width of the encoder's input, in pixels.
        """
        return preprocess(self[index][0])

    def derived_identity(self, change: str) -> Callable[[], str] | None:
        """The identity of a split whose images result from this one's by ``change``; None if it has none."""
        return None if self.paths is None and self._identity is None else partial(_changed, self, change)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """The image and its label; a negative index counts from the end.

        Raises:
            IndexError: there is no such image.
        """
        position = range(len(self))[index]
        return self._read(position), int(self.labels[position])


def _changed(split: Split, change: str) -> str:
    return f"{split.identity}; {change}" if split.identity else change


@dataclass(frozen=True, eq=False)
class Task:
    """A classification benchmark: which of ``classnames`` does each image of ``splits["test"]`` show?

    Attributes:
        name: the name given to ``load_task``.
        title: title for headings and tables.
        classnames: the names of class 0, 1, ... as used in prompts. Two classes may share a name: that is allowed, with
            a ``UserWarning`` (except for the pairs in ImageNet's own list), since no prompt can distinguish them.
        templates: prompts with one ``{}`` where the class name goes; or class descriptions, name of a class -> prompts.
        splits: ``"train"``, ``"val"`` and ``"test"``.
        licence: licence of the images.
        source: where the images come from.
        citation: key in the book's bibliography, if there is a publication.
        split_source: the source of the splits, as stated in records: a split file, official lists, or a rule.
        standin: whether this is a stand-in of procedural pictures, whose results only show that the pipeline runs.
        part: how much of its dataset this is, if only a part of it is on the disk; else None.
        view_set: the view set, if the images are depth maps of point clouds; else None. ``splits[...].views``
            consecutive images then belong to one cloud.
        projection: for such a task, a description of how clouds become images.

    Raises:
        ValueError: there are no classes or templates, a class name is empty, a template does not have exactly one
            ``{}``, descriptions are not exactly of the classes, the splits differ from those three, or a label is not
            a class.
    """

    name: str
    title: str
    classnames: tuple[str, ...]
    templates: Templates
    splits: dict[str, Split]
    licence: str
    source: str
    citation: str | None = None
    split_source: str = "as its dataset card says"
    standin: bool = False
    part: str | None = None
    view_set: str | None = None
    projection: str | None = None

    def __post_init__(self) -> None:
        check_classnames(self.classnames, self.name)
        check_templates(self.templates, self.name, self.classnames)
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"task {self.name}: splits are {sorted(self.splits)}, expected {sorted(SPLITS)}")
        for split, images in self.splits.items():
            check_labels(images.labels, len(self.classnames), f"task {self.name}, split {split}")
        if doubles := shared_names(self.classnames):
            warnings.warn(
                f"task {self.name}: several classes share the name {', '.join(map(repr, doubles))}; a zero-shot "
                "classifier cannot tell them apart: give them different names if it should",
                UserWarning,
                stacklevel=3,
            )

    @classmethod
    def from_card(cls, card: Card, splits: dict[str, Split], classnames: tuple[str, ...] | None = None) -> "Task":
        """Make the task that a card describes, with the given images.

        Args:
            card: the dataset's card.
            splits: the labelled images.
            classnames: the names, if the card does not list them; if it does, they must be the same.

        Raises:
            ValueError: the names differ from the card's, so that labels might be matched with wrong names.
        """
        listed = card.listed_classnames()
        names = classnames or listed or ()
        if listed not in (None, names) or len(names) != card.classes:
            raise ValueError(
                f"card {card.name} expects {card.classes} classes, {listed or card.classnames_from}, but the task has "
                f"{len(names)}: {names}; bring the card in {CARD_DIR} up to date"
            )
        return cls(card.name, card.title, names, card.templates, splits, card.licence, card.source, card.citation)



def check_labels(labels: Int64[np.ndarray, " n"], classes: int, owner: str) -> None:
    """Refuse class numbers that have no name.

    Raises:
        ValueError: a label is below 0, or not below the number of classes.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ValueError(
            f"{owner}: number {wrong[0]} has label {labels[wrong[0]]}, expected 0 to {classes - 1}, as there are "
            f"{classes} class names"
        )
