"""Datasets on disk: read by CoOp's split file if it is present, else by the dataset's own split."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from calip_core.datasets.cards import load_card
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.clouds import listings as cloud_listings
from calip_core.datasets.hub.mirror import list_mirror
from calip_core.datasets.readers import aircraft, cars, flowers, imagenet, own_splits, pets, sun397, ucf101
from calip_core.datasets.readers.disk import (
    Found,
    Listing,
    Row,
    check_disjoint,
    check_path,
    find_dataset,
    make_task,
    undoubled,
)
from calip_core.datasets.task import Task
from calip_core.paths import data_root
from calip_core.reading import read_json

READERS: dict[str, Callable[[Found], Listing]] = {
    "class_folders": own_splits.class_folders,
    "path_lists": own_splits.path_lists,
    "pets": pets.read_pets,
    "cars": cars.read_cars,
    "flowers": flowers.read_flowers,
    "aircraft": aircraft.read_aircraft,
    "sun397": sun397.read_sun397,
    "ucf101": ucf101.read_ucf101,
    "imagenet": imagenet.read_imagenet,
    "variant": imagenet.read_variant,
    "clouds_off": cloud_listings.off_folders,
    "clouds_text": cloud_listings.text_lists,
    "clouds_hdf5": cloud_listings.hdf5_tables,
    "tables": list_mirror,
}
"""Reader named by a card -> the function that reads the dataset's own split."""


def load_benchmark(name: str, root: Path | None = None) -> Task:
    """Load a dataset that has a card and whose files are on the user's disk.

    Args:
        name: name of the card.
        root: the parent folder of all datasets; by default, ``$CALIP_DATA`` or ``data/datasets``.

    Raises:
        FileNotFoundError: the dataset is missing (``MissingDatasetError``).
        ValueError: it is incomplete (``IncompleteDatasetError``), or its files are damaged or not as expected.
    """
    return load_with_template_sets(name, root)


def load_with_template_sets(name: str, root: Path | None = None, template_set: str | None = None) -> Task:
    """Like ``load_benchmark``, for ImageNet and its variants, whose cards name several sets of templates.

    Args:
        name: name of the card.
        root: the parent folder of all datasets.
        template_set: ``"1"``, ``"7"`` or ``"80"``; by default, the card's own templates.

    Raises:
        FileNotFoundError: the dataset is missing.
        ValueError: there is no such set of templates, or the dataset is incomplete or damaged.
    """
    card = load_card(name)
    if card.kind != "images":
        raise ValueError(f"{name} is a dataset of point clouds, expected one of images: load_clouds reads it")
    templates = card.choose_templates(template_set)
    found = find_dataset(card, root or data_root())
    return make_task(found, list_dataset(found), templates)


def list_dataset(found: Found) -> Listing:
    """The images or clouds by split: from CoOp's split file if present, else by the dataset's own split.

    Images that lie in a folder within a folder of the same name are found there.
    """
    renamed = found.place.reader == "tables"  # CoOp's paths mean nothing there
    if not renamed and (split_file := found.split_file()):
        listing = read_split_file(found, split_file)
    else:
        listing = READERS[found.place.reader or own_splits.layout_of(found).reader](found)
    return _where_they_lie(listing, found.images)


def _where_they_lie(listing: Listing, images: Path) -> Listing:
    tops = {row.path.partition("/")[0] for part in listing.rows.values() for row in part if "/" in row.path}
    deeper = {top for top in tops if undoubled(images / top) != images / top}
    if not deeper:
        return listing
    rows = {
        split: [Row(_deeper(row.path, deeper, images), row.label) for row in part]
        for split, part in listing.rows.items()
    }
    return replace(listing, rows=rows)


def _deeper(path: str, doubled: set[str], images: Path) -> str:
    top = path.partition("/")[0]
    return f"{top}/{path}" if top in doubled and not (images / path).is_file() else path


def read_split_file(found: Found, path: Path) -> Listing:
    """Read ``{"train": [[path, label, classname], ...], "val": [...], "test": [...]}``.

    Raises:
        ValueError: the file is not JSON or not such a mapping, a path leaves the dataset's folder, a class has two
            names, the labels are not 0, 1, ... without a gap, or an image is in two splits.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not set(SPLITS) <= set(content):
        shown = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} is not a split: it holds {shown}, expected the lists {', '.join(SPLITS)}")
    names: dict[int, str] = {}
    rows = {split: [_row(entry, names, path) for entry in _entries(content[split], split, path)] for split in SPLITS}
    check_disjoint(rows, path)
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"{path} is not a split: its labels are {sorted(names)[:10]} ..., expected 0, 1, 2, ...")
    rename = own_splits.layout_of(found).rename
    classnames = tuple(own_splits.readable(names[label], rename) for label in range(len(names)))
    return Listing(classnames, rows, path.name, found.card.sizes)


def _entries(entries: object, split: str, path: Path) -> list[object]:
    if not isinstance(entries, list):
        raise ValueError(f"{path} is not a split: {split} is {type(entries).__name__}, expected a list of images")
    return entries


def _row(entry: object, names: dict[int, str], origin: Path) -> Row:
    match entry:
        case [str(image), int(label), str(name)] if not isinstance(label, bool):
            if names.setdefault(label, name) != name:
                raise ValueError(f"{origin}: class {label} is called {names[label]!r} and {name!r}, expected one name")
            return Row(check_path(image, origin), label)
    raise ValueError(f"{origin} is not a split: an image is {entry!r}, expected [path, label, class name]")
