"""Rendered images on disk: written whole, read as written, not believed when damaged."""

import hashlib
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calip_core.datasets.array_cache import (
    CachedImages,
    DamagedCacheError,
    fingerprint,
    map_array,
    write_array,
)

SHAPE = (10, 4, 5, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def render(start, stop):
    return IMAGES[start:stop]


def cached(path):
    return CachedImages(path, SHAPE, render, batch_size=3)


def images_of(reader):
    return np.stack([np.asarray(reader(index)) for index in range(SHAPE[0])])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "world" / "test.npy"


def test_images_come_back_as_rendered(path):
    assert (images_of(cached(path)) == IMAGES).all()
    assert [file.name for file in path.parent.iterdir()] == ["test.npy"]


def test_numpy_reads_the_file_too(path):
    write_array(path, SHAPE, np.uint8, iter([IMAGES]))
    assert (np.load(path) == IMAGES).all()


def test_nothing_is_rendered_before_it_is_asked_for_or_twice(path):
    rendered = []

    def counted(start, stop):
        rendered.append((start, stop))
        return render(start, stop)

    reader = CachedImages(path, SHAPE, counted, batch_size=4)
    assert rendered == []
    assert not path.exists()
    images_of(reader)
    images_of(CachedImages(path, SHAPE, counted))
    assert rendered == [(0, 4), (4, 8), (8, 10)]


def cut(data):
    return data[:-1]


def cut_header(data):
    return data[:20]


def lengthen(data):
    return data + b"\0"


def flip_a_bit(data):
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def empty(data):
    return b""


def swap_for_another_array(data):
    return data.replace(b"(10, 4,", b"(10, 5,")


DAMAGE = [cut, cut_header, lengthen, flip_a_bit, empty, swap_for_another_array]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_repaired(path, damage):
    images_of(cached(path))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedCacheError, match="test.npy"):
        map_array(path, SHAPE, np.uint8)
    with pytest.warns(UserWarning, match=r"test\.npy.*rendering it again"):
        assert (images_of(cached(path)) == IMAGES).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (images_of(cached(path)) == IMAGES).all()


@given(st.data())
def test_no_single_changed_byte_of_the_images_goes_unseen(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cache") / "test.npy"
    write_array(path, SHAPE, np.uint8, iter([IMAGES]))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(128, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(DamagedCacheError):
        map_array(path, SHAPE, np.uint8)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([IMAGES[:9]], "made 9 rows, expected 10"),
        ([IMAGES, IMAGES], "made 20 rows"),
        ([IMAGES[:, :3]], r"uint8 rows of \(3, 5, 3\), expected uint8 of \(4, 5, 3\)"),
    ],
)
def test_what_the_file_should_not_hold_leaves_no_file(path, batches, message):
    with pytest.raises(ValueError, match=message):
        write_array(path, SHAPE, np.uint8, iter(batches))
    assert list(path.parent.glob("*")) == []


def test_a_failing_renderer_leaves_no_file(path):
    def broken(start, stop):
        if start:
            raise KeyboardInterrupt
        return render(start, stop)

    with pytest.raises(KeyboardInterrupt):
        CachedImages(path, SHAPE, broken, batch_size=3)(0)
    assert list(path.parent.iterdir()) == []


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        cached(tmp_path / "file" / "test.npy")(0)


def test_a_reader_travels_without_its_images(path):
    reader = cached(path)
    images_of(reader)
    data = pickle.dumps(reader)
    assert IMAGES[3].tobytes() not in data
    assert (images_of(pickle.loads(data)) == IMAGES).all()


def test_several_may_make_one_file_at_once(path):
    start = threading.Barrier(4)

    def read_all(_):
        start.wait()
        return images_of(cached(path)).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read_all, range(4))) == {IMAGES.tobytes()}
    assert [file.name for file in path.parent.iterdir()] == ["test.npy"]


def test_the_fingerprint_follows_parameters_and_numpy(monkeypatch):
    first = fingerprint({"size": 3, "seed": 1})
    assert fingerprint({"seed": 1, "size": 3}) == first
    assert fingerprint({"seed": 2, "size": 3}) != first
    monkeypatch.setattr(np, "__version__", "another")
    assert fingerprint({"size": 3, "seed": 1}) != first


def test_a_name_that_takes_work_is_found_when_a_row_is_wanted(path):
    asked = []

    def where():
        asked.append(path)
        return path

    reader = CachedImages(where, SHAPE, render)
    assert len(reader) == SHAPE[0] and asked == []
    assert (images_of(reader) == IMAGES).all() and asked == [path]


def test_the_digest_is_that_of_the_rows(path, tmp_path):
    expected = hashlib.sha256(IMAGES.tobytes()).hexdigest()
    assert cached(path).sha256() == cached(tmp_path / "another.npy").sha256() == expected
