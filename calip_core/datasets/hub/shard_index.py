"""Where each image lies in a webdataset shard, and its label: found once, then remembered in the user's cache."""

import hashlib
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int64

from calip_core.datasets.fetch.archives import Header, check_end
from calip_core.paths import atomic_path, cache_dir
from calip_core.reading import reading

IMAGES, LABEL = ("webp", "png", "jpg", "jpeg"), "cls"
"""Extensions of the members of one image, as CLIP_benchmark writes them."""
OTHER_LABELS = {"npy": "several labels per image (multi-label)", "txt": "captions instead of a class (retrieval)"}

Rows = Int64[np.ndarray, "n 3"]
"""First byte, number of bytes and label of each image, in the order of the shard."""

_VERSION = 1  # of what is remembered
_COLUMNS, _DIGEST = 3, 32
_NOT_A_SAMPLE = re.compile(r"__[^/]*__($|/)")  # webdataset's own pattern of members that it skips
_LONGEST_NUMBER = 32  # bytes of a label with white space around it
# A file may change twice within one tick of the file system's clock: recent changes are not remembered.
_YOUNG_NS = 2_000_000_000


def shard_rows(path: Path) -> Rows:
    """The images of a shard. Its members are listed once; later calls use the cache while the file is unchanged.

    Raises:
        ImportError: the package webdataset is not installed.
        ValueError: the shard is damaged, compressed or unsafe, or an image has no label, two, or one that is no number.
        OSError: the file cannot be opened.
    """
    state = path.stat()
    key = f"{_VERSION} {path.absolute()} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    memory = cache_dir() / "shards" / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.rows"
    known = _remembered(memory)
    if known is not None:
        return known
    group = _webdatasets_grouping()
    with reading(path, "a webdataset shard"), path.open("rb") as file:
        samples = group(_members(file, path, state.st_size))
        rows = np.array(list(_places(samples, file)), np.int64).reshape(-1, _COLUMNS)
        if not len(rows):
            raise ValueError("it holds no images")
    if state.st_ctime_ns < time.time_ns() - _YOUNG_NS:
        _remember(memory, rows)
    return rows


def _remembered(memory: Path) -> Rows | None:
    try:
        content = memory.read_bytes()
    except OSError:
        return None
    rows = content[_DIGEST:]
    if hashlib.sha256(rows).digest() != content[:_DIGEST]:
        return None
    return np.frombuffer(rows, "<i8").astype(np.int64).reshape(-1, _COLUMNS)


def _remember(memory: Path, rows: Rows) -> None:
    content = rows.astype("<i8").tobytes()
    try:
        with atomic_path(memory) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
    except OSError:  # a cache that cannot be written costs time alone
        return


def _webdatasets_grouping() -> Callable[[Iterable[dict[str, Any]]], Iterator[dict[str, Any]]]:
    """webdataset's own grouping of consecutive members into samples, by the names before the first dot."""
    try:
        from webdataset.tariterators import group_by_keys
    except ImportError as error:
        raise ImportError("wds: needs the package webdataset: `pip install 'calip-core[hub]'`") from error
    group: Callable[[Iterable[dict[str, Any]]], Iterator[dict[str, Any]]] = group_by_keys
    return group


def _places(samples: Iterable[dict[str, Any]], file: BufferedReader) -> Iterator[tuple[int, int, int]]:
    """First byte, number of bytes and label of each sample's image."""
    seen = set[str]()
    for sample in samples:
        key = sample["__key__"]
        if key in seen:
            raise ValueError(f"the key {key!r} occurs twice, with other members between")
        seen.add(key)
        images = [name for name in IMAGES if name in sample]
        if other := next((what for name, what in OTHER_LABELS.items() if name in sample and LABEL not in sample), None):
            raise ValueError(f"{key!r} has {other}: only datasets of one class per image can be evaluated here")
        if len(images) != 1 or LABEL not in sample:
            has = ", ".join(name for name in sample if not name.startswith("__")) or "nothing"
            raise ValueError(f"{key!r} has {has}, expected one image ({', '.join(IMAGES)}) and its class number (cls)")
        yield *sample[images[0]], _label(file, sample[LABEL], key)


def _members(file: BufferedReader, path: Path, size: int) -> Iterator[dict[str, Any]]:
    """The regular files of a tar archive as webdataset's pipeline passes them on, with their places for their bytes."""
    with tarfile.open(fileobj=file, mode="r:", tarinfo=Header) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            if member.isdir():
                continue
            leads_out = member.name.startswith("/") or ".." in PurePosixPath(member.name).parts
            if leads_out or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ValueError(
                    f"it holds {member.name!r}, a link, a device or a path out of its folder: do not trust it"
                )
            if not 0 <= member.size <= size - member.offset_data:
                raise ValueError(f"{member.name!r} claims {member.size:,} bytes, more than the file has from there on")
            if not _NOT_A_SAMPLE.match(member.name):
                yield {"fname": member.name, "data": (member.offset_data, member.size), "__url__": str(path)}
        check_end(archive)


def _label(file: BufferedReader, place: tuple[int, int], key: str) -> int:
    start, size = place
    file.seek(start)
    text = file.read(min(size, _LONGEST_NUMBER + 1))
    if not re.fullmatch(rb"\s*[0-9]{1,9}\s*", text) or size > _LONGEST_NUMBER:
        raise ValueError(f"the class number of {key!r} is {text[:_LONGEST_NUMBER]!r}, expected digits alone")
    return int(text)
