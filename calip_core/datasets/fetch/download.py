"""Downloading one file: resumable, verified, and moved into place once complete."""

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock
from tqdm import tqdm

from calip_core.paths import atomic_path
from calip_core.reading import reading

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without data after which a connection times out."""


class DownloadError(ConnectionError):
    """A file could not be downloaded completely; the part received is kept for the next attempt."""


class ChecksumError(ValueError):
    """A file differs from the published one."""


def download(url: str, path: Path, checksum: str | None = None, *, progress: bool = True) -> str:
    """Download a file unless it exists already; concurrent processes wait for each other.

    Processes synchronise on ``NAME.lock``, an empty file that is removed once the download is in place; a process that
    has waited then only verifies the file. After a failure, the lock file stays beside the partial download. Removing
    it would be unsafe: one process could hold the removed file and another a new one, and both would write the same
    part.

    With or without a checksum, a file is whole when it has the length that the server states, and all its parts are of
    one version by their ETag or date. Where a server states neither, a broken download begins again.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: the server does not answer, refuses, closes the connection too early, sends another part than the
            one that was asked for, an empty file, a web page, or (without a checksum to tell) a compressed form.
        ChecksumError: the downloaded (or existing) file is not the published one. A bad download is removed.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    with FileLock(lock):
        present = path.is_file()
        digest = verify(path, checksum, progress=progress) if present else _fetch(url, path, checksum, progress)
        with suppress(PermissionError):  # Windows cannot remove an open file
            lock.unlink(missing_ok=True)
        return digest


def _fetch(url: str, path: Path, checksum: str | None, progress: bool) -> str:
    part = path.with_name(f"{path.name}.part")
    _receive(url, part, checksum, progress)
    try:
        digest = _check(part, checksum, url, progress)
    except ChecksumError:
        part.unlink()
        raise
    os.replace(part, path)
    _version_file(part).unlink(missing_ok=True)
    _remember(path, digest)
    return digest


def forget(path: Path, *, and_remove: bool) -> None:
    """Drop the recorded checksum of a file that turned out to be wrong.

    Args:
        path: the file.
        and_remove: whether to remove the file too, so that it is downloaded again.
    """
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
    if and_remove:
        path.unlink(missing_ok=True)


def verify(path: Path, checksum: str | None = None, *, progress: bool = False) -> str:
    """The SHA-256 of an existing file, after comparison with its published or recorded checksum.

    Raises:
        ChecksumError: the file matches neither the published nor the recorded checksum.
    """
    record = path.with_name(f"{path.name}.sha256")
    if checksum is None and record.is_file():
        with reading(record, "a recorded checksum"):
            checksum = f"sha256:{record.read_text(encoding='utf-8').split()[0]}"
    digest = _check(path, checksum, str(path), progress)
    _remember(path, digest)
    return digest


def _check(path: Path, checksum: str | None, origin: str, progress: bool) -> str:
    kind, _, expected = (checksum or "sha256:").partition(":")
    digests = _digests(path, {"sha256", kind}, progress)
    digest, found = digests["sha256"], digests[kind]
    if expected and found != expected:
        raise ChecksumError(
            f"{origin} has the {kind} {found}, expected {expected}: the file is damaged or not the published one. "
            "Remove it if it is still there, and fetch it again"
        )
    return digest


def _digests(path: Path, kinds: set[str], progress: bool) -> dict[str, str]:
    """All digests in a single pass over the file."""
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    bar = _bar(f"checking {path.name}", path.stat().st_size, 0, progress)
    with bar, path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
            bar.update(len(chunk))
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def _bar(doing: str, total: int | None, initial: int, progress: bool) -> "tqdm[NoReturn]":
    return tqdm(desc=doing, total=total, initial=initial, unit="B", unit_scale=True, disable=not progress, leave=False)


def _remember(path: Path, digest: str) -> None:
    record = path.with_name(f"{path.name}.sha256")
    with atomic_path(record) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="utf-8")  # the format of sha256sum


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


@dataclass(frozen=True)
class _Version:
    """Which version of a file it is: its ETag or date, and its length, each None if the server does not state it."""

    tag: str | None
    total: int | None


