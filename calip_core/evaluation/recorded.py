"""Which records answer what a run would measure now: those of the same data, the same split and the same weights."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from calip_core.backbones import MINIATURES, load_backbone
from calip_core.datasets import load_card
from calip_core.datasets.readers.coop import list_dataset
from calip_core.datasets.readers.disk import find_dataset
from calip_core.evaluation.record import RunRecord
from calip_core.features.manifest import precision_of
from calip_core.paths import data_root

_TOKENS = inspect.signature(load_backbone).parameters["tokens"].default


@dataclass(frozen=True)
class Data:
    """A dataset as it lies on this disk.

    Attributes:
        standin: whether it is a procedural stand-in.
        split_source: what cuts it into splits, as records state it; None where telling would take long.
    """

    standin: bool
    split_source: str | None = None


@dataclass(frozen=True)
class Encoder:
    """An image encoder whose weights may change under one name.

    Attributes:
        precision: in what and where it computes here, as records state it.
        weights: SHA-256 of its weights in that precision.
    """

    precision: str
    weights: str


@dataclass(frozen=True)
class Present:
    """What a run would measure now, as far as that can be told without running it; None where it cannot."""

    data: Data | None = None
    encoder: Encoder | None = None

    def agrees(self, record: RunRecord) -> bool:
        """Whether a record is of this data and this encoder; a stand-in's is of a stand-in alone."""
        if record.standin != (self.data is not None and self.data.standin) or record.token_space != _TOKENS:
            return False
        if self.data and self.data.split_source not in (None, record.split_source):
            return False
        comparable = self.encoder is not None and self.encoder.precision == record.precision
        return not comparable or self.encoder is None or self.encoder.weights == record.weights


def look(root: Path | None) -> Callable[[str, str], Present]:
    """A function that tells what a run of a dataset with a backbone would measure now; it looks at each only once.

    Args:
        root: of the datasets; ``data_root()`` when left out.
    """
    data, encoder = cache(lambda dataset: _data(dataset, root or data_root())), cache(_encoder)
    return lambda dataset, backbone: Present(data(dataset), encoder(backbone))


def _data(dataset: str, root: Path) -> Data | None:
    """Only a dataset that may have CoOp's split file has several splits; its lists are read, its images are not."""
    try:
        card = load_card(dataset)
        found = find_dataset(card, root)
        standin = found.standin is not None
        if card.layout is None or card.layout.split_file is None:
            return Data(standin)
        return Data(standin, "stand-in: " * standin + list_dataset(found).split_source)
    except (ValueError, OSError):  # not a dataset on disk, or not whole: a run would say so
        return None


def _encoder(backbone: str) -> Encoder | None:
    """Published weights do not change under their name; a miniature may be trained anew, a file replaced."""
    if backbone not in MINIATURES and not Path(backbone).is_file():
        return None
    try:
        loaded = load_backbone(backbone)
    except (ValueError, OSError):  # a run would say so
        return None
    return Encoder(precision_of(loaded), loaded.weights_sha256)
