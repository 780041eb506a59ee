"""A dataset's own splits: from folders, from text lists, or cut by a rule; shared by several readers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from calip_core.datasets.cards import Layout
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.cuts import BY_RULE, VAL_BY_RULE, cut_class, cut_val
from calip_core.datasets.readers.disk import (
    ALL_TOGETHER,
    TRAIN_AND_VAL,
    Found,
    IncompleteDatasetError,
    Listing,
    Row,
    check_disjoint,
    check_path,
)
from calip_core.datasets.readers.folder import class_folders as sub_folders
from calip_core.datasets.readers.folder import image_files


def layout_of(found: Found) -> Layout:
    """The layout on the card of a found dataset."""
    assert found.card.layout is not None  # find_dataset refuses a card without one
    return found.card.layout


def own_sizes(found: Found) -> dict[str, int]:
    """The expected sizes of the dataset's own splits."""
    return found.place.own_sizes or found.card.sizes


def readable(name: str, rename: Mapping[str, str]) -> str:
    """A class name for prompts: renamed if listed in ``rename``, with ``_`` read as a space."""
    return rename.get(name, name).replace("_", " ").strip()


def by_class(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows grouped by class, in the order of class indices."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return [groups[label] for label in sorted(groups)]


def cut_in_three(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Cut every class into train, val and test."""
    cuts = [cut_class(group, _path) for group in by_class(rows)]
    return {split: [row for cut in cuts for row in sorted(cut[split])] for split in SPLITS}


def cut_val_off(rows: Iterable[Row], most: int | None = None) -> dict[str, list[Row]]:
    """Split val off the training images of every class, at most ``most`` per class."""
    cuts = [cut_val(group, _path, most) for group in by_class(rows)]
    return {split: [row for cut in cuts for row in sorted(cut[split])] for split in ("train", "val")}


def _path(row: Row) -> PurePosixPath:
    return PurePosixPath(row.path)


def folder_rows(folder: Path, label: int, below: Path) -> list[Row]:
    """One row per image in a class folder, with paths relative to ``below``."""
    try:
        files = image_files(folder)
    except ValueError as error:
        raise IncompleteDatasetError(f"the class folder {folder} has no images: unpack the archive again") from error
    prefix = folder.relative_to(below).as_posix()
    return [Row(f"{prefix}/{file.name}", label) for file in files]


def class_folders(found: Found) -> Listing:
    """One folder per class without any split, as in Caltech101 and EuroSAT; classes are sorted by folder name."""
    layout = layout_of(found)
    folders = [folder for folder in sub_folders(found.images) if folder.name not in layout.drop]
    rows = [row for label, folder in enumerate(folders) for row in folder_rows(folder, label, found.images)]
    names = tuple(readable(folder.name, layout.rename) for folder in folders)
    return Listing(names, cut_in_three(rows), BY_RULE, own_sizes(found), ALL_TOGETHER)


def path_lists(found: Found) -> Listing:
    """Text lists of paths ``class/image`` (Food101's lack ``.jpg``); without a list for val, it is cut from train."""
    lists = found.place.lists
    paths = {split: [_image_path(line, name) for line in found.lines(name)] for split, name in lists.items()}
    folders = sorted({path.split("/")[0] for group in paths.values() for path in group})
    numbers = {folder: number for number, folder in enumerate(folders)}
    rows = {split: [Row(path, numbers[path.split("/")[0]]) for path in group] for split, group in paths.items()}
    names = tuple(readable(folder, layout_of(found).rename) for folder in folders)
    return with_val(found, names, rows, [lists[split] for split in SPLITS if split in lists])


def _image_path(line: str, origin: str) -> str:
    path = check_path(line, origin)
    if "/" not in path:
        raise ValueError(f"{origin} has the line {line!r}, expected class/image")
    return path if path.lower().endswith((".jpg", ".jpeg", ".png")) else f"{path}.jpg"


def with_val(
    found: Found, names: Sequence[str], rows: Mapping[str, list[Row]], sources: Sequence[str]
) -> Listing:
    """The listing of official lists; if there is none for val, it is cut from train and ``split_source`` says so.

    Raises:
        ValueError: an image is in two lists.
    """
    source = ", ".join(sources)
    check_disjoint(rows, source)
    if "val" in rows:
        return Listing(tuple(names), dict(rows), source, own_sizes(found))
    splits = cut_val_off(rows["train"]) | {"test": rows["test"]}
    return Listing(tuple(names), splits, f"{source}; {VAL_BY_RULE}", own_sizes(found), TRAIN_AND_VAL)
