"""OxfordPets: lists with one line ``name label species breed-number`` per image."""

from calip_core.datasets.readers.disk import Found, Listing, Row, check_path
from calip_core.datasets.readers.own_splits import readable, with_val

LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}


def read_pets(found: Found) -> Listing:
    """The official lists. A class is named after its files, without their number and in lower case.

    Raises:
        ValueError: a line is not as expected, or a list is missing.
    """
    names: dict[int, str] = {}
    rows = {split: [_row(line, names, found, name) for line in found.lines(name)] for split, name in LISTS.items()}
    classnames = [readable(names[label].lower(), {}) for label in sorted(names)]
    return with_val(found, classnames, rows, list(LISTS.values()))


def _row(line: str, names: dict[int, str], found: Found, source: str) -> Row:
    match line.split():
        case [image, label, _, _] if label.isdecimal() and "_" in image:
            names[int(label) - 1] = image.rpartition("_")[0]
            return Row(check_path(f"{image}.jpg", source), int(label) - 1)
    raise ValueError(f"{found.file(source)} has the line {line!r}, expected 'Breed_number label species breed-number'")
