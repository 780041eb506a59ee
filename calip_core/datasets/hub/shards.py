"""Webdataset shards in CLIP_benchmark's layout, read in place: ``wds:PATH``.

The layout is that of LAION-AI/CLIP_benchmark (``clip_benchmark/webdataset_builder.py``): ``SPLIT/0.tar``, ``1.tar`` and
so on, ``SPLIT/nshards.txt``, and beside the splits ``classnames.txt`` and ``zeroshot_classification_templates.txt``.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from calip_core.datasets.hub.origin import content_digests
from calip_core.datasets.hub.parts import SPELLINGS, check_folder, task_of
from calip_core.datasets.hub.shard_index import shard_rows
from calip_core.datasets.names import SHARDS, TABLES, own_prefix
from calip_core.datasets.readers.folder import TEMPLATES
from calip_core.datasets.readers.pictures import picture_in
from calip_core.datasets.task import Split, Task
from calip_core.reading import read_text, reading

NAMES, PROMPTS, KIND, COUNT = (
    "classnames.txt",
    "zeroshot_classification_templates.txt",
    "dataset_type.txt",
    "nshards.txt",
)
OTHER_KINDS = {
    "multilabel": "several labels per image",
    "retrieval": "captions instead of classes",
}
"""Kinds of CLIP_benchmark's datasets that no task here can be -> what they have."""


@dataclass(frozen=True)
class ShardImages:
    """Reads image i from its place in a shard.

    Attributes:
        paths: the shards.
        places: number of the shard, first byte and number of bytes of each image.
    """

    paths: tuple[Path, ...]
    places: Int64[np.ndarray, "n 3"]

    def __call__(self, index: int) -> Image.Image:
        shard, start, size = map(int, self.places[index])
        path, place = self.paths[shard], f"{self.paths[shard]}, byte {start}"
        with path.open("rb") as file, reading(place, "an image"):
            file.seek(start)
            content = file.read(size)
            if len(content) != size:
                raise ValueError(f"{size} bytes were there when it was indexed, {len(content)} are now")
        return picture_in(content, place)


def load_shards(path: Path, name: str) -> Task:
    """Make a task from webdataset shards.

    Every split keeps the order of its shards and of the images in them. A split without a folder is empty, and
    ``split_source`` says so. Where ``calip fetch`` has brought the shards, it names their repository and revision too.

    Args:
        path: the folder above ``train`` and ``test``.
        name: name of the task.

    Warns:
        UserWarning: there are no templates, or classes without any image.

    Raises:
        ImportError: the package webdataset is not installed.
        FileNotFoundError: there is no such folder.
        NotADirectoryError: ``path`` is a file.
        ValueError: the dataset is multi-label or for retrieval, a file is missing or damaged, shards are missing, an
            image has no label or two, or a label that is not the number of a class.
        OSError: a file cannot be opened.
    """
    _check_kind(path)
    classnames = _class_names(path)
    files = {ours: shard_files(folder) for ours, folder in _split_folders(path).items()}
    splits = {split: _split(paths, classnames, path) for split, paths in files.items()}
    used = np.unique(np.concatenate([split.labels for split in splits.values()]))
    if len(used) < len(classnames):
        unused = sorted(set(range(len(classnames))) - set(used.tolist()))
        warnings.warn(
            f"{path / NAMES} has {len(classnames)} names, but {len(unused)} of these classes have no image, such as "
            f"{classnames[unused[0]]!r}: is it the list of this dataset?",
            UserWarning,
            stacklevel=3,
        )
    return task_of(path, name, classnames, _templates(path), splits, "")


def _check_kind(path: Path) -> None:
    check_folder(path, "above the shards' folders train and test")
    file = path / KIND
    kind = read_text(file).strip().lower() if file.is_file() else "classification"
    if kind in OTHER_KINDS:
        raise ValueError(
            f"{file} says {kind!r}: this dataset has {OTHER_KINDS[kind]}, and only datasets of one class per image can "
            "be evaluated here"
        )
    if kind != "classification":
        raise ValueError(f"{file} says {kind[:80]!r}, expected classification or no such file")