def _receive(url: str, part: Path, checksum: str | None, progress: bool) -> None:
    """Ask until the whole file is there: a server may send fewer bytes at a time than it was asked for."""
    known = _kept_version(url, part) if part.is_file() else None
    have = part.stat().st_size if known else 0
    can_begin_again = have > 0
    while (response := _open(url, have, known)) is not None:
        with response:
            _check_is_file(response, url, checksum)
            first, size, version = _described(response, url)
            continues = first == have and (known is None or _same(known, version))
            if not continues and (first or not can_begin_again):
                break
            can_begin_again &= continues
            have, known = _store(response, part, first, size, version, url, progress), version
        if have == (version.total or have):
            return
        if not version.tag:
            raise DownloadError(f"{url} sends parts without saying of which version: fetch it elsewhere")
    if not can_begin_again:
        raise DownloadError(f"{url} sends another part of the file than was asked for, or changes: try later")
    part.unlink()
    _receive(url, part, checksum, progress)


def _same(known: _Version, version: _Version) -> bool:
    return known.tag == version.tag and known.total in (None, version.total)


def _described(response: Any, url: str) -> tuple[int, int | None, _Version]:
    """Where an answer begins in the file, how many bytes it has if that is stated, and of which version it is."""
    length = response.headers.get("Content-Length", "")
    stated = int(length) if length.isdecimal() else None
    if response.status != 206:
        if stated == 0:
            raise DownloadError(f"{url} answers with an empty file: try later, or fetch it elsewhere")
        return 0, stated, _Version(_tag(response.headers), stated)
    content = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", content)
    first, last, total = map(int, match.groups()) if match else (0, -1, 0)
    size = last - first + 1
    if not first <= last < total or stated not in (None, size):
        raise DownloadError(f"{url} answers with a part of the file, but its range is {content!r}: try later")
    return first, size, _Version(_tag(response.headers), total)


def _check_is_file(response: Any, url: str, checksum: str | None) -> None:
    """Refuse HTML in place of an archive or list (a login page, an error page, a captive portal), and encoded bytes.

    Some servers call a ``.tgz`` encoded and send it as it is: there a checksum decides.
    """
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} answers with a web page, not with the file: open it in a browser, or try later")
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity") and checksum is None:
        raise DownloadError(f"{url} answers in the encoding {encoding!r}, which nobody asked for: fetch it elsewhere")


def _open(url: str, start: int, known: _Version | None) -> Any:
    """The answer to a request for the bytes from ``start`` on, or None if the file has none."""
    request = urllib.request.Request(url, headers={"User-Agent": "calip-core", "Accept-Encoding": "identity"})
    if start and known and known.tag:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", known.tag)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part is at least as long as the file
            return None
        raise DownloadError(f"{url} answers {error.code} {error.reason}: try later") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"cannot fetch {url} ({error}): is there a network? Run the same command again") from error


def _kept_version(url: str, part: Path) -> _Version | None:
    """The version of the file that the unfinished part belongs to, if it comes from this URL."""
    try:
        known = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    match known:
        case {"url": str(origin), "version": str(tag), "total": int() | None as total} if origin == url:
            return _Version(tag, total)
    return None


def _tag(headers: Message) -> str | None:
    """An identifier of the file's version; a weak ETag must not be used for this (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    tag = headers.get("Last-Modified", "") if etag.startswith("W/") else etag or headers.get("Last-Modified", "")
    return tag if tag and tag.isprintable() else None


def _store(response: Any, part: Path, start: int, size: int | None, version: _Version, url: str, progress: bool) -> int:
    """Append an answer to the part, or begin it; the length of the part afterwards."""
    if start == 0:
        part.unlink(missing_ok=True)
        known = {"url": url, "version": version.tag, "total": version.total}
        _version_file(part).write_text(json.dumps(known), encoding="utf-8")
    have, end = start, None if size is None else start + size
    with _bar(part.stem, version.total, start, progress) as bar, part.open("ab", buffering=0) as file:
        while chunk := _read(response, CHUNK if end is None else min(CHUNK, end - have), url, have):
            _write(file, chunk, f"{have:,} bytes", part)
            have += len(chunk)
            bar.update(len(chunk))
    if have != (end or have):
        total = version.total or end
        raise DownloadError(f"{url} ended after {have:,} of {total:,} bytes: run the same command to continue")
    if have == 0:
        raise DownloadError(f"{url} answers with an empty file: try later, or fetch it elsewhere")
    return have


def _write(file: FileIO, chunk: bytes, arrived: str, part: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write ({error.strerror}); {arrived} are safe: make room and run the same command",
            str(part),
        ) from error


def _read(response: Any, size: int, url: str, have: int) -> bytes:
    try:
        chunk: bytes = response.read(size)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} broke off after {have:,} bytes ({error}): run the same command again") from error
    return chunk
