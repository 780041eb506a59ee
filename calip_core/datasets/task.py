"""A task: the classes, the prompt templates and the labelled images that a classifier is tried on."""

import warnings
from collections import Counter
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

Preprocess = Callable[[Image.Image], Float[Tensor, "3 h w"]]
"""A backbone's way from a picture to what its image encoder takes."""

Identity = str | Callable[[], str]
"""A text that changes when certain images or clouds do; as a function where telling takes work."""


class Split(Dataset[tuple[Image.Image, int]]):
    """Labelled images in a fixed order; an image is decoded when it is asked for.

    What its images are follows from the content of ``paths`` and from ``identity``, or, where it has neither, from
    their pixels.

    Attributes:
        labels: the class number of every image, known without decoding one.
        views: how many consecutive images show one thing, which is drawn, classified and counted as one.
        paths: the image files in the split's order; None where images are rendered and no file is theirs alone.
        depth_maps: whether the images are depth maps, which reach an encoder without CLIP's preprocessing. Their
            pictures are for people: augmenting or distorting those would change nothing that an encoder sees.
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
        """Join images and labels.

        Args:
            read: gives image number 0 .. n-1 in RGB. It can be pickled, so that worker processes can read too.
            labels: class numbers from 0.
            views: consecutive images per thing.
            paths: the files of the images, if they have some.
            identity: what the images depend on beside those files.
        """
        self._read = read
        self.labels: Int64[np.ndarray, " n"] = np.asarray(labels, dtype=np.int64)
        self.views, self.paths, self._identity = views, paths, identity

    @cached_property
    def identity(self) -> str | None:
        """A text that changes when what the images depend on beside the content of ``paths`` does; None: nothing."""
        return self._identity() if callable(self._identity) else self._identity

    def encoder_input(self, index: int, preprocess: Preprocess, resolution: int) -> Float[Tensor, "3 h w"]:
        """What an image encoder takes for one image.

        Args:
            index: of the image.
            preprocess: the backbone's, which turns a picture into what the backbone takes.
            resolution: height and width that the backbone takes, in pixels.
        """
        return preprocess(self[index][0])

    def derived_identity(self, change: str) -> Callable[[], str] | None:
        """The identity of a split whose images follow from this one's by ``change``; None where pixels have to tell."""
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
    """What a benchmark asks: which of ``classnames`` does each image of ``splits["test"]`` show?

    Attributes:
        name: what ``load_task`` was given.
        title: for headings and tables.
        classnames: the name of class 0, 1, ... as it stands in a prompt. Two classes may share a name (ImageNet's own
            list has such pairs): that is legal and gives a ``UserWarning``, since no prompt can tell them apart.
        templates: prompts with one ``{}`` where the class name goes.
        splits: ``"train"``, ``"val"`` and ``"test"``.
        licence: of the images.
        source: where the images come from.
        citation: key in the book's bibliography, if there is a publication.
        split_source: what cut the images into splits, as a result's record repeats it: a split file, official lists,
            or a rule.
        standin: whether this is a stand-in of procedural pictures, whose results say only that the pipeline runs.
        view_set: from where point clouds are looked at, where the images are depth maps of clouds; else None. Then
            ``splits[...].views`` consecutive images belong to one cloud.
        projection: for such a task, how clouds become images, in words.

    Raises:
        ValueError: no classes, an empty class name, no templates, a template without exactly one ``{}``, other splits,
            or a label that is no class.
    """

    name: str
    title: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    splits: dict[str, Split]
    licence: str
    source: str
    citation: str | None = None
    split_source: str = "as its dataset card says"
    standin: bool = False
    view_set: str | None = None
    projection: str | None = None

    def __post_init__(self) -> None:
        check_classnames(self.classnames, self.name)
        check_templates(self.templates, self.name)
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"task {self.name}: splits are {sorted(self.splits)}, expected {sorted(SPLITS)}")
        for split, images in self.splits.items():
            check_labels(images.labels, len(self.classnames), f"task {self.name}, split {split}")
        doubles = [name for name, count in Counter(self.classnames).items() if count > 1]
        if doubles:
            warnings.warn(
                f"task {self.name}: several classes share the name {', '.join(map(repr, doubles))}; a zero-shot "
                "classifier cannot tell them apart: give them different names if it should",
                UserWarning,
                stacklevel=3,
            )

    @classmethod
    def from_card(cls, card: Card, splits: dict[str, Split], classnames: tuple[str, ...] | None = None) -> "Task":
        """The task that a card describes, with the given images.

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
