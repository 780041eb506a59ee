"""Fetching a dataset: downloads where that is lawful and possible, instructions for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calip_core.datasets.cards import Card, Source, load_card
from calip_core.datasets.fetch.archives import is_archive, unpack
from calip_core.datasets.fetch.download import DownloadError, download, forget, verify
from calip_core.datasets.fetch.drive import download_from_drive
from calip_core.datasets.fetch.hub import fetch_repository
from calip_core.datasets.fetch.whereabouts import Whereabouts
from calip_core.datasets.inventory import Status, status
from calip_core.paths import atomic_path

DOWNLOADS = "downloads"
"""Folder below the root for downloads; it can be removed once a dataset is complete."""

UNTRIED = "[untried: written without a network]"


@dataclass(frozen=True)
class Fetched:
    """The outcome of a fetch.

    Attributes:
        done: files that were downloaded or unpacked, with their checksums.
        by_hand: what a person has to do.
        status: state of the dataset afterwards.
        failed: files whose URL does not answer, and for which no other source is known.
    """

    done: tuple[str, ...]
    by_hand: tuple[str, ...]
    status: Status
    failed: tuple[str, ...] = ()


def fetch(name: str, root: Path, *, progress: bool = True) -> Fetched:
    """Download and unpack the missing parts of a dataset, and say what has to be done by hand.

    An archive that a person has put into ``downloads/NAME`` is verified and unpacked like a downloaded one. A URL that
    does not answer does not prevent the other files from being fetched.

    Args:
        name: name of a dataset on disk.
        root: the parent folder of all datasets.
        progress: whether to show progress bars.

    Raises:
        ValueError: there is no such dataset, a stand-in is in its place, a checksum is wrong, or an archive is unsafe
            or damaged.
        OSError: the disk is full or not writable.
    """
    card = load_card(name)
    if card.layout is None:
        raise ValueError(f"{name} needs no download: load_task({name!r}) makes it or finds it among installed packages")
    before = status(name, root)
    if before.standin:
        raise ValueError(f"{before.folder} holds a procedural stand-in of {card.title}: remove it, then fetch again")
    work = _Work(card, root, progress)
    for again in (False, True):
        # Files in place are assumed complete at first; they are fetched again only if nothing else explains a gap.
        complete = status(name, root).state == "complete"
        if work.failed or work.waits_for_a_person() or (complete and again):
            break
        work.by_hand.clear()
        for source in card.sources:
            if not complete or (source.drive and source.optional):  # CoOp's split joins a dataset that was complete
                work.bring(source, again)
    by_hand, failed = (
        tuple(work.instruction(source, failure) for source, failure in group.items())
        for group in (work.by_hand, work.failed)
    )
    return Fetched(tuple(work.done), by_hand, status(name, root), failed)


class _Work:
    def __init__(self, card: Card, root: Path, progress: bool) -> None:
        self.card, self.root, self.progress = card, root, progress
        self.done: list[str] = []
        self.by_hand: dict[Source, str] = {}
        """Source that a person has to provide -> why its URL failed, if it has one."""
        self.failed: dict[Source, str] = {}

    def waits_for_a_person(self) -> bool:
        return any(self._is_needed(source) for source in self.by_hand)

    def bring(self, source: Source, again: bool) -> None:
        if source.whole and not (self.waits_for_a_person() or self._where().has(source)):
            return
        if source.hub:
            self._bring_tables(source)
            return
        path = self._download(source)
        there = self._where().has(source)
        if there and not again and (_stamp(path).is_file() or not path.is_file()):
            return
        digest = self._obtain(source, path, there)
        if digest is None:
            return
        self._place(source, path)
        verdict = "as published" if source.checksum else f"no checksum is published; recorded in {path.name}.sha256"
        self.done.append(f"{source.file}: sha256 {digest} ({verdict}){_untried(source)}")

    def _bring_tables(self, source: Source) -> None:
        assert source.hub is not None
        try:
            brought = fetch_repository(source.hub, self.root / source.gives, splits=source.splits)
        except (DownloadError, ImportError, ValueError) as error:
            self.failed[source] = str(error)
            return
        if brought.new:
            self.done.append(f"{source.file}: {brought}{_untried(source)}")

    def instruction(self, source: Source, failure: str) -> str:
        """What a person has to do for a source, and why its URL failed, given everything present by now."""
        goal, path = self._where().goal(source), self._download(source)
        where = f"put it at {goal}"
        if is_archive(source.file):
            where = f"put it at {path} and run this again, or unpack it yourself so that {goal} exists"
        check = (f" ({source.checksum})" if source.checksum else "") + _untried(source)
        if source.manual is None:
            where = f"run this again later, or fetch it elsewhere and {where}"
            return f"{source.file}{check}, {self._need(source)}: {failure}. To do: {where}."
        alike = next((other.file for other in self.by_hand if other.manual == source.manual), source.file)
        where_from = f"{failure}; " * bool(failure) + (f"as {alike}" if alike != source.file else source.manual)
        return f"{source.file}{check}, {self._need(source)}: {where_from}. To do: {where}."

    def _download(self, source: Source) -> Path:
        return self.root / DOWNLOADS / self.card.name / source.file

    def _where(self) -> Whereabouts:
        return Whereabouts.look(self.card, self.root)

    def _obtain(self, source: Source, path: Path, there: bool) -> str | None:
        """The download's SHA-256, or None if it failed or a person has to provide the file."""
        if path.is_file():
            return verify(path, source.checksum, progress=self.progress)
        failures = []
        for way in _ways(source):
            try:
                return way(path, source.checksum, progress=self.progress)
            except (DownloadError, ImportError) as error:
                failures.append(str(error))
        if failures and source.manual is None:
            self.failed[source] = "; ".join(failures)
        elif not there:
            self.by_hand[source] = "; ".join(failures)
        return None

    def _place(self, source: Source, path: Path) -> None:
        """Put a file where the loader looks for it. An unusable file without a published checksum is discarded.

        Raises:
            ValueError: the archive is damaged or unsafe, or does not contain what the card says.
        """
        try:
            _place(source, path, self._where(), self.progress)
        except ValueError as error:
            if source.checksum is not None:
                raise
            ours = bool(source.url or source.drive)
            forget(path, and_remove=ours)
            done = "it was removed: run the same command to fetch it anew" if ours else "replace it"
            raise type(error)(f"{error} ({path.name} has no published checksum; {done})") from error

    def _need(self, source: Source) -> str:
        others = [files for name, files in self.card.alternatives().items() if name != source.either]
        if source.either and self._is_needed(source):
            return f"needed, or instead {' or '.join(' and '.join(file.file for file in files) for files in others)}"
        return "needed" if self._is_needed(source) else "optional"

    def _is_needed(self, source: Source) -> bool:
        """Whether a source is needed: alternatives are not, once all files of another one are present.

        Beside a source that is the whole dataset, none is.
        """
        where = self._where()
        if not source.whole and any(other.whole and where.has(other) for other in self.card.sources):
            return False
        if source.either is None:
            return not source.optional
        others = [files for name, files in self.card.alternatives().items() if name != source.either]
        return not any(all(map(where.has, files)) for files in others)


def _ways(source: Source) -> list[Callable[..., str]]:
    """The downloads of a source's file, in the order in which they are tried."""
    if source.drive:
        return [partial(download_from_drive, source.drive)]
    return [partial(download, url) for url in (source.url, source.fallback) if url]


def _untried(source: Source) -> str:
    return f" {UNTRIED}" if source.untried else ""


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.unpacked")


def _place(source: Source, path: Path, where: Whereabouts, progress: bool) -> None:
    """Unpack an archive, or copy any other file, to where the loader looks; a stamp file marks completion."""
    if is_archive(source.file):
        unpack(path, where.into(source), source.inner, progress=progress)
    else:
        with atomic_path(where.goal(source)) as temporary:
            temporary.write_bytes(path.read_bytes())
    if not where.has(source):
        raise ValueError(f"{path} was unpacked, but {where.goal(source)} is not there: its content has changed")
    _stamp(path).touch()
