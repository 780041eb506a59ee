"""Flowers102: numbered images, labels in MATLAB's format, and class names in a separate file."""

from collections.abc import Sequence

from calip_core.datasets.readers.cuts import BY_RULE
from calip_core.datasets.readers.disk import ALL_TOGETHER, Found, Listing, Row
from calip_core.datasets.readers.matlab import read_mat, whole_numbers
from calip_core.datasets.readers.own_splits import cut_in_three, with_val
from calip_core.paths import DATA_DIR
from calip_core.reading import read_json

NAMES = "cat_to_name.json"
LABELS = "imagelabels.mat"
OFFICIAL = "setid.mat"
PARTS = {"train": "trnid", "val": "valid", "test": "tstid"}
"""Split -> the variable of ``setid.mat`` with the numbers of its images, from 1."""
CLASSNAMES = DATA_DIR / "class_names" / "oxford_flowers.txt"
"""The class names, in the order of their numbers, if there is no ``cat_to_name.json``."""


def read_flowers(found: Found) -> Listing:
    """The official split if ``setid.mat`` is present, else a cut of 50/20/30 within every class.

    Names come from ``cat_to_name.json``, else from this repository's list.

    Raises:
        ValueError: a file is missing, damaged, or not as expected.
    """
    path = found.file(LABELS)
    labels = whole_numbers(read_mat(path, "labels"), path)
    rows = [Row(f"image_{number:05}.jpg", label - 1) for number, label in enumerate(labels, start=1)]
    names = _names(found)
    if not all(1 <= label <= len(names) for label in labels):
        raise ValueError(
            f"{path} has labels from {min(labels)} to {max(labels)}, expected 1 to {len(names)}, the "
            "number of class names"
        )
    if any((folder / OFFICIAL).is_file() for folder in (found.folder, found.images)):
        return with_val(found, names, _official(found, rows), [OFFICIAL])
    return Listing(names, cut_in_three(rows), f"{LABELS}, {BY_RULE}", found.card.sizes, ALL_TOGETHER)


def _official(found: Found, rows: Sequence[Row]) -> dict[str, list[Row]]:
    path = found.file(OFFICIAL)
    numbers = {split: whole_numbers(read_mat(path, part), path) for split, part in PARTS.items()}
    strange = [number for part in numbers.values() for number in part if not 1 <= number <= len(rows)]
    if strange:
        raise ValueError(f"{path} numbers the image {strange[0]}, expected 1 to {len(rows)}, the images of {LABELS}")
    return {split: [rows[number - 1] for number in part] for split, part in numbers.items()}


def _names(found: Found) -> tuple[str, ...]:
    path = found.folder / NAMES
    if not path.is_file():
        return tuple(CLASSNAMES.read_text(encoding="utf-8").splitlines())
    content = read_json(path)
    expected = [str(number) for number in range(1, len(content) + 1)] if isinstance(content, dict) else []
    if not isinstance(content, dict) or set(content) != set(expected):
        raise ValueError(f'{path} does not name classes: expected a mapping with the keys "1", "2", ... without a gap')
    return tuple(str(content[number]) for number in expected)
