"""A dataset on the reader's disk: where it lies, which images or clouds its files name, and whether all are there."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import NamedTuple, overload

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from calip_core.datasets.cards import Card, Place
from calip_core.datasets.readers.folder import PhotoFiles
from calip_core.datasets.task import SPLITS, Split, Task
from calip_core.paths import atomic_path, cache_dir

MARKER = "STANDIN.json"
"""The file that says that a folder holds a procedural stand-in and how large it is meant to be."""
EACH = (("train",), ("val",), ("test",))
TRAIN_AND_VAL = (("train", "val"), ("test",))
ALL_TOGETHER = (("train", "val", "test"),)
SHOWN = 50
"""How many images a message names; of more, a file keeps the whole list."""


class MissingDatasetError(FileNotFoundError):
    """Nothing of the dataset is under the root."""


class IncompleteDatasetError(ValueError):
    """Part of the dataset is there: files that belong to it are absent, or too few."""


@dataclass(frozen=True)
class FilesBelow(Sequence[Path]):
    """Paths that start at one folder, made when they are asked for: ImageNet's, as objects, would take a gigabyte."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "FilesBelow": ...

    def __getitem__(self, index: int | slice) -> "Path | FilesBelow":
        if isinstance(index, slice):
            return FilesBelow(self.folder, self.names[index])
        return self.folder / self.names[index]


class Row(NamedTuple):
    """One image: its path below the folder of images, with ``/`` between the parts, and its class number.

    A cloud's is the same; where one file holds many, its row in the file follows, as in ``ply_data_test0.h5#00012``.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Listing:
    """What the files of a dataset say of it, before an image is looked at.

    Attributes:
        classnames: the name of class 0, 1, ... as it stands in a prompt.
        rows: split -> its images; a split that is left out is empty.
        split_source: what cut the images into splits.
        sizes: split -> images there should be.
        counted: splits whose images are counted together. Those that a rule of ours cuts apart are, as only their sum
            is a fact of the dataset.
        inside: whether the rows are parts of files, which were opened to list them: none can then be absent.
    """

    classnames: tuple[str, ...]
    rows: dict[str, list[Row]]
    split_source: str
    sizes: dict[str, int]
    counted: tuple[tuple[str, ...], ...] = EACH
    inside: bool = False


class Standin(BaseModel):
    """Content of ``STANDIN.json``: the loader then counts against this and not against the card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    made_by: str
    seed: int
    classes: PositiveInt
    images: PositiveInt


@dataclass(frozen=True)
class Found:
    """A dataset's folders on this disk.

    Attributes:
        card: of the dataset.
        folder: the dataset's own folder, where its lists and split file lie.
        images: what paths in those start at.
        place: the place on its card that this is, with all that its reader needs.
        standin: what its marker says, if it is a stand-in.
    """

    card: Card
    folder: Path
    images: Path
    place: Place
    standin: Standin | None = None

    def file(self, name: str) -> Path:
        """A file that the split needs, beside the images' folder or in it (where torchvision's archives have it).

        Raises:
            IncompleteDatasetError: it is in neither.
        """
        for base in (self.folder, self.images):
            if (base / name).is_file():
                return base / name
        split_file = self.card.layout.split_file if self.card.layout else None
        instead = f" (or, instead of all such lists, CoOp's {split_file})" if split_file else ""
        raise IncompleteDatasetError(
            f"{self.card.title} in {self.folder} is half there: it has no {name}; put it into that folder{instead}, "
            f"`calip fetch {self.card.name}` says where it comes from"
        )

    def lines(self, name: str) -> list[str]:
        """The lines of a text file that hold something, without the white space around them."""
        text = self.file(name).read_text(encoding="utf-8")
        return [line.strip() for line in text.splitlines() if line.strip()]


