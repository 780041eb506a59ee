"""HDF5 tables of clouds in the published key layout; links and damage are refused."""

import os

import h5py
import numpy as np
import pytest

from calip_core.pointclouds import hdf5
from calip_core.pointclouds.hdf5 import read_labels, read_row

CLOUDS = np.random.default_rng(0).standard_normal((7, 5, 3)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1, 0, 2, 3])


def table(path, **arrays):
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, compression="gzip")
    return path


@pytest.mark.parametrize("labels", [LABELS.astype(np.uint8)[:, None], LABELS.astype(np.int32)])
def test_labels_and_clouds_are_read(labels, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK", 3)
    path = table(tmp_path / "a.h5", data=CLOUDS, label=labels, normal=CLOUDS)
    assert read_labels(path).tolist() == LABELS.tolist()
    for row in (6, 0, 3, 2, 5):
        assert np.array_equal(read_row(path, row), CLOUDS[row])


def test_columns_after_the_third_are_left_out(tmp_path):
    path = table(tmp_path / "a.h5", data=np.dstack([CLOUDS, CLOUDS]).astype(np.float64), label=LABELS)
    assert len(read_labels(path)) == 7
    assert np.array_equal(read_row(path, 1), CLOUDS[1])


def test_another_file_in_its_place_is_read_anew(tmp_path):
    path = table(tmp_path / "a.h5", data=CLOUDS, label=LABELS)
    read_row(path, 0)
    table(tmp_path / "b.h5", data=CLOUDS[1:2], label=LABELS[1:2]).replace(path)
    os.utime(path, (1, 1))
    assert np.array_equal(read_row(path, 0), CLOUDS[1])
    with pytest.raises(ValueError, match="a.h5 has no row 6: it has changed"):
        read_row(path, 6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": CLOUDS, "label": LABELS}, r"has the keys \['label', 'points'\], expected data and label"),
        ({"data": CLOUDS, "labels": LABELS}, r"has the keys \['data', 'labels'\]"),
        ({"data": CLOUDS[0], "label": LABELS}, r"data is float32 \(5, 3\), expected numbers \(clouds, points, 3\)"),
        ({"data": CLOUDS[..., :2], "label": LABELS}, r"data is float32 \(7, 5, 2\)"),
        ({"data": CLOUDS.astype("S9"), "label": LABELS}, r"data is \|S9"),
        ({"data": CLOUDS.mT, "label": LABELS}, "a cloud in data has 3 rows of 5 numbers.*: transpose it"),
        ({"data": CLOUDS, "label": LABELS[:4]}, r"label is int64 \(4,\), expected one whole number for each of the 7"),
        ({"data": CLOUDS, "label": LABELS.astype(float)}, "label is float64"),
        ({"data": CLOUDS, "label": np.eye(7, 4, dtype=int)}, r"label is int64 \(7, 4\)"),
    ],
)
def test_another_layout_is_named(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read_labels(table(tmp_path / "a.h5", **arrays))
    assert str(tmp_path / "a.h5") in str(caught.value)


@pytest.mark.parametrize("cut", [0, 10, 2000])
def test_a_file_that_is_cut_off_is_named(cut, tmp_path):
    path = table(tmp_path / "a.h5", data=CLOUDS, label=LABELS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="a.h5 cannot be read as HDF5"):
        read_labels(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*a\.h5"):
        read_labels(tmp_path / "a.h5")


def test_a_bad_cloud_is_named_with_its_row(tmp_path):
    clouds = CLOUDS.copy()
    clouds[4, 2, 1] = np.nan
    path = table(tmp_path / "a.h5", data=clouds, label=LABELS)
    with pytest.raises(ValueError, match=r"a\.h5, row 4: 1 of 5 points are not finite"):
        read_row(path, 4)


def external(file, other):
    file["data"] = h5py.ExternalLink(str(other), "data")


def behind_a_group(file, other):
    file["outside"] = h5py.ExternalLink(str(other), "/")
    file["data"] = h5py.SoftLink("/outside/data")


def virtual(file, other):
    layout = h5py.VirtualLayout(CLOUDS.shape, "f4")
    layout[:] = h5py.VirtualSource(str(other), "data", CLOUDS.shape)
    file.create_virtual_dataset("data", layout)


def raw(file, other):
    file.create_dataset("data", CLOUDS.shape, "f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def group(file, other):
    file.create_group("data")


@pytest.mark.parametrize("link", [external, behind_a_group, virtual, raw, group])
def test_a_link_to_another_file_is_refused(link, tmp_path):
    other = table(tmp_path / "other.h5", data=CLOUDS, label=LABELS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        link(file, other)
        file["label"] = LABELS
    for read in (read_labels, lambda path: read_row(path, 0)):
        with pytest.raises(ValueError, match=r"a\.h5: data is no array of this file's own"):
            read(tmp_path / "a.h5")


def test_a_filter_that_nobody_publishes_with_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=CLOUDS, scaleoffset=3, chunks=True)
        file["label"] = LABELS
    with pytest.raises(ValueError, match=r"a\.h5: data is stored through filter 6, expected gzip or LZF"):
        read_labels(tmp_path / "a.h5")


@pytest.mark.parametrize("shape", [(7, 10**9, 3), (10**12, 5, 3)])
def test_sizes_that_were_not_stored_are_refused(shape, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", shape, "f4", chunks=(1, 5, 3))
        file["label"] = LABELS
    with pytest.raises(ValueError, match=r"a\.h5: data declares \d+ bytes and stores 0"):
        read_row(tmp_path / "a.h5", 0)


def test_clouds_in_map_coordinates_keep_their_shape(tmp_path):
    path = table(tmp_path / "a.h5", data=CLOUDS + np.array([500_000.0, 4_649_776, 100]), label=LABELS)
    assert np.allclose(read_row(path, 3), CLOUDS[3] - CLOUDS[3].mean(axis=0), atol=1e-6)