def _class_names(path: Path) -> tuple[str, ...]:
    """The names as listed, one per line; a blank line would shift all later labels and is refused by the task."""
    file = path / NAMES
    if not file.is_file():
        raise ValueError(f"{path} has no {NAMES}{_instead(path)}")
    names = [line.strip() for line in read_text(file).rstrip().splitlines()]
    if blank := [number for number, line in enumerate(names) if not line]:
        raise ValueError(f"{file}: line {blank[0] + 1} is blank, expected the name of class {blank[0]}")
    return tuple(names)


def _instead(path: Path) -> str:
    """What to do with a folder that has no list of classes."""
    above = path.absolute().parent
    if (above / NAMES).is_file():
        return f": {above / NAMES} lies one level up: write {SHARDS}{above}"
    if own_prefix(path) == TABLES:
        return f": for the tables in this folder, write {TABLES}{path}"
    return ", which lists the classes in the order of the labels, one per line"


def _templates(path: Path) -> tuple[str, ...]:
    """The templates with ``{}`` for the class name, which CLIP_benchmark writes ``{c}``."""
    file = path / PROMPTS
    if not file.is_file():
        warnings.warn(f"{path} has no {PROMPTS}: its prompts are {TEMPLATES[0]!r}", UserWarning, stacklevel=4)
        return TEMPLATES
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    wrong = [line for line in lines if line.count("{c}") != 1 or "{}" in line]
    if wrong or not lines:
        shown = f"the template {wrong[0]!r}" if wrong else "no templates"
        raise ValueError(f"{file} has {shown}, expected one {{c}} per line, where the class name goes")
    return tuple(line.replace("{c}", "{}") for line in lines)


def _split_folders(path: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for spelling, ours in SPELLINGS.items():
        folder = path / spelling
        if not folder.is_dir():
            continue
        if ours in found:
            raise ValueError(f"{path} has the folders {found[ours].name} and {spelling}, expected one of the two")
        found[ours] = folder
    if not found:
        raise ValueError(
            f"{path} has none of the folders {', '.join(SPELLINGS)}, expected the shards of each split there"
        )
    return found


def shard_files(folder: Path) -> tuple[Path, ...]:
    """The shards of a split: ``0.tar``, ``1.tar`` and so on, as many as ``nshards.txt`` says.

    Raises:
        ValueError: the number is missing or wrong, or a shard is missing.
        OSError: a file cannot be opened.
    """
    file = folder / COUNT
    if not file.is_file():
        raise ValueError(f"{folder} has no {COUNT}, which says how many shards there are: fetch the dataset again")
    stated = read_text(file).strip()
    present = {entry.name for entry in folder.iterdir() if entry.suffix == ".tar"}
    wanted = [f"{number}.tar" for number in range(len(present))]
    if stated != str(len(present)) or not present or not present.issuperset(wanted):
        shown = ", ".join(sorted(present)[:5]) or "none"
        raise ValueError(
            f"{file} says {stated[:20]!r}, but {folder} has {len(present)} shards ({shown}), expected 0.tar, 1.tar, "
            "..., as many as it says: fetch the dataset again"
        )
    return tuple(folder / name for name in wanted)


def _split(paths: Sequence[Path], classnames: Sequence[str], folder: Path) -> Split:
    rows = [shard_rows(path) for path in paths]
    for path, part in zip(paths, rows, strict=True):
        _check_labels(part[:, 2], len(classnames), path, folder / NAMES)
    numbers = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
    starts, sizes, labels = np.concatenate(rows).T
    images = ShardImages(tuple(paths), np.stack([numbers, starts, sizes], axis=1))
    return Split(images, labels, identity=partial(_identity, tuple(paths), folder))


def _check_labels(labels: Int64[np.ndarray, " n"], classes: int, path: Path, names_file: Path) -> None:
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise ValueError(
            f"{path}: image {wrong[0]} has the class number {labels[wrong[0]]}, but {names_file} has {classes} names, "
            f"so expected 0 to {classes - 1}: one of the two files is of another dataset; fetch both again"
        )


def _identity(paths: tuple[Path, ...], folder: Path) -> str:
    return f"images of webdataset shards, as stored: {content_digests(paths, folder)}"
