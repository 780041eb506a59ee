"""FGVCAircraft: lists with one line ``number name of the variant`` per image; names can contain spaces and ``/``."""

from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.disk import Found, Listing, Row, check_path
from calip_core.datasets.readers.own_splits import with_val

VARIANTS = "variants.txt"
LISTS = {split: f"images_variant_{split}.txt" for split in SPLITS}


def read_aircraft(found: Found) -> Listing:
    """The official lists of train, val and test; classes in the order of ``variants.txt``.

    Raises:
        ValueError: a list is missing, or names a variant that is not in ``variants.txt``.
    """
    names = found.lines(VARIANTS)
    numbers = {name: number for number, name in enumerate(names)}
    rows = {split: [_row(line, numbers, found, name) for line in found.lines(name)] for split, name in LISTS.items()}
    return with_val(found, names, rows, list(LISTS.values()))


def _row(line: str, numbers: dict[str, int], found: Found, source: str) -> Row:
    image, _, name = line.partition(" ")
    if name not in numbers:
        raise ValueError(f"{found.file(source)} has the line {line!r}, expected an image's number and a variant's name")
    return Row(check_path(f"{image}.jpg", source), numbers[name])
