"""Downloading one file: with progress, taken up where it stopped, checked, and moved into place when whole."""

import hashlib
import json
import os
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from calip_core.paths import atomic_path

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as silent."""


class DownloadError(ConnectionError):
    """A file could not be fetched whole; what has arrived is kept for the next try."""


class ChecksumError(ValueError):
    """A file is not the one that was published."""


def download(url: str, path: Path, checksum: str | None = None, *, progress: bool = True) -> str:
    """Fetch a file, unless it is there already; a second process waits for the first.

    They take turns by ``NAME.lock``, an empty file that is removed once the download is in place: whoever waits then
    only checks it. After a failure it stays with what has arrived. To remove it then would be unsafe: of two processes
    that go on, one could hold the removed file and the other a new one, and both would write the same part.

    An unfinished download stays beside ``path`` as ``NAME.part`` and is continued, if the server still has the same
    file. A file without a published checksum is trusted the first time: its SHA-256 is written to ``NAME.sha256`` and
    compared from then on.

    Args:
        url: http, https or file.
        path: where it belongs.
        checksum: ``md5:...`` or ``sha256:...``.
        progress: whether to show a bar.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: the server does not answer, refuses, or ends the connection too early.
        ChecksumError: what came (or lies there) is another file. A bad download is removed.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    with FileLock(lock):
        digest = verify(path, checksum) if path.is_file() else _fetch(url, path, checksum, progress)
        with suppress(PermissionError):  # Windows removes no file that is open
            lock.unlink(missing_ok=True)
        return digest


def _fetch(url: str, path: Path, checksum: str | None, progress: bool) -> str:
    part = path.with_name(f"{path.name}.part")
    _receive(url, part, progress)
    try:
        digest = _check(part, checksum, url)
    except ChecksumError:
        part.unlink()
        raise
    os.replace(part, path)
    _version_file(part).unlink(missing_ok=True)
    _remember(path, digest)
    return digest


def verify(path: Path, checksum: str | None = None) -> str:
    """The SHA-256 of a file that is already there, after a check against what is known of it.

    Raises:
        ChecksumError: it is neither what was published nor what once was recorded beside it.
    """
    record = path.with_name(f"{path.name}.sha256")
    if checksum is None and record.is_file():
        checksum = f"sha256:{record.read_text(encoding='utf-8').split()[0]}"
    digest = _check(path, checksum, str(path))
    _remember(path, digest)
    return digest


def _check(path: Path, checksum: str | None, origin: str) -> str:
    kind, _, expected = (checksum or "sha256:").partition(":")
    digest = _digest(path, "sha256")
    found = digest if kind == "sha256" else _digest(path, kind)
    if expected and found != expected:
        raise ChecksumError(
            f"{origin} has the {kind} {found}, expected {expected}: the file is damaged or not the published one. "
            "Remove it if it is still there, and fetch it again"
        )
    return digest


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


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
        if error.code == 416 and start:  # the part is as long as the file, or longer: begin again
            part.unlink()
            return _receive(url, part, progress)
        raise DownloadError(f"{url} answers {error.code} {error.reason}: try later") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"cannot fetch {url} ({error}): is there a network? Run the same command again") from error
    with response:
        continued = str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")
        _store(response, part, start if response.status == 206 and continued else 0, url, progress)


def _open(url: str, start: int, version: str | None) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "calip-core"})
    if start and version:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _known_version(url: str, part: Path) -> str | None:
    """Which version of the file the unfinished part is of, if it is of this address."""
    try:
        known = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return known["version"] if isinstance(known, dict) and known.get("url") == url else None


def _version(headers: Message) -> str | None:
    """What tells one version of a file from the next; a weak ETag may not be used for this (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _store(response: Any, part: Path, start: int, url: str, progress: bool) -> None:
    if start == 0:
        part.unlink(missing_ok=True)
        known = {"url": url, "version": _version(response.headers)}
        _version_file(part).write_text(json.dumps(known), encoding="utf-8")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=not progress, leave=False)
    have = start
    with bar, part.open("ab") as file:
        while chunk := _read(response, url, have):
            have += file.write(chunk)
            bar.update(len(chunk))
    if total is not None and have != total:
        raise DownloadError(f"{url} ended after {have:,} of {total:,} bytes: run the same command to continue")


def _read(response: Any, url: str, have: int) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} broke off after {have:,} bytes ({error}): run the same command again") from error
    return chunk
