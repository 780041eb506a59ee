"""Cutting a class: the same everywhere, whoever asks, and hardly another with one file more."""

from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from calip_core.datasets.readers.cuts import cut_class, cut_val
from calip_core.datasets.readers.disk import Row
from calip_core.datasets.readers.own_splits import cut_in_three

NAMES = st.sets(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), max_size=60)


@given(NAMES)
def test_a_class_is_cut_in_50_20_30(names):
    files = [Path(name) for name in names]
    cut = cut_class(files, Path)
    assert sorted(file for part in cut.values() for file in part) == sorted(files)
    assert [len(cut["train"]), len(cut["val"])] == [len(files) // 2, len(files) // 5]
    assert cut == cut_class(reversed(files), Path)


@given(NAMES)
def test_a_dataset_is_cut_as_a_folder_of_ones_own_with_the_same_files(names):
    cut = cut_class([Path("/own/cat") / name for name in names], Path)
    rows = cut_in_three([Row(f"images/cat/{name}", 0) for name in names])
    for split, files in cut.items():
        assert sorted(file.name for file in files) == sorted(row.path.split("/")[-1] for row in rows[split])


@given(NAMES)
def test_val_is_a_fifth_of_train(names):
    cut = cut_val(names, PurePosixPath)
    assert sorted(cut["train"] + cut["val"]) == sorted(names)
    assert abs(len(cut["val"]) - len(names) / 5) <= 0.5
    assert cut_val(names, PurePosixPath, most=2)["val"] == cut["val"][:2]


def test_one_image_more_moves_few():
    files = [Path(f"{index}.jpg") for index in range(100)]
    before, after = cut_class(files, Path), cut_class([*files, Path("new.jpg")], Path)
    assert sum(len(set(before[split]) - set(after[split])) for split in before) <= 2
