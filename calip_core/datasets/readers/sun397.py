"""SUN397: class folders below single letters, some with two levels; lists whose lines begin with ``/``."""

from calip_core.datasets.readers.disk import Found, Listing, Row, check_path
from calip_core.datasets.readers.own_splits import readable, with_val

CLASSES = "ClassName.txt"
LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read_sun397(found: Found) -> Listing:
    """The first official partition; classes in the order of ``ClassName.txt``.

    Raises:
        ValueError: a list is missing, or names an image that belongs to no class.
    """
    folders = found.lines(CLASSES)
    numbers = {folder: number for number, folder in enumerate(folders)}
    rows = {split: [_row(line, numbers, found, name) for line in found.lines(name)] for split, name in LISTS.items()}
    return with_val(found, [scene_name(folder) for folder in folders], rows, list(LISTS.values()))


def scene_name(folder: str) -> str:
    """``/c/church/indoor`` -> ``indoor church``: the letter dropped and the parts reversed."""
    parts = folder.strip("/").split("/")[1:]
    return readable(" ".join(reversed(parts)), {})


def _row(line: str, numbers: dict[str, int], found: Found, source: str) -> Row:
    folder = line.rpartition("/")[0]
    if folder not in numbers:
        raise ValueError(f"{found.file(source)} has the line {line!r}, expected /letter/class/image of {CLASSES}")
    return Row(check_path(line.lstrip("/"), source), numbers[folder])
