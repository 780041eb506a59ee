"""Support sets: which few images of each class a few-shot head learns from.

``coop_support`` draws as CoOp's code does: the images are the same if a split lists its images in CoOp's order. Whose
draws a published number is of, by the code that goes with it:

- CoOp averages over the seeds 1, 2 and 3, and draws ``min(shots, 4)`` validation images per class after a support set.
  On ImageNet it draws from the files as ``os.listdir`` lists them, an order that depends on the file system.
- Tip-Adapter has the seed 1 alone, and chooses on the whole validation split (on ImageNet, on the test split).
- GDA averages over the seeds 1, 2 and 3, but one random stream per seed draws the sets of 1, 2, 4, 8 and 16 shots one
  after another: only the set of 1 shot is CoOp's. It chooses like Tip-Adapter.

On ImageNet, none of these can be drawn here: their code draws from all training images, and here the validation split
is cut off them first.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Int64
from numpy.typing import ArrayLike

from calip_core.datasets.subsets import subset
from calip_core.datasets.task import Split, Task
from calip_core.evaluation.shots import Short

MOST_VAL_SHOTS = 4
"""CoOp's maximum number of validation images per class; up to it, there are as many as training images."""

Indices = Int64[np.ndarray, "i"]


class SupportSet(NamedTuple):
    """Numbers of the drawn images in their splits, class by class.

    Attributes:
        train: those of the support set, in the train split.
        val: those of the validation images, in the val split.
    """

    train: Indices
    val: Indices


def support_split(
    task: Task, shots: int, seed: int, *, augmentations: int = 0, nested: bool = False, short: Short = "error"
) -> Split:
    """The support set of a task as a split: ``shots`` images of each class, drawn as CoOp draws them.

    Args:
        task: a task with a train split.
        shots: images per class, or clouds with all their views.
        seed: seed of the draw; CoOp's numbers are means over 1, 2 and 3.
        augmentations: augmented views per image; 0 uses the unmodified image. Point clouds have none.
        nested: make the set of 1 shot a subset of that of 2 shots, and so on.
        short: how to handle a class with fewer images, as for ``coop_support``.

    Raises:
        ValueError: as ``coop_support`` does, or augmentations are negative or requested for point clouds.
    """
    if augmentations < 0 or (augmentations and task.view_set):
        raise ValueError(f"augmentations is {augmentations}, expected 0 or more for images, and 0 for point clouds")
    train = task.splits["train"]
    drawn = coop_support(
        train.labels, shots, seed, classnames=task.classnames, views=train.views, nested=nested, short=short
    )
    return subset(train, drawn.tolist(), augmentations, seed)


def validation_split(
    task: Task, shots: int, seed: int, *, nested: bool = False, short: Short = "error"
) -> Split:
    """The ``min(shots, 4)`` validation images per class that CoOp draws after the support set.

    Args:
        task: a task with train and val splits.
        shots: shots of the support set; the other arguments are those of ``support_split``.

    Raises:
        ValueError: as ``coop_support`` does, for either split.
    """
    train, val = task.splits["train"], task.splits["val"]
    drawn = coop_support_and_val(
        train.labels, val.labels, shots, seed,
        classnames=task.classnames, views=train.views, nested=nested, short=short,
    ).val  # fmt: skip
    return subset(val, drawn.tolist())


def coop_support(
    labels: ArrayLike,
    shots: int,
    seed: int,
    *,
    classnames: Sequence[str] | None = None,
    views: int = 1,
    nested: bool = False,
    short: Short = "error",
) -> Indices:
    """Draw a support set by the procedure of CoOp (Dassl's ``DatasetBase.generate_fewshot_dataset``).

    ``Random(seed)`` goes through the classes in the order in which they first appear and samples each one's images
    without replacement. CoOp's draws for different numbers of shots are unrelated, unless ``nested`` is set.

    Args:
        labels: class numbers of all images of the train split, in its order.
        shots: images per class.
        seed: seed of the draw, 0 or more; CoOp's numbers are means over 1, 2 and 3.
        classnames: names of all required classes; by default, classes are numbered up to the largest label.
        views: number of consecutive images of one item (``Split.views``): items are drawn, with all their views.
        nested: make the set of 1 shot a subset of that of 2 shots, and so on. This differs from CoOp's draw.
        short: how to handle a class with fewer images than ``shots``: ``"error"`` refuses it, ``"take"`` takes all
            images in an order that is drawn, ``"repeat"`` draws images repeatedly, as Dassl did until 2021-10-09, and
            ``"dassl"`` takes all images in their order without drawing, as Dassl does since.

    Returns:
        Indices into the split, class by class in the order of the draw, the views of an item together.

    Raises:
        ValueError: fewer than one shot, a seed below 0, labels that are not integers or not a whole number of items, a
            class without any image, a class with fewer images than shots, an unknown ``short``, or ``nested`` with
            ``short="dassl"``.
    """
    _check_draw(shots, seed, short, nested)
    items = _items(labels, views)
    by_class = _by_class(items, classnames)
    return _draw(Random(seed), by_class, shots, "train", classnames, views=views, nested=nested, short=short)


