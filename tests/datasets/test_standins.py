"""Stand-ins: the same each time, never in the way of real data, and in formats that other libraries read."""

import json

import numpy as np
import pytest
from scipy.io import loadmat
from torchvision.datasets import DTD, FGVCAircraft, Food101, StanfordCars

from calip_core.datasets import disk_datasets, load_card, load_task
from calip_core.datasets.standins import CLASSES, write_standin
from calip_core.datasets.standins.own_folder import NAMES, write_own_folder
from calip_core.datasets.standins.pictures import Pictures


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(name, root, **changes):
    return write_standin(name, root, **({"classes": 2, "images": 5, "resolution": 8} | changes))


def test_every_dataset_has_one():
    assert set(CLASSES) == set(disk_datasets())


def test_a_seed_gives_the_same_bytes(tmp_path):
    first, second = (tree(small("oxford_pets", tmp_path / str(run))) for run in range(2))
    assert first == second
    other = tree(small("oxford_pets", tmp_path / "other", seed=1))
    assert first.keys() == other.keys()
    assert first["images/Abyssinian_1.jpg"] != other["images/Abyssinian_1.jpg"]


def test_no_picture_is_there_twice(tmp_path):
    files = tree(small("stanford_cars", tmp_path, images=8, resolution=32))
    pictures = [content for name, content in files.items() if name.endswith(".jpg")]
    assert len(pictures) == len(set(pictures)) == 16


@pytest.mark.parametrize(
    ("name", "classes"), [("imagenet", 14), ("imagenet_v2", 14), ("imagenet_sketch", 14), ("oxford_flowers", 14)]
)
def test_lists_that_are_known_whole_give_as_many_classes_as_asked(name, classes, tmp_path):
    assert len(CLASSES[name]) == load_card(name).classes
    small(name, tmp_path, classes=classes)
    assert len(load_task(name, tmp_path).classnames) == classes


def test_about_ten_classes_are_the_default(tmp_path):
    folder = write_standin("imagenet", tmp_path, images=5, resolution=8)
    assert json.loads((folder / "STANDIN.json").read_text())["classes"] == 10


def test_a_folder_like_a_users_own_is_drawn_by_its_seed(tmp_path):
    first = write_own_folder(tmp_path / "a", seed=0, most=40)
    task = load_task(f"folder:{first}")
    assert set(task.classnames) == set(NAMES) and sum(map(len, task.splits.values())) == 40
    again, other = (tree(write_own_folder(tmp_path / str(seed), seed, most=5)) for seed in (0, 1))
    assert again.items() <= tree(first).items() and again != other


def test_the_split_file_is_left_out_on_demand(tmp_path):
    with_it, without = tree(small("dtd", tmp_path / "a")), tree(small("dtd", tmp_path / "b", split_file=False))
    assert set(with_it) - set(without) == {"split_zhou_DescribableTextures.json"}


def test_the_split_file_is_coops_format(standins):
    content = json.loads((standins / "stanford_cars/split_zhou_StanfordCars.json").read_text())
    assert set(content) == {"train", "val", "test"}
    assert content["test"][0] == ["cars_test/00001.jpg", 0, "2000_AM_General_Hummer_SUV"]


def test_the_marker_says_what_it_is(tmp_path):
    folder = small("caltech101", tmp_path, seed=7)
    marker = json.loads((folder / "STANDIN.json").read_text())
    assert marker == {"dataset": "caltech101", "made_by": "calip standin", "seed": 7, "classes": 2, "images": 10}


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path, monkeypatch):
    (tmp_path / "dtd").mkdir()
    with pytest.raises(FileExistsError, match="dtd exists already"):
        small("dtd", tmp_path)
    monkeypatch.setattr(Pictures, "render", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        small("eurosat", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["dtd"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("digits", {}, "digits has no stand-in, expected one of caltech101"),
        ("dtd", {"classes": 1}, "classes is 1, expected 2 to 10"),
        ("dtd", {"classes": 11}, "classes is 11"),
        ("dtd", {"images": 4}, "images is 4, expected at least 5"),
    ],
)
def test_what_cannot_be_made_is_refused(name, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(name, tmp_path, **changes)


@pytest.mark.parametrize("layout", ["hdf5", "text", "off"])
def test_a_seed_gives_the_same_solids(layout, tmp_path):
    first, second = (tree(small("modelnet40", tmp_path / str(run), layout=layout)) for run in range(2))
    assert first == second
    other = tree(small("modelnet40", tmp_path / "other", layout=layout, seed=1))
    assert first.keys() == other.keys()
    assert sum(first[name] != other[name] for name in first) > 2


@pytest.mark.parametrize(
    ("name", "layout", "has"), [("modelnet10", "text", "off"), ("scanobjectnn", "off", "hdf5"), ("dtd", "off", "none")]
)
def test_a_layout_that_a_dataset_has_not_is_refused(name, layout, has, tmp_path):
    with pytest.raises(ValueError, match=f"layout is '{layout}', but {name} has {has}"):
        small(name, tmp_path, layout=layout)


def test_a_class_shows_one_pair_of_colour_and_shape():
    pictures = Pictures(0, 16)
    same, again = pictures.render(0, 12), pictures.render(0, 12)
    assert np.array_equal(same, again)
    assert len(np.unique(same.reshape(12, -1), axis=0)) == 12


# torchvision reads the same files, so the formats are not only what our own loader believes them to be


def test_torchvision_reads_the_stand_in_of_dtd(standins, tmp_path):
    (tmp_path / "dtd").mkdir()
    (tmp_path / "dtd/dtd").symlink_to(standins / "dtd")
    assert len(DTD(str(tmp_path), split="test")) == 9


def test_torchvision_reads_the_stand_in_of_food101(standins):
    data = Food101(str(standins), split="test")
    assert (len(data), data[8][1]) == (9, 2)


def test_torchvision_reads_the_stand_in_of_fgvc_aircraft(standins, tmp_path):
    (tmp_path / "fgvc-aircraft-2013b").mkdir()
    (tmp_path / "fgvc-aircraft-2013b/data").symlink_to(standins / "fgvc_aircraft")
    data = FGVCAircraft(str(tmp_path), split="val")
    assert (len(data), data.classes) == (12, ["707-320", "737-200", "747-400"])


def test_torchvision_reads_the_stand_in_of_stanford_cars(standins):
    data = StanfordCars(str(standins), split="test")
    assert (len(data), data[8][1], data.classes[2]) == (9, 2, "Acura TL Sedan 2012")


def test_setid_numbers_every_flower_once(standins):
    parts = loadmat(standins / "oxford_flowers/setid.mat")
    numbers = np.concatenate([parts[name].ravel() for name in ("trnid", "valid", "tstid")])
    assert sorted(numbers) == list(range(1, 31))
