"""Parquet tables with a column of images, read in place: ``parquet:PATH``.

They are what the Hub's viewer converts image datasets to and what the package ``datasets`` writes: files
``SPLIT-00000-of-00002.parquet`` (or ``SPLIT/0000.parquet``), with the names of the classes in the schema's metadata.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int64

from calip_core.datasets.hub.columns import Columns, columns_of, labels_of, row_groups
from calip_core.datasets.hub.origin import content_digests
from calip_core.datasets.hub.parts import SPELLINGS, check_folder, task_of
from calip_core.datasets.hub.table_images import TableImages
from calip_core.datasets.names import SHARDS, own_prefix
from calip_core.datasets.readers.folder import TEMPLATES
from calip_core.datasets.task import Split, Task

_NUMBERED = re.compile(r"(?P<split>.+)-(?P<number>\d{1,9})-of-(?P<count>\d{1,9})(-[0-9a-f]+)?")
HIDDEN = -1
"""The Hub's label of a test image whose class is not published."""


def load_tables(path: Path, name: str, image: str | None = None, label: str | None = None) -> Task:
    """Make a task from parquet tables.

    The classes are those of the label's ``ClassLabel``, with ``_`` read as a space. A split without a file, or with
    hidden labels alone, is empty, and ``split_source`` says so. Where ``calip fetch`` has brought the tables, it names
    their repository and revision too.

    Args:
        path: the folder of the files, or one above it.
        name: name of the task.
        image: the column of the images, if there are several.
        label: the column of the labels, if there are several.

    Warns:
        UserWarning: there are files of other splits, which are left out.

    Raises:
        ImportError: the package pyarrow is not installed.
        FileNotFoundError: there is no such folder.
        NotADirectoryError: ``path`` is a file.
        ValueError: there are no tables, a file is missing or damaged, or not of the same columns and classes as the
            others; there is no column of images or of class labels, or several; a label is missing or no class.
        OSError: a file cannot be opened.
    """
    files = table_files(path)
    columns = columns_of(next(iter(files.values()))[0], image, label)
    labels = {split: split_labels(paths, columns) for split, paths in files.items()}
    hidden = [split for split, values in labels.items() if len(values) and (values == HIDDEN).all()]
    splits = {split: table_split(files[split], columns, labels[split], path) for split in files if split not in hidden}
    if not splits:
        raise ValueError(f"{path} has no labels: all of them are {HIDDEN}, which means that they are not published")
    for split in splits:
        check_rows(labels[split], files[split], columns)
    classnames = tuple(written.replace("_", " ").strip() for written in columns.names)
    note = f" (labels of {' and '.join(hidden)} are not published)" if hidden else ""
    return task_of(path, name, classnames, TEMPLATES, splits, note)


def table_files(path: Path) -> dict[str, list[Path]]:
    """Our name of each split -> its files, in their order.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: ``path`` is a file.
        ValueError: there are no tables of a split that is known, files of a split are missing, or they lie in several
            folders.
    """
    check_folder(path, "of the tables train, validation and test")
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(path.rglob("*.parquet")):
        if not any(part.startswith(".") for part in file.relative_to(path).parts):
            groups[split_name(file)].append(file)
    known = {split: files for split, files in groups.items() if split in SPELLINGS}
    others = ", ".join(sorted(set(groups) - set(known)))
    if not known:
        raise ValueError(_without_split(path, next(iter(groups.values()), [])))
    if others:
        warnings.warn(f"left out of {path}: tables of other splits ({others})", UserWarning, stacklevel=4)
    return {SPELLINGS[split]: files for split, files in _checked(known, path).items()}


def _without_split(path: Path, others: Sequence[Path]) -> str:
    """What is said of a folder without a table of a known split."""
    splits = ", ".join(SPELLINGS)
    if others:
        return f"{others[0]} is named after no split ({splits}): rename it, such as to test.parquet"
    if own_prefix(path) == SHARDS:
        return f"{path} has no tables: for the shards in this folder, write {SHARDS}{path}"
    return f"{path} has no tables, expected such as data/test-00000-of-00001.parquet: {splits}"


def split_name(file: PurePath) -> str:
    """``train`` for ``train-00000-of-00002.parquet``, ``train/0000.parquet`` and ``train.parquet``."""
    numbered = _NUMBERED.fullmatch(file.stem)
    return numbered["split"] if numbered else file.parent.name if file.stem.isdecimal() else file.stem


def _checked(files: dict[str, list[Path]], path: Path) -> dict[str, list[Path]]:
    for split, paths in files.items():
        folders = {file.parent for file in paths}
        if len(folders) > 1:
            shown = " and ".join(sorted(str(folder) for folder in folders)[:2])
            raise ValueError(f"{path} has tables of {split} in {shown}: name one of these folders")
        numbered = [match for file in paths if (match := _NUMBERED.fullmatch(file.stem))]
        counts, numbers = {int(match["count"]) for match in numbered}, [int(match["number"]) for match in numbered]
        if numbered and (len(counts) > 1 or len(numbered) != len(paths) or numbers != [*range(len(paths))]):
            raise ValueError(
                f"{paths[0].parent} has the tables {numbers} of {split}, expected 0 to the last: fetch again"
            )
        if numbered and len(paths) != min(counts):
            raise ValueError(f"{paths[0].parent} has {len(paths)} of {min(counts)} tables of {split}: fetch the others")
    twice = [split for split in files if sum(SPELLINGS[split] == SPELLINGS[other] for other in files) > 1]
    if twice:
        raise ValueError(f"{path} has tables of {' and '.join(twice)}, expected one of the two")
    return files


def split_labels(paths: Sequence[Path], columns: Columns) -> Int64[np.ndarray, " n"]:
    """The labels of a split, after checking that all its files have the same columns and classes.

    Raises:
        ValueError: a file is damaged or has other columns or classes, or a label is missing.
        OSError: a file cannot be opened.
    """
    return np.concatenate([labels_of(path, columns) for path in paths])


def check_rows(labels: Int64[np.ndarray, " n"], paths: Sequence[Path], columns: Columns) -> None:
    """Refuse labels of a split that are no classes; the message names the split's files."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(columns.names)))
    if len(wrong):
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} to {paths[-1].name}"
        raise ValueError(
            f"{where}: image {wrong[0]} has the label {labels[wrong[0]]} in {columns.label!r}, expected 0 to "
            f"{len(columns.names) - 1}, as its ClassLabel has {len(columns.names)} names; fetch the dataset again"
        )


def table_split(paths: Sequence[Path], columns: Columns, labels: Int64[np.ndarray, " n"], folder: Path) -> Split:
    """The images of a split's files below a folder, in their order."""
    groups = [(number, group, rows) for number, path in enumerate(paths) for group, rows in enumerate(row_groups(path))]
    images = TableImages(tuple(paths), np.array(groups, np.int64).reshape(-1, 3), columns.image)
    return Split(images, labels, identity=partial(_identity, tuple(paths), folder, columns.image))


def _identity(paths: tuple[Path, ...], folder: Path, column: str) -> str:
    return f"images of parquet tables, column {column}, as stored: {content_digests(paths, folder)}"