def find_dataset(card: Card, root: Path) -> Found:
    """Look for a dataset in each of the places that its card names.

    Raises:
        MissingDatasetError: the root, or the dataset's folder in it, is not there.
        IncompleteDatasetError: the folder is there, its images are not.
        ValueError: the card has no layout, or the stand-in's marker is damaged or another dataset's.
    """
    if card.layout is None:
        raise ValueError(f"{card.name} is no dataset on disk: load_task({card.name!r}) needs no files of yours")
    places = [card.layout.at(place) for place in card.layout.places]
    for place in places:
        images = root / place.folder / place.images
        if images.is_dir() and _is_its_own(place, images):
            folder = root / place.folder
            return Found(card, folder, images, place, _read_marker(folder, card.name))
    raise _absent(card, root, places)


def _is_its_own(place: Place, images: Path) -> bool:
    """Variants of ScanObjectNN share a folder: one is there if a file of its own is."""
    tables = _tables(place)
    return not tables or any((images / name).is_file() for name in tables)


def _tables(place: Place) -> list[str]:
    return [name for name in place.lists.values() if name.endswith(".h5")]


def _absent(card: Card, root: Path, places: Iterable[Place]) -> Exception:
    help_ = f"`calip fetch {card.name} --root {root}` downloads it or says which file to put where"
    if not root.is_dir():
        return MissingDatasetError(f"there is no data root {root.absolute()}, looked for {card.title} in it: {help_}")
    for place in places:
        folder = root / place.folder
        if place.folder != "." and folder.is_dir() and not (folder / place.images).is_dir():
            return IncompleteDatasetError(
                f"{card.title} is half there: {folder} has no folder {place.images} of {card.kind}. Was an archive "
                f"not, or not wholly, unpacked? {help_}"
            )
    looked = " or ".join(_looked_for(root, place) for place in places)
    return MissingDatasetError(f"{card.title} is not under {root}: looked for the folder {looked}; {help_}")


def _looked_for(root: Path, place: Place) -> str:
    tables = _tables(place)
    return str(root / place.folder / place.images) + (f" with {' and '.join(tables)}" if tables else "")


def _read_marker(folder: Path, name: str) -> Standin | None:
    path = folder / MARKER
    if not path.is_file():
        return None
    try:
        marker = Standin.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} does not describe a stand-in ({error}): remove {folder} and make it again") from error
    if marker.dataset != name:
        raise ValueError(f"{path} belongs to a stand-in of {marker.dataset!r}, expected {name!r}: remove {folder}")
    return marker


def read_json(path: Path) -> object:
    """The content of a JSON file.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): fetch it again") from error


def check_path(path: str, origin: Path | str) -> str:
    """A path as a list names it, if it stays below the folder of images.

    Raises:
        ValueError: it is absolute, or leads out of that folder by ``..``.
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise ValueError(
            f"{origin} names the file {path!r}, which leads out of the dataset's folder; expected a relative path "
            "without ..: do not trust this file, fetch it again"
        )
    return path


def check_disjoint(rows: Mapping[str, Iterable[Row]], origin: Path | str) -> None:
    """Refuse splits that share images: what is measured on test would have been learnt or chosen on.

    Raises:
        ValueError: an image is in two of the splits.
    """
    first: dict[str, str] = {}
    shared = [
        f"{row.path} ({first[name]} and {split})"
        for split, part in rows.items()
        for row in part
        if first.setdefault(name := normpath(row.path.replace("\\", "/")), split) != split
    ]
    if shared:
        raise ValueError(
            f"{origin} has {len(shared)} images in two splits: {name_all(shared, 'in two splits')}. Images of test may "
            "not be seen before the test: fetch the file again, or take them out of one split"
        )


def name_all(items: Sequence[str], what: str) -> str:
    """All of them, or the first ``SHOWN`` and the file in which all are."""
    text = ", ".join(items[:SHOWN])
    if len(items) <= SHOWN:
        return text
    content = "\n".join(items) + "\n"
    path = cache_dir() / "lists" / f"{what.replace(' ', '-')}-{hashlib.sha256(content.encode()).hexdigest()[:8]}.txt"
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError:  # the message matters more than the list
        return f"{text}, and {len(items) - SHOWN} more"
    return f"{text}, and {len(items) - SHOWN} more; all are listed in {path}"


