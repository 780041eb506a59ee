"""What shards and tables have in common: splits under several names, some of them absent, and tasks made of them."""

from collections.abc import Collection, Mapping
from pathlib import Path

from calip_core.datasets.checks import SPLITS
from calip_core.datasets.hub.catalogue import name_of
from calip_core.datasets.hub.origin import described, origin_of
from calip_core.datasets.readers.folder import PhotoFiles
from calip_core.datasets.task import Split, Task

SPELLINGS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
"""Name of a split on the hubs -> our name of it."""
FETCHED = "hub"
"""Folder below the datasets' root for repositories, as ``hub/OWNER/NAME``."""


def check_folder(path: Path, expected: str) -> None:
    """Refuse a path that is no folder; of one that can be fetched, say how.

    Args:
        path: where the user says that a dataset is.
        expected: which folder it should be, for the message.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
    """
    if not path.exists():
        above, owner, name = ("", "", *path.absolute().parts)[-3:]
        hint = f"`calip fetch {name_of(f'{owner}/{name}')}` brings it" if above == FETCHED else "check the path"
        raise FileNotFoundError(f"there is no folder {path.absolute()}: {hint}")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, expected the folder {expected}")


def splits_text(present: Collection[str]) -> str:
    """Which splits there are and which are absent: ``own splits train and test; val is absent``."""
    have = " and ".join(split for split in SPLITS if split in present)
    absent = [split for split in SPLITS if split not in present]
    lack = f"; {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} absent" if absent else ""
    return f"own split{'s' * (len(present) > 1)} {have}{lack}"


def task_of(
    path: Path,
    name: str,
    classnames: tuple[str, ...],
    templates: tuple[str, ...],
    splits: Mapping[str, Split],
    note: str,
) -> Task:
    """A task of the splits that are present; the others are empty, and ``split_source`` says that they are absent.

    Args:
        path: the folder.
        name: the task's name.
        classnames: names of the classes, in the order of the labels.
        templates: the prompts.
        splits: the splits that are present.
        note: more about the splits, for the record; may be empty.
    """
    origin, nothing = origin_of(path), Split(PhotoFiles(()), (), paths=())
    return Task(
        name=name,
        title=origin.repository if origin else f"Images in {path.name or path}",
        classnames=classnames,
        templates=templates,
        splits={split: splits.get(split, nothing) for split in SPLITS},
        licence="that of the dataset's publisher",
        source=str(origin or path),
        split_source=described(path, splits_text(splits) + note),
    )
