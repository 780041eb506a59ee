"""The clouds of a dataset, from folders of meshes, lists of text files, or HDF5 tables."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from calip_core.datasets.readers.disk import Found, IncompleteDatasetError, Listing, Row, check_path
from calip_core.datasets.readers.folder import class_folders
from calip_core.datasets.readers.own_splits import layout_of, readable, with_val
from calip_core.pointclouds.hdf5 import read_labels

TABLE = ".h5"
SPLIT_FOLDERS = ("train", "test")


def off_folders(found: Found) -> Listing:
    """Meshes as in ModelNet's archives: ``class/train/*.off`` and ``class/test/*.off``.

    Raises:
        IncompleteDatasetError: a class has no meshes in one of its two folders.
        ValueError: a folder is not a class of the dataset.
    """
    folders = [folder for folder in class_folders(found.images, "meshes") if folder.name not in layout_of(found).drop]
    names = _readable_names([folder.name for folder in folders], found, found.images)
    rows = {
        split: [row for label, folder in enumerate(folders) for row in _off_rows(folder / split, label, found.images)]
        for split in SPLIT_FOLDERS
    }
    return with_val(found, names, rows, ["the folders train and test of every class"])


def _off_rows(folder: Path, label: int, below: Path) -> list[Row]:
    files = sorted(folder.glob("[!.]*.[oO][fF][fF]")) if folder.is_dir() else []
    if not files:
        raise IncompleteDatasetError(f"the folder {folder} has no OFF meshes: unpack the archive again")
    return [Row(file.relative_to(below).as_posix(), label) for file in files]


def text_lists(found: Found) -> Listing:
    """Sampled clouds as text: a list entry ``class_number`` stands for the file ``class/class_number.txt``.

    Raises:
        IncompleteDatasetError: a list is missing.
        ValueError: a line of a list does not name a cloud, or leaves the folder.
    """
    lists = found.place.lists
    lines = {split: [check_path(line, name) for line in found.lines(name)] for split, name in lists.items()}
    classes = _listed_classes(found) or sorted({_class_of(line) for group in lines.values() for line in group})
    numbers = {name: number for number, name in enumerate(classes)}
    rows = {split: [_text_row(line, numbers, lists[split], found) for line in group] for split, group in lines.items()}
    return with_val(found, _readable_names(classes, found, found.folder), rows, list(lists.values()))


def _class_of(line: str) -> str:
    return re.sub(r"_\d+$", "", line)


def _text_row(line: str, numbers: dict[str, int], origin: str, found: Found) -> Row:
    name = _class_of(line)
    if name not in numbers or name == line or "/" in line:
        raise ValueError(
            f"{found.file(origin)} has the line {line!r}, expected class_number, as in {next(iter(numbers))}_0001, "
            f"with one of the {len(numbers)} classes of {found.card.title}"
        )
    return Row(f"{name}/{line}.txt", numbers[name])


def hdf5_tables(found: Found) -> Listing:
    """Sampled clouds in HDF5 files, named by the card directly or through lists.

    The published lists contain paths on their authors' machine: only the file name is used, relative to the list.

    Raises:
        IncompleteDatasetError: a list, or a file that it names, is missing.
        ValueError: a file is damaged, or a label is not a class.
    """
    lists = found.place.lists
    classes = _listed_classes(found) or _card_classes(found)
    names = _readable_names(classes, found, found.folder)
    rows = {
        split: [row for file in _tables(found, name) for row in _table_rows(found, file, len(names))]
        for split, name in lists.items()
    }
    return dataclasses.replace(with_val(found, names, rows, list(lists.values())), inside=True)


def _tables(found: Found, name: str) -> list[str]:
    if name.endswith(TABLE):
        return [name]
    return [PurePosixPath(line.replace("\\", "/")).name for line in found.lines(name)]


def _table_rows(found: Found, name: str, classes: int) -> list[Row]:
    path = found.file(name)
    labels = read_labels(path).tolist()
    for row, label in enumerate(labels):
        if not 0 <= label < classes:
            raise ValueError(
                f"{path}: cloud {row} has the label {label}, expected 0 to {classes - 1}, as {found.card.title} has "
                f"{classes} classes here: is it another dataset's file?"
            )
    return [Row(f"{name}#{row:05}", label) for row, label in enumerate(labels)]


def _listed_classes(found: Found) -> list[str]:
    """The dataset's own list of classes, or an empty list if that file is missing."""
    name = found.place.class_names
    if name is None or not any((base / name).is_file() for base in (found.folder, found.images)):
        return []
    return found.lines(name)


def _card_classes(found: Found) -> Sequence[str]:
    """The classes on the card, of which a stand-in has the first few."""
    known = found.card.listed_classnames() or ()
    return known[: found.standin.classes] if found.standin else known


def _readable_names(classes: Sequence[str], found: Found, origin: Path) -> tuple[str, ...]:
    """Prompt names of the classes in the files.

    Raises:
        ValueError: one is not a class of the dataset, so its clouds would be evaluated as an extra class.
    """
    names = tuple(readable(name, layout_of(found).rename) for name in classes)
    known = found.card.listed_classnames() or names
    unknown = [raw for raw, name in zip(classes, names, strict=True) if name not in known]
    if unknown:
        raise ValueError(
            f"{origin} has the class {unknown[0]!r}, expected only classes of {found.card.title} ({', '.join(known)}): "
            "remove what does not belong to it; a folder of your own classes is read as points:PATH"
        )
    return names
