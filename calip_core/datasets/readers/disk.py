"""A dataset on the user's disk: finding it, and checking that every image or cloud that its files name is present."""

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import NamedTuple, overload

from pydantic import BaseModel, ConfigDict, PositiveInt

from calip_core.datasets.cards import Card, Place
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.folder import PhotoFiles
from calip_core.datasets.task import Split, Task
from calip_core.paths import atomic_path, cache_dir
from calip_core.reading import read_text, reading
from calip_core.templates import Templates

MARKER = "STANDIN.json"
"""The file that marks a folder as a procedural stand-in and states its size."""
EACH = (("train",), ("val",), ("test",))
TRAIN_AND_VAL = (("train", "val"), ("test",))
ALL_TOGETHER = (("train", "val", "test"),)
SHOWN = 50
"""How many images a message names; longer lists are written to a file."""


class MissingDatasetError(FileNotFoundError):
    """No part of the dataset is under the root."""


class IncompleteDatasetError(ValueError):
    """Only part of the dataset is present: some of its files are missing."""


@dataclass(frozen=True)
class FilesBelow(Sequence[Path]):
    """Paths below one folder, created on access: as objects, ImageNet's would take a gigabyte."""

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
    """One image or cloud.

    Attributes:
        path: path below the folder of images, with ``/`` between the parts. If one file contains many clouds, it ends
            in the row within the file, as in ``ply_data_test0.h5#00012``.
        label: class index.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Listing:
    """The images of a dataset as its files list them, before any image is opened.

    Attributes:
        classnames: the names of classes 0, 1, ... as worded in a prompt.
        rows: split -> its images; an absent split is empty.
        split_source: the file or rule that defines the splits.
        sizes: split -> expected number of images.
        counted: groups of splits whose images are counted together. Splits that our own rule separates are grouped,
            because only their total is a property of the dataset.
        inside: whether the rows are parts of files that have been opened already, so that none can be missing.
        split_of: makes a split of rows; by default, of files below the folder of images.
    """

    classnames: tuple[str, ...]
    rows: dict[str, list[Row]]
    split_source: str
    sizes: dict[str, int]
    counted: tuple[tuple[str, ...], ...] = EACH
    inside: bool = False
    split_of: Callable[[list[Row]], Split] | None = None


class Standin(BaseModel):
    """Content of ``STANDIN.json``; the loader compares sizes with it instead of with the card."""

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
        card: the dataset's card.
        folder: the dataset's own folder, which contains its lists and split file.
        images: the folder that paths in those files are relative to.
        place: the matching place on the card, with everything that its reader needs.
        standin: the content of the marker, if this is a stand-in.
    """

    card: Card
    folder: Path
    images: Path
    place: Place
    standin: Standin | None = None

    def file(self, name: str) -> Path:
        """A file that the split needs, beside the folder of images or inside it (as in torchvision's archives).

        Raises:
            IncompleteDatasetError: the file is in neither.
        """
        for base in (self.folder, self.images):
            if (base / name).is_file():
                return base / name
        split_file = self.card.layout.split_file if self.card.layout else None
        instead = f" (or, instead of all such lists, CoOp's {split_file})" if split_file else ""
        raise IncompleteDatasetError(
            f"{self.card.title} in {self.folder} is incomplete: it has no {name}; put it into that folder{instead}, "
            f"`calip fetch {self.card.name}` says where it comes from"
        )

    def split_file(self) -> Path | None:
        """CoOp's split file, if it is there; beside a folder within a folder of the same name, too."""
        name = self.card.layout.split_file if self.card.layout else None
        outer = self.folder.parent if self.folder.parent.name == self.folder.name else self.folder
        places = [folder / name for folder in (self.folder, outer)] if name else []
        return next((path for path in places if path.is_file()), None)

    def lines(self, name: str) -> list[str]:
        """The non-empty lines of a text file, stripped of surrounding white space."""
        return [line.strip() for line in read_text(self.file(name)).splitlines() if line.strip()]