def coop_support_and_val(
    labels: ArrayLike,
    val_labels: ArrayLike,
    shots: int,
    seed: int,
    *,
    classnames: Sequence[str] | None = None,
    views: int = 1,
    nested: bool = False,
    short: Short = "error",
) -> SupportSet:
    """The support set, and the few images that CoOp validates on, drawn after it from the same random stream.

    Args:
        labels: class numbers of the train split.
        val_labels: class numbers of the validation split, from which ``min(shots, 4)`` images per class are drawn.
        shots: images per class.
        seed: as for ``coop_support``, like the remaining arguments.

    Raises:
        ValueError: as ``coop_support`` does, for either split.
    """
    _check_draw(shots, seed, short, nested)
    rng, drawn = Random(seed), []
    for name, split, count in (("train", labels, shots), ("val", val_labels, min(shots, MOST_VAL_SHOTS))):
        items = _by_class(_items(split, views), classnames)
        drawn.append(_draw(rng, items, count, name, classnames, views=views, nested=nested, short=short))
    return SupportSet(*drawn)


def _check_draw(shots: int, seed: int, short: str, nested: bool) -> None:
    if shots < 1:
        raise ValueError(f"shots is {shots}, expected at least one image per class")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more: Python draws the same for a seed and its negative")
    if short not in get_args(Short):
        raise ValueError(f"short is {short!r}, expected one of {list(get_args(Short))}")
    if nested and short == "dassl":
        raise ValueError(
            "short is 'dassl' for nested support sets: a class that is taken without drawing changes the draws of the "
            "classes behind it, so the sets would not be nested: pass short='take'"
        )


def _items(labels: ArrayLike, views: int) -> Int64[np.ndarray, "t"]:
    """The label of every item, each with ``views`` consecutive images."""
    given = np.asarray(labels)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"labels are {given.dtype} of shape {given.shape}, expected one integer per image")
    if views < 1 or len(given) % views:
        raise ValueError(f"{len(given)} images with {views} views each: expected a whole number of items")
    by_item = given.astype(np.int64).reshape(-1, views)
    mixed = np.flatnonzero((by_item != by_item[:, :1]).any(axis=1))
    if len(mixed):
        raise ValueError(
            f"the {views} views of item {mixed[0]} have labels {by_item[mixed[0]].tolist()}, expected one label: "
            "give the number of views that the split has"
        )
    return by_item[:, 0]


def _by_class(labels: Int64[np.ndarray, "t"], classnames: Sequence[str] | None) -> dict[int, list[int]]:
    """The items of every class, with classes in order of first appearance as in CoOp's dictionary."""
    if len(labels) == 0:
        raise ValueError("this split has no images to draw from: choose another split or dataset")
    expected = int(labels.max()) + 1 if classnames is None else len(classnames)
    if labels.min() < 0 or labels.max() >= expected:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {expected - 1}")
    by_class: dict[int, list[int]] = {}
    for item, label in enumerate(labels.tolist()):
        by_class.setdefault(label, []).append(item)
    lacking = sorted(set(range(expected)) - set(by_class))
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {expected} classes have no image to draw, the first is "
            f"{_class(lacking[0], classnames)}: take a split with images of every class"
        )
    return by_class


def _draw(
    rng: Random,
    by_class: dict[int, list[int]],
    shots: int,
    split: str,
    classnames: Sequence[str] | None,
    *,
    views: int,
    nested: bool,
    short: Short,
) -> Indices:
    draw: Callable[[Random, list[int], int], list[int]] = _nested_shots if nested else _coop_shots
    drawn: list[int] = []
    for label, items in by_class.items():
        lacking = len(items) < shots
        if lacking and short == "error":
            raise ValueError(
                f"{_class(label, classnames)} has {len(items)} image{'s' * (len(items) != 1)}, fewer than {shots} "
                f"shots, in the {split} split: ask for fewer shots, or pass short='take' to take what there is, "
                "short='dassl' to take it as Dassl does, short='repeat' to repeat images (in a terminal: --short take)"
            )
        if lacking and short == "dassl":
            drawn += items
        else:
            drawn += draw(rng, items, min(shots, len(items)) if short == "take" else shots)
    firsts = np.array(drawn, dtype=np.int64) * views
    return (firsts[:, None] + np.arange(views)).ravel()


def _class(label: int, classnames: Sequence[str] | None) -> str:
    return f"class {label}" if classnames is None else f"class {label} ({classnames[label]})"


def _coop_shots(rng: Random, items: list[int], shots: int) -> list[int]:
    if len(items) >= shots:
        return rng.sample(items, shots)
    return rng.choices(items, k=shots)


def _nested_shots(rng: Random, items: list[int], shots: int) -> list[int]:
    """The first items of a full shuffle, which uses the same amount of the random stream for any number of shots."""
    order = rng.sample(items, len(items))
    return [order[i % len(order)] for i in range(shots)]
