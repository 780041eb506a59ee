"""What the feature stores on disk hold, and how to remove those that nobody needs any more."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from calip_core.features.manifest import Manifest
from calip_core.features.shards import read_manifest
from calip_core.paths import cache_dir

_REMOVED = ".removed-"
_DAY = 86_400


@dataclass(frozen=True)
class StoredFeatures:
    """One feature store on disk.

    Attributes:
        folder: the store's folder.
        manifest: what it holds; None if that cannot be read.
        files: number of shards that are there. Their checksums are checked when they are used.
        size: of all its files, in bytes.
        used: when an encoding or an evaluation used it last, in seconds since 1970.
    """

    folder: Path
    manifest: Manifest | None
    files: int
    size: int
    used: float

    @property
    def complete(self) -> bool:
        """Whether no shard is missing."""
        return self.manifest is not None and self.files == self.manifest.shards

    @property
    def days_unused(self) -> float:
        """Days since it was used last."""
        return (time.time() - self.used) / _DAY


def stored_features(root: Path | None = None) -> list[StoredFeatures]:
    """Every store below ``root``, by name; by default, of the user's cache."""
    folders = sorted(path.parent for path in (root or cache_dir() / "features").glob("*/manifest.json"))
    return [_look(folder) for folder in folders if not folder.name.startswith(_REMOVED)]


def _look(folder: Path) -> StoredFeatures:
    try:
        manifest = read_manifest(folder)
    except (ValueError, OSError):
        manifest = None
    files = len(list(folder.glob("[0-9]*.sha256")))
    return StoredFeatures(folder, manifest, files, size_of(folder), (folder / "manifest.json").stat().st_mtime)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what disappears meanwhile does not count."""
    return sum(_sizes(path)) if path.is_dir() else path.lstat().st_size


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue


def remove(store: StoredFeatures) -> bool:
    """Remove a store, unless a process is encoding into it. Returns whether it was removed.

    Raises:
        OSError: the folder cannot be changed.
    """
    with ExitStack() as held:
        try:
            for path in sorted((store.folder / "locks").glob("*.lock")):
                held.enter_context(FileLock(path).acquire(timeout=0))
        except Timeout:
            return False
        aside = store.folder.with_name(f"{_REMOVED}{secrets.token_hex(6)}")
        store.folder.rename(aside)  # at once, so that no process finds half a store
    shutil.rmtree(aside)
    return True
