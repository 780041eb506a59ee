"""MATLAB files of both kinds, read in a process of their own."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from calip_core.datasets.readers.matlab import read_mat, read_structs, whole_numbers

NAMES = ["AM General Hummer SUV 2000", "Jaguar XK XKR 2012"]
ROWS = [("00001.jpg", 14), ("00002.jpg", 3), ("00003.jpg", 91)]


def in_7_3(path):
    """The variables as MATLAB 7.3 keeps them: HDF5 behind a header of 512 bytes, values behind references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        hidden = file.create_group("#refs#")

        def keep(value):
            codes = np.array([[ord(letter)] for letter in value], np.uint16) if isinstance(value, str) else [[value]]
            node = hidden.create_dataset(str(len(hidden)), data=codes)
            node.attrs["MATLAB_class"] = np.bytes_("char" if isinstance(value, str) else "double")
            return node.ref

        def cells(parent, name, values):
            parent.create_dataset(name, data=[[keep(value)] for value in values], dtype=h5py.ref_dtype)

        cells(file, "class_names", NAMES)
        cells(file.create_group("annotations"), "fname", [name for name, _ in ROWS])
        cells(file["annotations"], "class", [float(label) for _, label in ROWS])
        file.create_dataset("labels", data=[[1.0], [2.0]])
        empty = file.create_dataset("nothing", data=np.array([0, 0], np.uint64))
        empty.attrs["MATLAB_empty"] = 1
    return path


def in_5(path):
    rows = np.array([ROWS], dtype=[("fname", object), ("class", object)])
    names = np.array([NAMES], dtype=object)
    savemat(path, {"class_names": names, "annotations": rows, "labels": [[1.0], [2.0]], "nothing": []})
    return path


@pytest.fixture(params=[in_5, in_7_3])
def path(request, tmp_path):
    return request.param(tmp_path / "x.mat")


def test_cells_structs_and_numbers_are_read(path):
    assert read_mat(path, "class_names") == NAMES
    assert read_mat(path, "labels") == [1.0, 2.0]
    assert read_mat(path, "nothing") == []
    assert list(zip(*read_structs(path, "annotations", ("fname", "class")), strict=True)) == ROWS


def test_what_is_not_there_is_named(path):
    with pytest.raises(ValueError, match=rf"{path} has the variables \[.*'class_names'.*\], expected setid"):
        read_mat(path, "setid")
    with pytest.raises(ValueError, match=rf"{path} has annotations without fname and bbox"):
        read_structs(path, "annotations", ("fname", "bbox"))
    with pytest.raises(ValueError, match=rf"{path} has labels without fname"):
        read_structs(path, "labels", ("fname",))
    with pytest.raises(ValueError, match=rf"{path}: annotations has the fields .* expected a list"):
        read_mat(path, "annotations")
    with pytest.raises(FileNotFoundError):
        read_mat(path.with_name("none.mat"), "labels")


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 2000])
def test_a_damaged_file_is_named(damage, path):
    path.write_bytes(damage + path.read_bytes()[: 700 if damage else 200])
    with pytest.raises(ValueError, match=rf"{path} (cannot be read as a MATLAB file|has .*expected labels)"):
        read_mat(path, "labels")


def test_a_file_leads_to_no_other_file(tmp_path):
    secret = in_7_3(tmp_path / "secret.mat")
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["labels"] = h5py.ExternalLink(str(secret), "labels")
        file.create_dataset("bytes", (8,), np.uint8, external=[(str(secret), 0, 8)])
    for variable in ("labels", "bytes"):
        with pytest.raises(ValueError, match=r"x\.mat cannot be read .* (link to another place|kept in another file)"):
            read_mat(tmp_path / "x.mat", variable)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), "1", [1]])
def test_what_is_no_whole_number_is_not_cut_to_one(value, tmp_path):
    assert whole_numbers([1, 2.0], tmp_path) == [1, 2]
    with pytest.raises(ValueError, match=rf"{tmp_path} has .* expected a whole number"):
        whole_numbers([1, value], tmp_path)
