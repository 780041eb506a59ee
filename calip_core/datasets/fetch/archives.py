"""Unpacking untrusted archives: nothing is written outside the target folder."""

import errno
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

from tqdm import tqdm

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BAR_AFTER = 1.0
"""Seconds after which unpacking shows a progress bar: most lists take less."""
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
"""Exceptions that the standard library raises for truncated or corrupt archives."""


class UnsafeArchiveError(ValueError):
    """An archive contains a member that would be written outside its folder, or that is not a regular file."""


def is_archive(name: str) -> bool:
    """Whether a file name has the suffix of an archive."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path, inner: str | None = None, *, progress: bool = False) -> None:
    """Unpack an archive and merge its content into a folder.

    It is unpacked into a temporary folder first, so a refused or damaged archive leaves nothing behind.

    Args:
        archive: a zip or tar file.
        into: the target folder, which may exist; files with the same name are replaced.
        inner: path within the archive of another archive; only that one is unpacked.
        progress: whether to show a progress bar.

    Raises:
        UnsafeArchiveError: a member has an absolute path or one with ``..``, is a link that leaves the folder, or is a
            device.
        ValueError: the archive is damaged or of an unknown kind, or has no ``inner``.
        OSError: the folder is not writable or the disk is full; the message says how much space is needed.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".unpacking-") as temporary:
        work = Path(temporary)
        _extract(archive, work / "outer", progress)
        if inner is None:
            _merge(work / "outer", into)
            return
        second = work / "outer" / inner
        if not second.is_file():
            raise ValueError(f"{archive} has no {inner} in it: its content has changed, so update the dataset's card")
        _extract(second, work / "inner", progress)
        _merge(work / "inner", into)


def _extract(archive: Path, folder: Path, progress: bool) -> None:
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder, progress)
        else:
            _extract_tar(archive, folder, progress)
    except tarfile.FilterError as error:
        raise UnsafeArchiveError(f"{archive}: {error}: nothing was unpacked") from error
    except DAMAGED as error:
        reason = str(error).partition("\n")[0]  # tarfile lists every format that it tried
        raise ValueError(f"{archive} is not a whole zip or tar archive ({reason}): fetch it again") from error
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename == str(archive):
            raise
        raise _disk_full(archive, folder.parent.parent) from error


def _extract_zip(archive: Path, folder: Path, progress: bool) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        for member in members:
            _check_name(member.orig_filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeArchiveError(f"{archive} holds {member.filename!r}, a link or device: nothing was unpacked")
        _check_space(folder.parent, (member.file_size for member in members), archive)
        with _bar(archive, sum(member.file_size for member in members), progress) as bar:
            for member in members:
                content.extract(member, folder)
                bar.update(member.file_size)


def _extract_tar(archive: Path, folder: Path, progress: bool) -> None:
    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        _check_name(member.name, archive)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise UnsafeArchiveError(f"{archive} holds {member.name!r}, a device or pipe: nothing was unpacked")
        if member.issym() or member.islnk():
            _check_link(member, archive)
        bar.update(file.tell() - bar.n)
        return tarfile.data_filter(member, path)

    size = archive.stat().st_size
    _check_space(folder.parent, [size], archive)  # a lower bound: the exact size would need a pass over the archive
    with archive.open("rb") as file, _bar(archive, size, progress) as bar, tarfile.open(fileobj=file) as content:
        content.extractall(str(folder), filter=checked)


def _bar(archive: Path, total: int, progress: bool) -> "tqdm[NoReturn]":
    return tqdm(
        desc=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True, disable=not progress,
        delay=BAR_AFTER, leave=False,
    )  # fmt: skip


def _check_link(member: tarfile.TarInfo, archive: Path) -> None:
    """A symbolic link is relative to its own folder, a hard link to the archive's root."""
    start = os.path.dirname(member.name) if member.issym() else ""
    target = os.path.normpath(os.path.join(start, member.linkname))
    if member.linkname.startswith("/") or target == ".." or target.startswith("../"):
        raise UnsafeArchiveError(
            f"{archive} holds the link {member.name!r} to {member.linkname!r}, outside its folder: nothing was unpacked"
        )


def _check_name(name: str, archive: Path) -> None:
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or ".." in parts or (parts and ":" in parts[0]) or "\0" in name:
        raise UnsafeArchiveError(
            f"{archive} holds {name!r}, a path that leads out of its folder: nothing was unpacked; do not trust it"
        )


def _check_space(folder: Path, sizes: Iterable[int], archive: Path) -> None:
    need, free = sum(sizes), shutil.disk_usage(folder).free
    if need > free:
        least = "at least " if not zipfile.is_zipfile(archive) else ""
        raise OSError(
            f"{archive} needs {least}{need:,} bytes unpacked, and {folder} has {free:,} free: make room, run again"
        )


def _disk_full(archive: Path, folder: Path) -> OSError:
    """The error for an archive that filled the disk; a tar's unpacked size takes a second pass over it."""
    need = 0
    with suppress(*DAMAGED), tarfile.open(archive) as content:
        for member in content:
            need += member.size
    message = f"the disk is full: {archive} needs {need:,} bytes unpacked; nothing was unpacked. Make room, run again"
    return OSError(errno.ENOSPC, message, str(folder))


def _merge(source: Path, target: Path) -> None:
    """Move all files of a folder into another one, which keeps its other files."""
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and goal.is_dir():
            _merge(entry, goal)
        else:
            os.replace(entry, goal)
