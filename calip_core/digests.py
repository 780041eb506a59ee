"""SHA-256 of files, cached: a file that did not change since it was read is not read again.

Caches and records are identified by the *content* of files. Sizes and times are only a shortcut: they decide whether
the digest in the user's cache may be used, never what it is.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from tqdm.auto import tqdm

from calip_core.paths import cache_dir

INDEX = "digests.sqlite3"
"""The index's name in the user's cache."""

_CREATE = (
    "CREATE TABLE IF NOT EXISTS digests_1 "
    "(path BLOB PRIMARY KEY, size INT, modified INT, changed INT, digest TEXT NOT NULL) WITHOUT ROWID"
)
_TOGETHER = 500  # paths per query; SQLite allows 999 variables in its oldest builds
_SAVED_TOGETHER = 4096  # files that are hashed before the index learns of them: what an interruption can cost
_WAIT_SECONDS = 30.0  # for another process that is writing
# A file may change twice within one tick of the file system's clock: recent changes are not cached.
_YOUNG_NS = 2_000_000_000

_State = tuple[int, int, int]
"""Size in bytes, time of the last modification, and of the last change of the file's entry, in nanoseconds."""


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, from the index if the file is unchanged.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    return file_digests([path])[0]


def file_digests(paths: Sequence[Path]) -> list[str]:
    """Hexadecimal SHA-256 of the content of each file, in order; a repeated path is read once.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    names = [os.fsencode(os.path.abspath(path)) for path in paths]
    states = {name: _state(name) for name in dict.fromkeys(names)}
    known = _remembered(states)
    missing = [name for name in states if name not in known]
    bar: tqdm[NoReturn] = tqdm(total=len(missing), desc="reading files", unit="file", delay=2, leave=False)
    with bar:
        for part in _parts(missing, _SAVED_TOGETHER):
            found = dict(zip(part, _hashed(part, bar), strict=True))
            _remember(found, states)
            known |= found
    return [known[name] for name in names]


def sha256_of(path: Path | bytes) -> str:
    """Hexadecimal SHA-256 of a file, which is always read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashed(names: Sequence[bytes], bar: "tqdm[NoReturn]") -> Iterator[str]:
    """Threads are used because hashing and reading release Python's lock."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="digest") as pool:
        for digest in pool.map(sha256_of, names):
            bar.update()
            yield digest


def _state(name: bytes) -> _State:
    status = os.stat(name)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remembered(states: dict[bytes, _State]) -> dict[bytes, str]:
    """Digests that the index holds for files in these states."""
    known: dict[bytes, str] = {}

    def look(database: sqlite3.Connection) -> None:
        for part in _parts(list(states), _TOGETHER):
            marks = ", ".join("?" * len(part))
            for name, *state, digest in database.execute(f"SELECT * FROM digests_1 WHERE path IN ({marks})", part):
                if tuple(state) == states[name]:
                    known[name] = digest

    _with_index(look)
    return known


def _remember(found: dict[bytes, str], states: dict[bytes, _State]) -> None:
    old = time.time_ns() - _YOUNG_NS
    rows = [(name, *states[name], digest) for name, digest in found.items() if states[name][2] < old]

    def write(database: sqlite3.Connection) -> None:
        with database:
            database.executemany("INSERT OR REPLACE INTO digests_1 VALUES (?, ?, ?, ?, ?)", rows)

    if rows:
        _with_index(write)


def _with_index(act: Callable[[sqlite3.Connection], None]) -> None:
    """Open the index for ``act``; if that fails, files are simply read, and a damaged index is replaced."""
    path = cache_dir() / INDEX
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database:
            database.execute(_CREATE)
            act(database)
    except (sqlite3.OperationalError, OSError):
        pass  # locked for too long, read-only, or on a file system without locks
    except sqlite3.DatabaseError:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _parts(names: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (names[start : start + size] for start in range(0, len(names), size))
