"""Digests of files: right whatever the index holds, and without reading where it may answer."""

import hashlib
import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from calip_core import digests
from calip_core.digests import INDEX, file_digest, file_digests
from calip_core.paths import cache_dir


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_YOUNG_NS", 0)  # what has just been written may be remembered


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{name}.bin" for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
    return paths


@pytest.fixture
def reads(monkeypatch):
    """The files that are read."""
    read, hashed = [], digests.sha256_of

    def counted(name):
        read.append(os.path.basename(os.fsdecode(name)))
        return hashed(name)

    monkeypatch.setattr(digests, "sha256_of", counted)
    return read


def expected(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_files_are_read_once(files, reads):
    assert file_digests([*files, files[0]]) == [*expected(files), *expected(files[:1])]
    assert sorted(reads) == ["a.bin", "b.bin", "c.bin"]
    assert file_digests(files) == expected(files) and len(reads) == 3


def test_a_touched_file_is_read_again_and_is_the_same(files, reads):
    before = file_digest(files[0])
    os.utime(files[0], ns=(0, 0))
    assert file_digest(files[0]) == before and reads == ["a.bin"] * 2


def test_a_file_of_the_same_size_and_time_is_not_mistaken_for_the_old_one(files):
    status = files[0].stat()
    before = file_digest(files[0])
    files[0].write_bytes(files[0].read_bytes().replace(b"a", b"x"))
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_digest(files[0]) != before
    assert file_digest(files[0]) == expected(files[:1])[0]


def test_what_was_written_a_moment_ago_is_not_remembered(files, reads, monkeypatch):
    monkeypatch.setattr(digests, "_YOUNG_NS", 3_600_000_000_000)
    assert file_digest(files[0]) == file_digest(files[0]) and len(reads) == 2


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"", b"SQLite format 3\0 and then rubbish" * 100])
def test_a_damaged_index_is_begun_anew(files, reads, content):
    cache_dir().mkdir(parents=True)
    (cache_dir() / INDEX).write_bytes(content)
    for _ in range(3):
        assert file_digests(files) == expected(files)
    read = len(reads)
    assert file_digests(files) == expected(files) and len(reads) == read


def test_an_index_of_another_shape_is_done_without(files):
    cache_dir().mkdir(parents=True)
    with sqlite3.connect(cache_dir() / INDEX) as database:
        database.execute("CREATE TABLE digests_1 (path TEXT)")
    assert file_digests(files) == expected(files)


def test_a_cache_that_cannot_be_written_is_done_without(files, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "file"))
    assert file_digests(files) == expected(files)


def test_many_writers_lose_nothing(files, reads):
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected(files) for found in pool.map(lambda _: file_digests(files), range(16)))
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=file_digests, args=(files,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    reads.clear()
    assert file_digests(files) == expected(files) and reads == []


def test_more_files_than_one_query_takes(tmp_path, reads):
    paths = [tmp_path / f"{i}" for i in range(1100)]
    for path in paths:
        path.write_bytes(path.name.encode())
    first = file_digests(paths)
    assert first == file_digests(paths) == expected(paths) and len(reads) == len(paths)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.png"):
        file_digest(tmp_path / "none.png")
