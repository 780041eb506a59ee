"""Bringing a dataset to the reader's disk: downloads where that is lawful and possible, instructions for the rest."""

from dataclasses import dataclass
from pathlib import Path

from calip_core.datasets.archives import is_archive, unpack
from calip_core.datasets.cards import Card, Source, load_card
from calip_core.datasets.download import DownloadError, download, verify
from calip_core.datasets.inventory import Status, status
from calip_core.paths import atomic_path

DOWNLOADS = "downloads"
"""Folder below the root that keeps what was downloaded; it may be removed once a dataset is complete."""


@dataclass(frozen=True)
class Fetched:
    """What came of a fetch.

    Attributes:
        done: what was fetched or unpacked, with the checksum that was found.
        by_hand: what a person has to do.
        status: of the dataset afterwards.
        failed: files whose address does not answer, and for which nobody knows another.
    """

    done: tuple[str, ...]
    by_hand: tuple[str, ...]
    status: Status
    failed: tuple[str, ...] = ()


def fetch(name: str, root: Path, *, progress: bool = True) -> Fetched:
    """Download and unpack whatever of a dataset is not there, and say what has to be done by hand.

    An archive that a person has put into ``downloads/NAME`` is checked and unpacked like a downloaded one. A file whose
    address does not answer keeps none of the others from being brought.

    Args:
        name: of a dataset on disk.
        root: the folder above the datasets' folders.
        progress: whether to show bars.

    Raises:
        ValueError: no such dataset, a stand-in in its place, a wrong checksum, an unsafe or damaged archive.
        OSError: the disk is full or cannot be written.
    """
    card = load_card(name)
    if card.layout is None:
        raise ValueError(f"{name} needs no download: load_task({name!r}) makes it or finds it among installed packages")
    before = status(name, root)
    if before.standin:
        raise ValueError(f"{before.folder} holds a procedural stand-in of {card.title}: remove it, then fetch again")
    work = _Work(card, root, progress)
    for again in (False, True):
        # What is in place is taken for whole at first; only when nothing else explains a gap is it fetched once more.
        if status(name, root).state == "complete" or work.failed or work.waits_for_a_person():
            break
        work.by_hand.clear()
        for source in card.sources:
            work.bring(source, again)
    return Fetched(tuple(work.done), tuple(text for _, text in work.by_hand), status(name, root), tuple(work.failed))


class _Work:
    def __init__(self, card: Card, root: Path, progress: bool) -> None:
        self.card, self.root, self.progress = card, root, progress
        self.done: list[str] = []
        self.by_hand: list[tuple[Source, str]] = []
        self.failed: list[str] = []

    def waits_for_a_person(self) -> bool:
        return any(not source.optional for source, _ in self.by_hand)

    def bring(self, source: Source, again: bool) -> None:
        path = self.root / DOWNLOADS / self.card.name / source.file
        there = (self.root / source.gives).exists()
        if there and not again and (_stamp(path).is_file() or not path.is_file()):
            return
        digest = self._obtain(source, path, there)
        if digest is None:
            return
        _place(source, path, self.root)
        verdict = "as published" if source.checksum else f"no checksum is published; recorded in {path.name}.sha256"
        self.done.append(f"{source.file}: sha256 {digest} ({verdict})")

    def _obtain(self, source: Source, path: Path, there: bool) -> str | None:
        """The download's SHA-256, or None where it failed or a person has to bring it."""
        if path.is_file():
            return verify(path, source.checksum)
        failure = ""
        if source.url is not None:
            try:
                return download(source.url, path, source.checksum, progress=self.progress)
            except DownloadError as error:
                if source.manual is None:
                    self.failed.append(f"{source.file}, {_need(source)}: {error}")
                    return None
                failure = f"{error}; "
        if not there:
            alike = next((other.file for other, _ in self.by_hand if other.manual == source.manual), None)
            where_from = f"{failure}{f'as {alike}' if alike else source.manual}"
            self.by_hand.append((source, _instruction(source, path, self.root, where_from)))
        return None


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.unpacked")


def _place(source: Source, path: Path, root: Path) -> None:
    """Unpack an archive, or copy any other file, to where the loader looks; a stamp says when that was finished."""
    into = root / source.into
    if is_archive(source.file):
        unpack(path, into, source.inner)
    else:
        with atomic_path(into / source.file) as temporary:
            temporary.write_bytes(path.read_bytes())
    if not (root / source.gives).exists():
        raise ValueError(f"{path} was unpacked, but {root / source.gives} is not there: its content has changed")
    _stamp(path).touch()


def _instruction(source: Source, path: Path, root: Path, where_from: str) -> str:
    goal = root / source.gives
    if is_archive(source.file):
        where = f"put it at {path} and run this again, or unpack it yourself so that {goal} exists"
    else:
        where = f"put it at {goal}"
    check = f" ({source.checksum})" if source.checksum else ""
    return f"{source.file}{check}, {_need(source)}: {where_from}. To do: {where}."


def _need(source: Source) -> str:
    return "optional" if source.optional else "needed"
