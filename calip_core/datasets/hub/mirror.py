"""A dataset of the literature as tables of a mirror on the Hub: files are renamed, so CoOp's split cannot be used."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from calip_core.datasets.hub.columns import Columns, columns_of
from calip_core.datasets.hub.origin import origin_of
from calip_core.datasets.hub.tables import check_rows, split_labels, table_files, table_split
from calip_core.datasets.readers.cars import year_first
from calip_core.datasets.readers.cuts import VAL_BY_RULE
from calip_core.datasets.readers.disk import EACH, TRAIN_AND_VAL, Found, Listing, Row
from calip_core.datasets.readers.imagenet import imagenet_names
from calip_core.datasets.readers.own_splits import cut_val_off, own_sizes, readable
from calip_core.datasets.subsets import subset
from calip_core.datasets.task import Split


def list_mirror(found: Found) -> Listing:
    """The tables below a folder as the images of a card's dataset; val is cut from train if the mirror has none.

    Raises:
        ImportError: the package pyarrow is not installed.
        ValueError: a table is missing, damaged or not of the same classes as the others, a split that the card needs is
            absent, or the classes are in another order than the card's.
        OSError: a table cannot be opened.
    """
    files, serves = table_files(found.images), found.place.lists or {"train": "train", "test": "test"}
    if absent := sorted(set(serves.values()) - set(files)):
        raise ValueError(f"{found.images} has no tables of {' and '.join(absent)}: fetch {found.card.name} again")
    columns = columns_of(files[next(iter(serves.values()))][0])
    tables = {split: _Tables(found.images, files[other], columns) for split, other in serves.items()}
    rows = {split: table.rows for split, table in tables.items()}
    cut = cut_val_off(rows["train"]) if "train" in rows else {}
    return Listing(
        _class_names(found, columns.names),
        rows | cut,
        _source(found, serves) + (f"; {VAL_BY_RULE}" if cut else ""),
        own_sizes(found),
        TRAIN_AND_VAL if cut else EACH,
        inside=True,
        split_of=partial(_split_of, list(tables.values())),
    )


def _source(found: Found, serves: Mapping[str, str]) -> str:
    """What records say: whose splits these are, and that CoOp's cannot be used if there is one."""
    origin = origin_of(found.images) or found.images.name
    own = " and ".join(split if split == other else f"{other} as {split}" for split, other in serves.items())
    coops = found.card.layout is not None and found.card.layout.split_file is not None
    return f"own {own} of {origin}" + (", a mirror that renames files: not CoOp's split" if coops else "")


def _class_names(found: Found, names: Sequence[str]) -> tuple[str, ...]:
    """The names as CoOp writes them, as far as that follows from the mirror's."""
    if found.card.name == "stanford_cars":
        return tuple(map(year_first, names))
    if found.card.name == "imagenet":
        return imagenet_names(found, names)
    return tuple(readable(name, {}) for name in names)


class _Tables:
    """The tables of one of the mirror's splits, with one row per image, named after its table."""

    def __init__(self, folder: Path, paths: Sequence[Path], columns: Columns) -> None:
        labels = [split_labels([path], columns) for path in paths]
        for path, part in zip(paths, labels, strict=True):
            check_rows(part, [path], columns)
        self.split = table_split(paths, columns, np.concatenate(labels), folder)
        self.rows = [
            Row(f"{path.relative_to(folder).as_posix()}#{number:06d}", label)
            for path, part in zip(paths, labels, strict=True)
            for number, label in enumerate(part.tolist())
        ]
        self.numbers = {row.path: number for number, row in enumerate(self.rows)}


def _split_of(tables: Sequence[_Tables], rows: list[Row]) -> Split:
    """The split of these rows, which all belong to one of the mirror's splits."""
    owner = next(table for table in tables if not rows or rows[0].path in table.numbers)
    return subset(owner.split, [owner.numbers[row.path] for row in rows])