def absent_rows(found: Found, listing: Listing, rows: Iterable[Row]) -> list[str]:
    """Paths of the rows without a file."""
    return [] if listing.inside else _absent_files(found.images, rows)


def _absent_files(images: Path, rows: Iterable[Row]) -> list[str]:
    """Every folder is listed once, which is faster than asking for every file."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        folder, _, name = row.path.rpartition("/")
        by_folder[folder].append(name)
    absent = []
    for folder, names in by_folder.items():
        present = _names(images / folder)
        absent += [f"{folder}/{name}".lstrip("/") for name in names if name not in present]
    return sorted(absent)


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def check_listing(found: Found, listing: Listing) -> None:
    """Refuse a dataset that is not whole.

    Raises:
        IncompleteDatasetError: images are absent, or there are fewer than the card (a stand-in's marker) says.
        ValueError: another number of classes, or more images.
    """
    rows = [row for split in SPLITS for row in listing.rows.get(split, [])]
    absent = absent_rows(found, listing, rows)
    if absent:
        named = name_all(absent, f"absent from {found.card.name}")
        raise IncompleteDatasetError(
            f"{found.card.title}: {len(absent)} of {len(rows)} {found.card.kind} that {listing.split_source} names are "
            f"not in {found.images}: {named}. Was the archive not wholly unpacked?"
        )
    _check_counts(found, listing, len(rows))


def _check_counts(found: Found, listing: Listing, images: int) -> None:
    marker = found.standin
    classes, judge = (marker.classes, MARKER) if marker else (found.card.classes, f"the card {found.card.name}.yaml")
    if len(listing.classnames) != classes:
        raise ValueError(
            f"{found.card.title} in {found.folder} has {len(listing.classnames)} classes by {listing.split_source}, "
            f"expected {classes} by {judge}: remove what does not belong to it, or fetch it again"
        )
    have = {split: len(listing.rows.get(split, [])) for split in SPLITS}
    if marker is None:
        expected = _sizes(listing.sizes)
        faults = [_sum(have, group) - _sum(listing.sizes, group) for group in listing.counted]
    else:
        expected, faults = f"{marker.images} in all", [images - marker.images]
    if any(faults):
        kind = IncompleteDatasetError if min(faults) < 0 else ValueError
        raise kind(
            f"{found.card.title} in {found.folder} has {_sizes(have)} {found.card.kind} by {listing.split_source}, "
            f"expected {expected} by {judge}: unpack the archives again, or replace the split file"
        )


def _sum(counts: dict[str, int], splits: tuple[str, ...]) -> int:
    return sum(counts[split] for split in splits)


def _sizes(counts: dict[str, int]) -> str:
    return "/".join(str(counts[split]) for split in SPLITS) + " (train/val/test)"


def make_task(found: Found, listing: Listing, templates: tuple[str, ...]) -> Task:
    """The checked listing as a task whose images are decoded when they are asked for, as the files store them."""
    check_listing(found, listing)
    card, standin = found.card, found.standin
    splits = {split: _split(found.images, listing.rows.get(split, [])) for split in SPLITS}
    return Task(
        name=card.name,
        title=f"{card.title} (stand-in)" if standin else card.title,
        classnames=listing.classnames,
        templates=templates,
        splits=splits,
        licence="MIT" if standin else card.licence,
        source=f"procedural pictures in the format of {card.title}, by {standin.made_by}" if standin else card.source,
        citation=card.citation,
        split_source=f"stand-in: {listing.split_source}" if standin else listing.split_source,
        standin=standin is not None,
    )


def _split(images: Path, rows: list[Row]) -> Split:
    files = PhotoFiles(FilesBelow(images, tuple(row.path for row in rows)), upright=False)
    return Split(files, [row.label for row in rows], paths=files.paths)
