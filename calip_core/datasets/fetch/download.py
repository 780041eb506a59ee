"""Downloading one file: resumable, verified, and moved into place once complete."""

import hashlib
import json
import os
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock
from tqdm import tqdm

from calip_core.paths import atomic_path

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

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: the server does not answer, refuses, or closes the connection too early.
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
    _receive(url, part, progress)
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
    return tqdm(
        desc=doing, total=total, initial=initial, unit="B", unit_scale=True, disable=not progress, leave=False
    )


def _remember(path: Path, digest: str) -> None:
    record = path.with_name(f"{path.name}.sha256")
    with atomic_path(record) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="utf-8")  # the format of sha256sum


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _receive(url: str, part: Path, progress: bool) -> None:
    version = _known_version(url, part)
    start = part.stat().st_size if version and part.is_file() else 0
    try:
        response = _open(url, start, version)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part is at least as long as the file: start over
            part.unlink()
            return _receive(url, part, progress)
        raise DownloadError(f"{url} answers {error.code} {error.reason}: try later") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"cannot fetch {url} ({error}): is there a network? Run the same command again") from error
    with response:
        _check_is_file(response, url)
        continued = str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")
        _store(response, part, start if response.status == 206 and continued else 0, url, progress)


def _check_is_file(response: Any, url: str) -> None:
    """Refuse HTML in place of an archive or list: a login page, an error page, or a captive portal."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} answers with a web page, not with the file: open it in a browser, or try later")


def _open(url: str, start: int, version: str | None) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "calip-core"})
    if start and version:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _known_version(url: str, part: Path) -> str | None:
    """The version of the file that the unfinished part belongs to, if it comes from this URL."""
    try:
        known = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return known["version"] if isinstance(known, dict) and known.get("url") == url else None


def _version(headers: Message) -> str | None:
    """An identifier of the file's version; a weak ETag must not be used for this (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _store(response: Any, part: Path, start: int, url: str, progress: bool) -> None:
    if start == 0:
        part.unlink(missing_ok=True)
        known = {"url": url, "version": _version(response.headers)}
        _version_file(part).write_text(json.dumps(known), encoding="utf-8")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    have = start
    with _bar(part.stem, total, start, progress) as bar, part.open("ab", buffering=0) as file:
        while chunk := _read(response, url, have):
            _write(file, chunk, f"{have:,} bytes", part)
            have += len(chunk)
            bar.update(len(chunk))
    if total is not None and have != total:
        raise DownloadError(f"{url} ended after {have:,} of {total:,} bytes: run the same command to continue")


def _write(file: FileIO, chunk: bytes, arrived: str, part: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write ({error.strerror}); {arrived} are safe: make room and run the same command",
            str(part),
        ) from error


def _read(response: Any, url: str, have: int) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} broke off after {have:,} bytes ({error}): run the same command again") from error
    return chunk
