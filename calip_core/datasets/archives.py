"""Unpacking archives that nobody vouches for: nothing is written outside the folder that was asked for."""

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
from pathlib import Path, PurePosixPath

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
"""What the standard library raises for archives that are cut off or garbled."""


class UnsafeArchiveError(ValueError):
    """An archive holds something that would be written outside its folder, or that is no plain file."""


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path, inner: str | None = None) -> None:
    """Unpack an archive and merge what it holds into a folder.

    It is unpacked beside its place first, so a refused or damaged archive leaves nothing behind.

    Args:
        archive: a zip or tar file.
        into: the folder, which may exist; files of the same name are replaced.
        inner: a path in the archive to another archive, which alone is unpacked.

    Raises:
        UnsafeArchiveError: a member has an absolute path or ``..`` in it, is a link that leaves the folder, or a
            device.
        ValueError: the archive is damaged or of no known kind, or has no ``inner``.
        OSError: the folder cannot be written or the disk is full; the message says how much is needed.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".unpacking-") as temporary:
        work = Path(temporary)
        _extract(archive, work / "outer")
        if inner is None:
            _merge(work / "outer", into)
            return
        second = work / "outer" / inner
        if not second.is_file():
            raise ValueError(f"{archive} has no {inner} in it: its content has changed, and the card has to follow")
        _extract(second, work / "inner")
        _merge(work / "inner", into)


def _extract(archive: Path, folder: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except tarfile.FilterError as error:
        raise UnsafeArchiveError(f"{archive}: {error}: nothing was unpacked") from error
    except DAMAGED as error:
        reason = str(error).partition("\n")[0]  # tarfile lists every format that it tried
        raise ValueError(f"{archive} is not a whole zip or tar archive ({reason}): fetch it again") from error


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        for member in members:
            _check_name(member.orig_filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeArchiveError(f"{archive} holds {member.filename!r}, a link or device: nothing was unpacked")
        _check_space(folder.parent, (member.file_size for member in members), archive)
        content.extractall(folder)


def _extract_tar(archive: Path, folder: Path) -> None:
    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        _check_name(member.name, archive)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise UnsafeArchiveError(f"{archive} holds {member.name!r}, a device or pipe: nothing was unpacked")
        if member.issym() or member.islnk():
            _check_link(member, archive)
        return tarfile.data_filter(member, path)

    with tarfile.open(archive) as content:
        content.extractall(str(folder), filter=checked)


def _check_link(member: tarfile.TarInfo, archive: Path) -> None:
    """A symbolic link starts at its own folder, a hard link at the archive's top."""
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
        raise OSError(f"{archive} needs {need:,} bytes unpacked, and {folder} has {free:,} free: make room, run again")


def _merge(source: Path, target: Path) -> None:
    """Move all files of a folder into another, which keeps what else it has."""
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and goal.is_dir():
            _merge(entry, goal)
        else:
            os.replace(entry, goal)