def find_dataset(card: Card, root: Path) -> Found:
    """Look for a dataset in each place that its card names.

    Raises:
        MissingDatasetError: the root, or the dataset's folder below it, does not exist.
        IncompleteDatasetError: the folder exists, but not the images.
        ValueError: the card has no layout, or the stand-in's marker is damaged or belongs to another dataset.
    """
    if card.layout is None:
        raise ValueError(f"{card.name} is not a dataset on disk: load_task({card.name!r}) needs no files of yours")
    places = [card.layout.at(place) for place in card.layout.places]
    for place in places:
        folder = undoubled(root / place.folder)
        images = undoubled(folder / place.images)
        if images.is_dir() and _is_its_own(place, images):
            return Found(card, folder, images, place, _read_marker(folder, card.name))
    raise _absent(card, root, places)


def undoubled(folder: Path) -> Path:
    """The only folder within a folder if it has the same name: some copies are packed one level too deep."""
    inner = folder / folder.name
    if not inner.is_dir():
        return folder
    inside = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return inner if inside == [folder.name] else folder


def _is_its_own(place: Place, images: Path) -> bool:
    """Variants of ScanObjectNN share a folder: a variant is present if one of its own files is.

    A dataset whose images lie in several folders beside its lists is present if there is any folder.
    """
    if place.images == "." and place.folder != "." and place.reader == "cars":
        return any(entry.is_dir() for entry in images.iterdir())
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
                f"{card.title} is incomplete: {folder} has no folder {place.images} of {card.kind}. Was an archive "
                f"not unpacked completely? {help_}"
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
    with reading(path, "the mark of a stand-in"):
        marker = Standin.model_validate_json(path.read_bytes())
    if marker.dataset != name:
        raise ValueError(f"{path} belongs to a stand-in of {marker.dataset!r}, expected {name!r}: remove {folder}")
    return marker


def check_path(path: str, origin: Path | str) -> str:
    """Return a path from a list if it stays below the folder of images.

    Raises:
        ValueError: the path is absolute, or leaves that folder through ``..``.
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise ValueError(
            f"{origin} names the file {path!r}, which leads out of the dataset's folder; expected a relative path "
            "without ..: do not trust this file, fetch it again"
        )
    return path


def check_disjoint(rows: Mapping[str, Iterable[Row]], origin: Path | str) -> None:
    """Refuse splits that share images, because test images would then be used for training or validation.

    Raises:
        ValueError: an image is in two splits.
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
    """List all items, or the first ``SHOWN`` and the file that lists all of them."""
    text = ", ".join(items[:SHOWN])
    if len(items) <= SHOWN:
        return text
    content = "\n".join(items) + "\n"
    path = (
        cache_dir()
        / "lists"
        / f"{what.replace(' ', '-')}-{hashlib.sha256(content.encode(errors='surrogatepass')).hexdigest()[:8]}.txt"
    )
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8", errors="surrogateescape")
    except OSError:  # the message matters more than the list
        return f"{text}, and {len(items) - SHOWN} more"
    return f"{text}, and {len(items) - SHOWN} more; all are listed in {path}"


def absent_rows(found: Found, listing: Listing, rows: Iterable[Row]) -> list[str]:
    """Paths of the rows without a file."""
    return [] if listing.inside else _absent_files(found.images, rows)


def _absent_files(images: Path, rows: Iterable[Row]) -> list[str]:
    """Paths without a file; each folder is listed once, which is faster than testing every file."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        folder, _, name = row.path.rpartition("/")
        by_folder[folder].append(name)
    absent = []
    for folder, names in by_folder.items():
        present = names_in(images / folder)
        absent += [f"{folder}/{name}".lstrip("/") for name in names if name not in present]
    return sorted(absent)


def names_in(folder: Path) -> set[str]:
    """The names of the entries of a folder; none if there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def check_listing(found: Found, listing: Listing) -> None:
    """Refuse an incomplete dataset.

    Raises:
        IncompleteDatasetError: images are missing, or there are fewer than the card (or a stand-in's marker) says.
        ValueError: the number of classes differs, or there are more images.
    """
    rows = [row for split in SPLITS for row in listing.rows.get(split, [])]
    absent = absent_rows(found, listing, rows)
    if absent:
        named = name_all(absent, f"absent from {found.card.name}")
        raise IncompleteDatasetError(
            f"{found.card.title}: {len(absent)} of {len(rows)} {found.card.kind} that {listing.split_source} names are "
            f"not in {found.images}: {named}. Was the archive not unpacked completely?"
        )
    _check_counts(found, listing, len(rows))


