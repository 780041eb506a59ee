"""Lists, tables and split files of datasets."""

import json
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np

from calip_core.datasets.array_cache import map_array, write_array
from calip_core.datasets.cards import CARD_DIR, Card, load_card
from calip_core.datasets.readers.coop import READERS, read_split_file
from calip_core.datasets.readers.disk import MARKER, Found, find_dataset
from calip_core.datasets.readers.matlab import read_mat, read_structs, whole_numbers
from calip_core.datasets.standins import write_standin
from calip_core.reading import read_json
from calip_core.templates import read_descriptions
from calip_core.yaml_model import read_model
from tests.fuzz.harness import Target

LISTS = {
    "oxford_pets": "annotations/trainval.txt",
    "food101": "meta/train.txt",
    "dtd": "labels/train1.txt",
    "fgvc_aircraft": "images_variant_train.txt",
    "sun397": "Training_01.txt",
    "ucf101": "ucfTrainTestlist/trainlist01.txt",
    "imagenet": "classnames.txt",
}
"""Dataset -> one of its own text lists."""
SPLIT = {split: [[f"c/{split}{i}.jpg", i, f"c{i}"] for i in range(3)] for split in ("train", "val", "test")}
SHAPE = (4, 3)


@cache
def _standin(name: str) -> Found:
    """A small stand-in, which the reader of the dataset's own lists reads."""
    root = Path(tempfile.mkdtemp(prefix="fuzz-lists-"))
    write_standin(name, root, classes=2, images=5, resolution=8)
    return find_dataset(load_card(name), root)


def _list(name: str) -> list[bytes]:
    return [_standin(name).file(LISTS[name]).read_bytes()]


def _read_list(name: str, path: Path) -> None:
    """Put the mutated list in the place of the whole one; a message about it names the list."""
    found = _standin(name)
    target = found.file(LISTS[name])
    shutil.copyfile(path, target)
    assert found.place.reader is not None
    READERS[found.place.reader](found)


def _read_split(path: Path) -> None:
    read_split_file(_standin("dtd"), path)


def _read_marker(path: Path) -> None:
    root = path.parent
    images = root / "dtd" / "images"
    images.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, root / "dtd" / MARKER)
    find_dataset(load_card("dtd"), root)


def _marker() -> list[bytes]:
    return [(_standin("dtd").folder / MARKER).read_bytes()]


def _mat() -> list[bytes]:
    """Structs, numbers, and numbers in version 7.3."""
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder, "x.mat"), "w", userblock_size=512) as file:
            file["labels"] = np.ones((1, 5))
        hdf5 = Path(folder, "x.mat").read_bytes()
    cars, flowers = _standin("stanford_cars"), _standin("oxford_flowers")
    files = cars.file("cars_test_annos_withlabels.mat"), flowers.file("imagelabels.mat")
    return [*(file.read_bytes() for file in files), hdf5]


def _read_mat(path: Path) -> None:
    if b"fname" in path.read_bytes():
        read_structs(path, "annotations", ("fname", "class"))
    else:
        whole_numbers(read_mat(path, "labels"), path)


def _array() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        write_array(path, SHAPE, np.uint8, iter([np.arange(12, dtype=np.uint8).reshape(SHAPE)]))
        return [path.read_bytes()]


def _cards() -> list[bytes]:
    return [(CARD_DIR / f"{name}.yaml").read_bytes() for name in ("dtd", "photos", "modelnet40")]


def _splits() -> list[bytes]:
    return [json.dumps(SPLIT).encode(), json.dumps(SPLIT, indent=1).encode("utf-16")]


def _descriptions() -> list[bytes]:
    content = {"cat": ["A small animal.", 'Say "cat".'], "café": ["It serves \N{HOT BEVERAGE}."]}
    return [json.dumps(content).encode(), json.dumps(content, indent=1, ensure_ascii=False).encode()]


TARGETS = [
    *(
        Target(f"lists of {name}", Path(file).name, partial(_list, name), partial(_read_list, name))
        for name, file in LISTS.items()
    ),
    Target("split file", "split.json", _splits, _read_split),
    Target("JSON", "cat_to_name.json", lambda: [b'{"1": "rose", "2": "lily"}'], read_json),
    Target("class descriptions", "descriptions.json", _descriptions, read_descriptions),
    Target("mark of a stand-in", MARKER, _marker, _read_marker),
    Target("MATLAB", "x.mat", _mat, _read_mat, in_child=True),
    Target("rendered images", "x.npy", _array, lambda path: map_array(path, SHAPE, np.uint8)),
    Target("card", "card.yaml", _cards, lambda path: read_model(path, Card, "a task")),
]
