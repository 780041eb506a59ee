"""Unpacking untrusted archives: nothing is written outside the target folder."""

import errno
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from tqdm import tqdm

from calip_core.reading import reading

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BAR_AFTER = 1.0
"""Seconds after which unpacking shows a progress bar: most lists take less."""
RATIO, ALWAYS_ALLOWED = 100, 64 << 20
"""How many times an archive's size its content may have, and how many bytes it may have in any case.

Pictures and lists shrink to a tenth at best; archives that were made to fill a disk reach factors of a thousand and
more.
"""
_PER_MEMBER = 512  # bytes that even an empty file counts for
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_LONGEST_HEADER = 1 << 20  # bytes of a header that holds a long name
_NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class UnsafeArchiveError(ValueError):
    """An archive has a member that would be written outside its folder, is not a file, or would fill the disk."""


def is_archive(name: str) -> bool:
    """Whether a file name has the suffix of an archive."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path, inner: str | None = None, *, progress: bool = False) -> None:
    """Unpack an archive and merge its content into a folder.

    It is unpacked into a temporary folder first, so a refused or damaged archive leaves nothing behind. Only folders
    and regular files are written, with their names alone: a link to a file of the same archive becomes a copy of that
    file, and every other link is refused. What is unpacked therefore holds no link that anything could be written
    through, whatever this Python's ``tarfile`` makes of links.

    Args:
        archive: a zip or tar file.
        into: the target folder, which may exist; files with the same name are replaced.
        inner: path within the archive of another archive; only that one is unpacked.
        progress: whether to show a progress bar.

    Raises:
        UnsafeArchiveError: a member has an absolute path or one with ``..``, is a device, or is a link to anything but
            a file of the archive; or the content is more than ``RATIO`` times as large as the archive.
        ValueError: the archive is damaged, encrypted or of an unknown kind, or has no ``inner``.
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
    with reading(archive, "a zip or tar archive"):
        folder.mkdir()
        unpacking = _Unpacking(archive, folder)
        if zipfile.is_zipfile(archive):
            _extract_zip(unpacking, progress)
        else:
            _extract_tar(unpacking, progress)


def _extract_zip(unpacking: "_Unpacking", progress: bool) -> None:
    with zipfile.ZipFile(unpacking.archive) as content:
        members = content.infolist()
        for member in members:
            _check_name(member.orig_filename, unpacking.archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise unpacking.unsafe(f"holds {member.filename!r}, a link or device")
            unpacking.count(member.file_size)
        unpacking.check_space(sum(member.file_size for member in members))
        with _bar(unpacking.archive, unpacking.total, progress) as bar:
            for member in members:
                if member.is_dir():
                    unpacking.make_folder(member.filename)
                else:
                    with content.open(member) as source:
                        unpacking.write(member.filename, source)
                bar.update(member.file_size + _PER_MEMBER)


class Header(tarfile.TarInfo):
    """Refuses what ``tarfile`` would follow: sizes below zero lead it in circles, long headers fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """As ``tarfile`` reads it.

        Raises:
            ValueError: its size is below zero, or it is a long one of a kind that is read into memory.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _LONGEST_HEADER):
            raise ValueError(f"a header gives the size {header.size}")
        return header


def _extract_tar(unpacking: "_Unpacking", progress: bool) -> None:
    archive, links = unpacking.archive, list[tarfile.TarInfo]()
    size = archive.stat().st_size
    unpacking.check_space(size, "at least ")  # a lower bound: the exact size would need a pass over the archive
    with (
        archive.open("rb") as file,
        _bar(archive, size, progress) as bar,
        tarfile.open(fileobj=file, tarinfo=Header) as content,
    ):
        for member in content:
            _check_name(member.name, archive)
            if member.size < 0:
                raise ValueError(f"{member.name!r} has the size {member.size}")
            if member.isdir():
                unpacking.make_folder(member.name)
            elif member.issym() or member.islnk():
                links.append(member)
            elif member.isfile() and (source := content.extractfile(member)):
                unpacking.count(member.size)
                unpacking.write(member.name, source)
            else:
                raise unpacking.unsafe(f"holds {member.name!r}, a device or pipe")
            bar.update(file.tell() - bar.n)
        check_end(content)
    for link in links:
        unpacking.copy_linked(link)