def _check_counts(found: Found, listing: Listing, images: int) -> None:
    marker = found.standin
    classes, judge = (marker.classes, MARKER) if marker else (found.card.classes, f"the card {found.card.name}.yaml")
    may_lack = _may_lack(found)
    if len(listing.classnames) > classes or (len(listing.classnames) < classes and not may_lack):
        raise ValueError(
            f"{found.card.title} in {found.folder} has {len(listing.classnames)} classes by {listing.split_source}, "
            f"expected {classes} by {judge}: remove what does not belong to it, or fetch it again"
        )
    have = _have(listing)
    if marker is None:
        expected = _sizes(listing.sizes)
        faults = [_sum(have, group) - _sum(listing.sizes, group) for group in listing.counted]
    else:
        expected, faults = f"{marker.images} in all", [images - marker.images]
    if max(faults) > 0 or (min(faults) < 0 and not may_lack):
        kind = IncompleteDatasetError if min(faults) < 0 else ValueError
        raise kind(
            f"{found.card.title} in {found.folder} has {_sizes(have)} {found.card.kind} by {listing.split_source}, "
            f"expected {expected} by {judge}: unpack the archives again, or replace the split file"
        )


def _may_lack(found: Found) -> bool:
    return found.standin is None and found.card.layout is not None and found.card.layout.partial


def _have(listing: Listing) -> dict[str, int]:
    return {split: len(listing.rows.get(split, [])) for split in SPLITS}


def part_of(found: Found, listing: Listing) -> str | None:
    """How much of its dataset a checked listing is; None if it is all of it, or a stand-in."""
    have = _have(listing)
    whole = all(_sum(have, group) == _sum(listing.sizes, group) for group in listing.counted)
    if found.standin is not None or whole:
        return None
    images = ", ".join(f"{have[split]} of {listing.sizes[split]}" for split in SPLITS)
    classes = f"{len(listing.classnames)} of {found.card.classes} classes"
    return f"{classes}; {found.card.kind} ({', '.join(SPLITS)}): {images}"


def _sum(counts: dict[str, int], splits: tuple[str, ...]) -> int:
    return sum(counts[split] for split in splits)


def _sizes(counts: dict[str, int]) -> str:
    return "/".join(str(counts[split]) for split in SPLITS) + " (train/val/test)"


def make_task(found: Found, listing: Listing, templates: Templates) -> Task:
    """Check a listing and turn it into a task whose images are decoded on access, as stored."""
    check_listing(found, listing)
    card, standin, part = found.card, found.standin, part_of(found, listing)
    if part:
        warnings.warn(
            f"{card.title} in {found.folder} is only a part: {part}; its accuracies are not those of {card.title}",
            UserWarning,
            stacklevel=2,
        )
    split_of = listing.split_of or partial(_split, found.images)
    splits = {split: split_of(listing.rows.get(split, [])) for split in SPLITS}
    return Task(
        name=card.name,
        title=f"{card.title} (stand-in)" if standin else f"{card.title} (a part)" if part else card.title,
        classnames=listing.classnames,
        templates=templates,
        splits=splits,
        licence="MIT" if standin else card.licence,
        source=f"procedural pictures in the format of {card.title}, by {standin.made_by}" if standin else card.source,
        citation=card.citation,
        split_source=f"stand-in: {listing.split_source}" if standin else listing.split_source,
        standin=standin is not None,
        part=part,
    )


def _split(images: Path, rows: list[Row]) -> Split:
    files = PhotoFiles(FilesBelow(images, tuple(row.path for row in rows)), upright=False)
    return Split(files, [row.label for row in rows], paths=files.paths)
