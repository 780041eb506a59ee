"""UCF101's middle frames: official lists of videos, with classes in CamelCase in the lists and as words on disk."""

import re

from calip_core.datasets.readers.disk import Found, Listing, Row, check_path
from calip_core.datasets.readers.own_splits import readable, with_val

FOLDER = "ucfTrainTestlist"
CLASSES = f"{FOLDER}/classInd.txt"
LISTS = {"train": f"{FOLDER}/trainlist01.txt", "test": f"{FOLDER}/testlist01.txt"}


def read_ucf101(found: Found) -> Listing:
    """The first official partition: ``ApplyEyeMakeup/v_X.avi`` is the image ``Apply_Eye_Makeup/v_X.jpg``.

    Raises:
        ValueError: a list is missing, or a line is not as expected.
    """
    actions = [line.split()[-1] for line in found.lines(CLASSES)]
    numbers = {action: number for number, action in enumerate(actions)}
    rows = {split: [_row(line, numbers, found, name) for line in found.lines(name)] for split, name in LISTS.items()}
    return with_val(found, [readable(words(action), {}) for action in actions], rows, list(LISTS.values()))


def words(action: str) -> str:
    """``ApplyEyeMakeup`` -> ``Apply_Eye_Makeup``, the name of the folder."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))


def _row(line: str, numbers: dict[str, int], found: Found, source: str) -> Row:
    action, _, video = line.split()[0].partition("/")
    if action not in numbers or not video.endswith(".avi"):
        raise ValueError(f"{found.file(source)} has the line {line!r}, expected Action/video.avi, Action in {CLASSES}")
    return Row(check_path(f"{words(action)}/{video.removesuffix('.avi')}.jpg", source), numbers[action])
