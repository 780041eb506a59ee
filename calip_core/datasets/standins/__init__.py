"""Small procedural stand-ins for the datasets on disk, in the exact format of each, for users without the data."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from calip_core.datasets.cards import Card, Place, load_card
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.coop import list_dataset
from calip_core.datasets.readers.disk import MARKER, Found, Listing, Standin
from calip_core.datasets.standins.cloud_formats import CLOUD_CLASSES, CLOUD_WRITERS
from calip_core.datasets.standins.formats import IMAGE_CLASSES, WRITERS
from calip_core.datasets.standins.pictures import Pictures
from calip_core.datasets.standins.solids import Solids

__all__ = ["CLASSES", "write_standin"]

CLASSES: dict[str, tuple[str, ...]] = {**IMAGE_CLASSES, **CLOUD_CLASSES}
"""Classes available to a stand-in, named as in the dataset's own files."""
FEW = 10
"""Classes of a stand-in by default, at most."""
MADE_BY = "calip standin"
RESOLUTION = 128
CLOUDS = "clouds_"
"""Prefix of the names of cloud readers; the format follows."""


def write_standin(
    name: str,
    root: Path,
    *,
    classes: int | None = None,
    images: int = 10,
    seed: int = 0,
    split_file: bool = True,
    resolution: int = RESOLUTION,
    layout: str | None = None,
) -> Path:
    """Write a small stand-in for a dataset under ``root``, in CoOp's layout; the real loader reads it.

    The pictures come from the procedural world: every class shows one pair of colour and shape, among distractors.
    Class names are the dataset's own, so a zero-shot classifier is at chance, while one that learns from images is not.
    A marker file states that this is a stand-in and how large it is, and the loaded task says so too. Point clouds are
    sampled from simple solids, one per class.

    Args:
        name: name of a card with a layout.
        root: the parent folder of all datasets.
        classes: number of classes, taken from the start of ``CLASSES``; by default, ``FEW``, or all if there are fewer.
        images: images (or clouds) per class, over all splits.
        seed: seed of the pictures or solids.
        split_file: whether to write CoOp's JSON too, if the dataset has one; without it, the dataset's own lists are
            read.
        resolution: pixels per side.
        layout: the format of a point-cloud dataset that exists in several: ``"hdf5"``, ``"text"`` or ``"off"``; by
            default, the first one on its card.

    Returns:
        The dataset's folder.

    Raises:
        ValueError: there is no such dataset, a number is out of range, or the dataset does not have this layout.
        FileExistsError: the folder exists already; nothing is overwritten.
        OSError: the folder cannot be written.
    """
    card = load_card(name)
    known = CLASSES.get(name)
    if card.layout is None or known is None:
        raise ValueError(f"{name} has no stand-in, expected one of {', '.join(CLASSES)}")
    count = _checked(name, classes, len(known), images)
    place = _choose_place(card, layout)
    folder = root / place.folder
    if folder.exists():
        raise FileExistsError(f"{folder} exists already and is not overwritten: remove it or choose another root")
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=root, prefix=".standin-"))
    try:
        found = Found(card, work, work / place.images, place)
        _write(found, known[:count], images, seed, resolution, split_file)
        work.chmod(0o755)  # mkdtemp's 0700 would lock other readers out
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _write(
    found: Found, classes: tuple[str, ...], images: int, seed: int, resolution: int, split_file: bool
) -> None:
    card = found.card
    assert card.layout is not None
    if card.kind == "clouds":
        CLOUD_WRITERS[found.place.reader or ""](found, classes, images, Solids(seed))
    else:
        WRITERS[card.name](found.folder, classes, images, Pictures(seed, resolution))
    listing = _describe(found, len(classes), seed)
    if split_file and card.layout.split_file:
        _write_split_file(found.folder / card.layout.split_file, listing)


def _checked(name: str, classes: int | None, known: int, images: int) -> int:
    count = min(known, FEW) if classes is None else classes
    if not 2 <= count <= known:
        raise ValueError(f"classes is {classes}, expected 2 to {known}, the names that the stand-in of {name} knows")
    if images < 5:
        raise ValueError(f"images is {images}, expected at least 5 per class, so that no split is empty")
    return count


def _choose_place(card: Card, layout: str | None) -> Place:
    """The first place on the card, or the first one in this format."""
    assert card.layout is not None
    places = [card.layout.at(place) for place in card.layout.places]
    if layout is None:
        return places[0]
    formats = [str(place.reader).removeprefix(CLOUDS) for place in places if str(place.reader).startswith(CLOUDS)]
    if layout not in formats:
        raise ValueError(f"layout is {layout!r}, but {card.name} has {', '.join(dict.fromkeys(formats)) or 'none'}")
    return places[formats.index(layout)]


def _describe(found: Found, classes: int, seed: int) -> Listing:
    """Write the marker; its number of images is that of the dataset's own split, read back."""
    listing = list_dataset(found)
    count = sum(len(rows) for rows in listing.rows.values())
    marker = Standin(dataset=found.card.name, made_by=MADE_BY, seed=seed, classes=classes, images=count)
    (found.folder / MARKER).write_text(marker.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return listing


def _write_split_file(path: Path, listing: Listing) -> None:
    """Write CoOp's JSON for a listing, with ``_`` for spaces in class names as in CoOp's files."""
    names = [name.replace(" ", "_") for name in listing.classnames]
    content = {split: [[*row, names[row.label]] for row in listing.rows.get(split, [])] for split in SPLITS}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