def check_end(content: tarfile.TarFile) -> None:
    """A header that ``tarfile`` does not understand counts as the end to it; the end is zeros."""
    assert content.fileobj is not None
    content.fileobj.seek(content.offset)
    if any(content.fileobj.read(tarfile.BLOCKSIZE)):
        raise ValueError(f"byte {content.offset} begins no header")


class _Unpacking:
    """An archive that is being unpacked into an empty folder.

    Attributes:
        archive: the archive.
        folder: the folder.
        total: bytes that its members have taken so far.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.folder, self.total = archive, folder, 0
        self._most = max(ALWAYS_ALLOWED, RATIO * archive.stat().st_size)

    def unsafe(self, fault: str) -> UnsafeArchiveError:
        return UnsafeArchiveError(f"{self.archive} {fault}: nothing was unpacked")

    def count(self, size: int) -> None:
        """Add a member that is about to be written.

        Raises:
            UnsafeArchiveError: the members take too much for an archive of this size.
        """
        self.total += size + _PER_MEMBER
        if self.total > self._most:
            raise self.unsafe(
                f"would take more than {self._most:,} bytes, {RATIO} times its own size, as archives do that were "
                "made to fill a disk"
            )

    def check_space(self, need: int, least: str = "") -> None:
        free = shutil.disk_usage(self.folder).free
        if need > free:
            message = f"it needs {least}{need:,} bytes unpacked, and the disk has {free:,} free: make room, run again"
            raise OSError(errno.ENOSPC, message, str(self.archive))

    def make_folder(self, name: str) -> Path:
        """The folder of that name, made with those above it. None of them can be a link: none is ever written."""
        path = self.folder / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._fault(error, name) from error
        return path

    def write(self, name: str, source: Any) -> None:
        """Write a file, in place of an earlier one of the same name, from a stream of bytes."""
        path = self.make_folder(os.path.dirname(name)) / os.path.basename(name)
        try:
            if path.is_file():
                path.unlink()
            with path.open("xb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise self._fault(error, name) from error

    def copy_linked(self, link: tarfile.TarInfo) -> None:
        """Write the file that a link leads to. A symbolic link starts at its own folder, a hard link at the top.

        Raises:
            UnsafeArchiveError: it leads to no file of the archive, which another link is not either.
        """
        start = os.path.dirname(link.name) if link.issym() else ""
        target = os.path.normpath(os.path.join(start, link.linkname))
        inside = not target.startswith(("/", "../"))
        if not inside or not (self.folder / target).is_file():
            fault = "which is no file in it" if inside else "outside its folder"
            raise self.unsafe(f"holds the link {link.name!r} to {link.linkname!r}, {fault}")
        source = self.folder / target
        self.count(source.stat().st_size)
        with source.open("rb") as content:
            self.write(link.name, content)

    def _fault(self, error: OSError, name: str) -> Exception:
        """What a member could not be written for: its name, damage to the archive, or the disk."""
        if isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError)):
            return ValueError(f"{name!r} is both a file and a folder")
        if error.errno in _NO_NAME:
            return ValueError(f"{name[:80]!r} cannot be a file's name")
        if error.errno is None:  # from a decompressor
            return error
        if error.errno == errno.ENOSPC:
            return _disk_full(self.archive, self.folder.parent.parent)
        return OSError(error.errno, os.strerror(error.errno), str(self.folder / name))


def _bar(archive: Path, total: int, progress: bool) -> "tqdm[NoReturn]":
    return tqdm(
        desc=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True, disable=not progress,
        delay=BAR_AFTER, leave=False,
    )  # fmt: skip


def _check_name(name: str, archive: Path) -> None:
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or ".." in parts or (parts and ":" in parts[0]) or "\0" in name:
        raise UnsafeArchiveError(
            f"{archive} holds {name!r}, a path that leads out of its folder: nothing was unpacked; do not trust it"
        )


def _disk_full(archive: Path, folder: Path) -> OSError:
    """The error for an archive that filled the disk; a tar's unpacked size takes a second pass over it."""
    need = 0
    with suppress(Exception), tarfile.open(archive) as content:
        for member in content:
            need += member.size
    message = f"the disk is full: {archive} needs {need:,} bytes unpacked; nothing was unpacked. Make room, run again"
    return OSError(errno.ENOSPC, message, str(folder))


def _merge(source: Path, target: Path) -> None:
    """Move all files of a folder into another one, which keeps its other files."""
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry.is_dir() and goal.is_dir():
            _merge(entry, goal)
        else:
            os.replace(entry, goal)
