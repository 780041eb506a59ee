"""The state of each dataset under a root: missing, incomplete, part or complete."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calip_core.datasets.cards import disk_datasets, load_card
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.coop import list_dataset
from calip_core.datasets.readers.disk import (
    Found,
    Listing,
    MissingDatasetError,
    Row,
    absent_rows,
    check_listing,
    find_dataset,
    part_of,
)

State = Literal["missing", "incomplete", "part", "complete"]


@dataclass(frozen=True)
class Status:
    """One dataset under one root.

    Attributes:
        name: name of its card.
        state: the loader accepts what is complete, and a part of a dataset whose card allows it.
        found: images or clouds present per split, by the split file or rule in use; None if that cannot be determined.
        expected: images or clouds per split, according to the card.
        folder: its folder, if there is one.
        standin: whether it is a procedural stand-in.
        note: the split in use, or what is wrong.
    """

    name: str
    state: State
    found: dict[str, int] | None
    expected: dict[str, int]
    folder: Path | None
    standin: bool
    note: str


def inventory(root: Path, names: list[str] | None = None) -> list[Status]:
    """The state of every dataset under a root, or of the named ones. No image is decoded."""
    return [status(name, root) for name in names or disk_datasets()]


def status(name: str, root: Path) -> Status:
    """The state of one dataset, determined by the loader itself."""
    card = load_card(name)
    try:
        found = find_dataset(card, root)
    except MissingDatasetError as error:
        return Status(name, "missing", None, card.sizes, None, False, str(error))
    except (ValueError, OSError) as error:
        return Status(name, "incomplete", None, card.sizes, None, False, str(error))
    return _judge(found)


def _judge(found: Found) -> Status:
    card, counts = found.card, None
    try:
        listing = list_dataset(found)
        counts = {split: _present(found, listing, listing.rows.get(split, [])) for split in SPLITS}
        check_listing(found, listing)
    except (ValueError, OSError, ImportError) as error:
        return Status(card.name, "incomplete", counts, card.sizes, found.folder, found.standin is not None, str(error))
    part = part_of(found, listing)
    note = f"only a part: {part}; {listing.split_source}" if part else listing.split_source
    state: State = "part" if part else "complete"
    return Status(card.name, state, counts, card.sizes, found.folder, found.standin is not None, note)


def _present(found: Found, listing: Listing, rows: list[Row]) -> int:
    return len(rows) - len(absent_rows(found, listing, rows))
