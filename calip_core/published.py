"""Published numbers with their sources: the only reader of ``data/published/*.csv``."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from calip_core.paths import DATA_DIR

_COLUMNS: dict[str, Callable[[str], Any]] = {
    # the tables hold per cent, the library uses shares
    **dict.fromkeys(("top1", "clip"), lambda text: float(text) / 100),
    "backbone": lambda text: text or None,
    "shots": int,
    "weights": lambda text: tuple(float(weight) for weight in text.split()),
    **dict.fromkeys(("alpha", "beta", "alpha_max", "beta_max", "beta2", "beta3"), float),
}
"""How a column is read; all other columns are text."""

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Published:
    """A published zero-shot accuracy: a share from 0 to 1, how it was obtained, and its source.

    Attributes:
        backbone: None if the source does not state it.
        note: what sets the number apart, such as that an aggregator lists it; empty for most.
    """

    dataset: str
    backbone: str | None
    method: str
    top1: float
    note: str
    source: str


@dataclass(frozen=True)
class PublishedClouds:
    """A published accuracy on point clouds: a share from 0 to 1, how it was obtained, and its source.

    Attributes:
        backbone: None if the source does not state it.
    """

    dataset: str
    backbone: str | None
    method: str
    top1: float
    note: str
    source: str


@dataclass(frozen=True)
class PublishedFewShot:
    """A published few-shot accuracy: a share from 0 to 1, how it was obtained, and its source.

    Attributes:
        draws: the support sets that it is of, as the code of the source draws them.
        choices: which hyperparameters that code chooses, and on which labels.
    """

    dataset: str
    backbone: str
    method: str
    shots: int
    top1: float
    draws: str
    choices: str
    source: str


@dataclass(frozen=True)
class PublishedTrainingFree:
    """A published accuracy of a method without training, and that of the zero-shot CLIP that its source compares with.

    Attributes:
        data: the data and the backbone, in words; means over several datasets are unweighted.
        clip: the source's own zero-shot accuracy. Prompts differ between sources, and so do these.
    """

    method: str
    data: str
    clip: float
    top1: float
    source: str


@dataclass(frozen=True)
class PublishedBetas:
    """The paper's pair of blend weights for a dataset and a backbone."""

    dataset: str
    backbone: str
    beta2: float
    beta3: float
    source: str


@dataclass(frozen=True)
class PublishedViewWeights:
    """Weights of the views of a view set, in its order."""

    view_set: str
    dataset: str
    backbone: str
    weights: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class PublishedTip:
    """Initial values and search ranges of a published configuration of Tip-Adapter.

    Attributes:
        alpha: weight of the cache before any search.
        beta: its sharpness before any search.
        alpha_max: end of the weights searched, which start at 0.1.
        beta_max: end of the sharpnesses searched, which start at 0.1.
        source: file of the repository.
    """

    dataset: str
    backbone: str
    alpha: float
    beta: float
    alpha_max: float
    beta_max: float
    source: str


@cache
def published() -> tuple[Published, ...]:
    """All published zero-shot accuracies: ``data/published/zeroshot.csv``."""
    return _read("zeroshot", Published)


@cache
def published_clouds() -> tuple[PublishedClouds, ...]:
    """All published accuracies on point clouds: ``data/published/point_clouds.csv``."""
    return _read("point_clouds", PublishedClouds)


@cache
def published_few_shot() -> tuple[PublishedFewShot, ...]:
    """All published few-shot accuracies: ``data/published/fewshot.csv``."""
    return _read("fewshot", PublishedFewShot)


@cache
def published_training_free() -> tuple[PublishedTrainingFree, ...]:
    """Published accuracies of methods without training: ``data/published/training_free.csv``."""
    return _read("training_free", PublishedTrainingFree)


@cache
def published_betas() -> Mapping[tuple[str, str], PublishedBetas]:
    """(dataset, backbone) -> the paper's blend weights: ``data/published/calip_betas.csv``."""
    return {(row.dataset, row.backbone): row for row in _read("calip_betas", PublishedBetas)}


@cache
def published_view_weights() -> Mapping[tuple[str, str, str], PublishedViewWeights]:
    """(view set, dataset, backbone) -> weights of the views: ``data/published/view_weights.csv``.

    They are PointCLIP V2's. PointCLIP's own were not found: its released code has the search
    (``trainers/search_weights.py``) but no result of it, and its zero-shot run weights all views equally. All rows were
    chosen on test labels by their authors, as their source shows.
    """
    return {(row.view_set, row.dataset, row.backbone): row for row in _read("view_weights", PublishedViewWeights)}


@cache
def published_tips() -> Mapping[tuple[str, str], PublishedTip]:
    """(dataset, backbone) -> configuration of Tip-Adapter: ``data/published/tip_adapter.csv``."""
    return {(row.dataset, row.backbone): row for row in _read("tip_adapter", PublishedTip)}


def published_tip(dataset: str, backbone: str = "RN50") -> PublishedTip:
    """The published configuration of Tip-Adapter for a dataset.

    Raises:
        ValueError: there is none; the message lists the available ones.
    """
    table = published_tips()
    if (dataset, backbone) not in table:
        known = ", ".join(sorted(" with ".join(key) for key in table))
        raise ValueError(f"no published Tip-Adapter configuration for {dataset} with {backbone}, only for {known}")
    return table[dataset, backbone]


def _read(table: str, row_type: type[_Row]) -> tuple[_Row, ...]:
    with (DATA_DIR / "published" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(row_type(**{name: _COLUMNS.get(name, str)(text) for name, text in row.items()}) for row in rows)
