"""Writers for small datasets in the format of each published one: folders, lists, MATLAB and JSON files.

A writer takes the dataset's folder, the classes as named in its files, the number of images per class, and the picture
generator.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy.io import savemat

from calip_core.datasets.readers.flowers import CLASSNAMES as FLOWERS
from calip_core.datasets.readers.ucf101 import words
from calip_core.datasets.standins.pictures import Pictures
from calip_core.prompts import IMAGENET_NAMES

Writer = Callable[[Path, Sequence[str], int, Pictures], None]
TEST = 0.3
"""Fraction of each class that the official lists assign to test."""

_WORDNET = tuple(line.split()[0] for line in IMAGENET_NAMES.read_text(encoding="utf-8").splitlines())

IMAGE_CLASSES: dict[str, tuple[str, ...]] = {
    "caltech101": (
        "Faces", "Leopards", "Motorbikes", "accordion", "airplanes", "anchor", "ant", "barrel", "crocodile_head",
        "wild_cat",
    ),
    "oxford_pets": (
        "Abyssinian", "american_bulldog", "Bengal", "beagle", "Birman", "boxer", "Bombay", "pug", "Egyptian_Mau",
        "yorkshire_terrier",
    ),
    "stanford_cars": (
        "AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012", "Audi A5 Coupe 2012",
        "BMW M3 Coupe 2012", "Chevrolet Corvette ZR1 2012", "Dodge Caravan Minivan 1997", "FIAT 500 Abarth 2012",
        "Ferrari California Convertible 2012", "smart fortwo Convertible 2012",
    ),
    "oxford_flowers": tuple(FLOWERS.read_text(encoding="utf-8").splitlines()),
    "food101": (
        "apple_pie", "baby_back_ribs", "baklava", "beef_carpaccio", "caesar_salad", "donuts", "ice_cream", "pizza",
        "sushi", "waffles",
    ),
    "fgvc_aircraft": (
        "707-320", "737-200", "747-400", "A320", "ATR-72", "Cessna 172", "DC-10", "F/A-18", "Fokker 100", "Spitfire",
    ),
    "sun397": (
        "/a/abbey", "/a/airport_terminal", "/b/bakery/shop", "/c/church/indoor", "/c/church/outdoor", "/d/desert/sand",
        "/k/kitchen", "/l/lighthouse", "/t/tower", "/w/waterfall/block",
    ),
    "dtd": (
        "banded", "blotchy", "braided", "bubbly", "cracked", "dotted", "honeycombed", "striped", "woven", "zigzagged",
    ),
    "eurosat": (
        "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
        "Residential", "River", "SeaLake",
    ),
    "ucf101": (
        "ApplyEyeMakeup", "ApplyLipstick", "Archery", "BabyCrawling", "BalanceBeam", "Basketball", "Biking",
        "HandstandPushups", "TaiChi", "YoYo",
    ),
    "imagenet": _WORDNET,
    "imagenet_v2": tuple(str(number) for number in range(1000)),
    "imagenet_sketch": _WORDNET,
    "imagenet_a": _WORDNET[6:60:6],
    "imagenet_r": _WORDNET[1:80:8],
}  # fmt: skip
"""Classes available to a stand-in, named as in the dataset's own files."""


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file, creating its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_for_test(images: int) -> int:
    """The index of a class's first test image; those before it are for training."""
    return images - max(1, round(images * TEST))


def _caltech(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    top = folder / "101_ObjectCategories"
    for label, name in enumerate([*classes, "BACKGROUND_Google", "Faces_easy"]):
        pictures.write(label, [top / name / f"image_{number:04}.jpg" for number in range(1, images + 1)])


def _eurosat(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    for label, name in enumerate(classes):
        pictures.write(label, [folder / "2750" / name / f"{name}_{number}.jpg" for number in range(1, images + 1)])


def _pets(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    lines = []
    for label, name in enumerate(classes):
        species, files = 1 + name.islower(), [f"{name}_{number}" for number in range(1, images + 1)]
        pictures.write(label, [folder / "images" / f"{file}.jpg" for file in files])
        lines.append([f"{file} {label + 1} {species} {label // 2 + 1}" for file in files])
    cut = first_for_test(images)
    write_lines(folder / "annotations/trainval.txt", [line for group in lines for line in group[:cut]])
    write_lines(folder / "annotations/test.txt", [line for group in lines for line in group[cut:]])


_CAR = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]


def _cars(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    shown, cut = [pictures.render(label, images) for label in range(len(classes))], first_for_test(images)
    _cars_split(folder / "cars_train", folder / "devkit/cars_train_annos.mat", [group[:cut] for group in shown])
    _cars_split(folder / "cars_test", folder / "cars_test_annos_withlabels.mat", [group[cut:] for group in shown])
    _mat(folder / "devkit/cars_meta.mat", {"class_names": np.array([classes], dtype=object)})


def _cars_split(folder: Path, annotations: Path, groups: Sequence[UInt8[np.ndarray, "_ h w 3"]]) -> None:
    labels = [label for label, group in enumerate(groups, start=1) for _ in group]
    names = [f"{number:05}.jpg" for number in range(1, len(labels) + 1)]
    Pictures.save(np.concatenate(groups), [folder / name for name in names])
    rows = [(0, 0, 1, 1, label, name) for label, name in zip(labels, names, strict=True)]
    _mat(annotations, {"annotations": np.array([rows], dtype=_CAR)})


def _mat(path: Path, variables: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def _flowers(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    labels = [label for label in range(len(classes)) for _ in range(images)]
    paths = [folder / "jpg" / f"image_{number:05}.jpg" for number in range(1, len(labels) + 1)]
    for label in range(len(classes)):
        pictures.write(label, paths[label * images : (label + 1) * images])
    numbers = np.arange(1, len(labels) + 1)
    _mat(folder / "imagelabels.mat", {"labels": np.array([labels]) + 1})
    thirds = {"trnid": numbers[::3], "valid": numbers[1::3], "tstid": numbers[2::3]}
    _mat(folder / "setid.mat", {name: part[None] for name, part in thirds.items()})
    names = {str(number): name for number, name in enumerate(classes, start=1)}
    (folder / "cat_to_name.json").write_text(json.dumps(names), encoding="utf-8")


def _food(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    groups = [[f"{name}/{100_000 + number}" for number in range(images)] for name in classes]
    for label, group in enumerate(groups):
        pictures.write(label, [folder / "images" / f"{path}.jpg" for path in group])
    cut = first_for_test(images)
    write_lines(folder / "meta/classes.txt", classes)
    write_lines(folder / "meta/labels.txt", [name.replace("_", " ").capitalize() for name in classes])
    for split, part in (("train", slice(0, cut)), ("test", slice(cut, images))):
        listed = {name: group[part] for name, group in zip(classes, groups, strict=True)}
        write_lines(folder / f"meta/{split}.txt", [path for group in listed.values() for path in group])
        (folder / f"meta/{split}.json").write_text(json.dumps(listed), encoding="utf-8")


def _thirds(images: int) -> dict[str, slice]:
    """Thirds of a class, for official lists of train, val and test."""
    first, second = round(images / 3), round(2 * images / 3)
    return {"train": slice(0, first), "val": slice(first, second), "test": slice(second, images)}


def _aircraft(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    groups = [[f"{34_309 + label * 1000 + number:07}" for number in range(images)] for label in range(len(classes))]
    for label, group in enumerate(groups):
        pictures.write(label, [folder / "images" / f"{image}.jpg" for image in group])
    write_lines(folder / "variants.txt", classes)
    for split, part in _thirds(images).items():
        lines = [f"{image} {name}" for name, group in zip(classes, groups, strict=True) for image in group[part]]
        write_lines(folder / f"images_variant_{split}.txt", lines)


def _dtd(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    groups = [[f"{name}/{name}_{number:04}.jpg" for number in range(1, images + 1)] for name in classes]
    for label, group in enumerate(groups):
        pictures.write(label, [folder / "images" / path for path in group])
    for split, part in _thirds(images).items():
        write_lines(folder / f"labels/{split}1.txt", [path for group in groups for path in group[part]])


def _sun(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    groups = [[f"{name}/sun_a{number:015}.jpg" for number in range(images)] for name in classes]
    for label, group in enumerate(groups):
        pictures.write(label, [folder / f"SUN397{path}" for path in group])
    cut = first_for_test(images)
    write_lines(folder / "ClassName.txt", classes)
    write_lines(folder / "Training_01.txt", [path for group in groups for path in group[:cut]])
    write_lines(folder / "Testing_01.txt", [path for group in groups for path in group[cut:]])


def _ucf(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    groups = [[f"v_{name}_g{number:02}_c01" for number in range(1, images + 1)] for name in classes]
    for label, (name, group) in enumerate(zip(classes, groups, strict=True)):
        pictures.write(label, [folder / "UCF-101-midframes" / words(name) / f"{video}.jpg" for video in group])
    numbered, cut = list(enumerate(zip(classes, groups, strict=True), start=1)), first_for_test(images)
    lists = folder / "ucfTrainTestlist"
    write_lines(lists / "classInd.txt", [f"{number} {name}" for number, (name, _) in numbered])
    train = [f"{name}/{video}.avi {number}" for number, (name, group) in numbered for video in group[:cut]]
    write_lines(lists / "trainlist01.txt", train)
    test = [f"{name}/{video}.avi" for _, (name, group) in numbered for video in group[cut:]]
    write_lines(lists / "testlist01.txt", test)


def _class_names(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_bytes(IMAGENET_NAMES.read_bytes())


def _imagenet(folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    cut = first_for_test(images)
    for label, name in enumerate(classes):
        train = [folder / f"images/train/{name}/{name}_{number}.JPEG" for number in range(cut)]
        first = label * (images - cut) + 1
        test = [f"ILSVRC2012_val_{first + number:08}.JPEG" for number in range(images - cut)]
        pictures.write(label, [*train, *(folder / "images/val" / name / file for file in test)])
    _class_names(folder)


def _variant(where: str, suffix: str, folder: Path, classes: Sequence[str], images: int, pictures: Pictures) -> None:
    for label, name in enumerate(classes):
        pictures.write(label, [folder / where / name / f"{label:03}_{number:04}.{suffix}" for number in range(images)])
    _class_names(folder)


WRITERS: dict[str, Writer] = {
    "caltech101": _caltech,
    "oxford_pets": _pets,
    "stanford_cars": _cars,
    "oxford_flowers": _flowers,
    "food101": _food,
    "fgvc_aircraft": _aircraft,
    "sun397": _sun,
    "dtd": _dtd,
    "eurosat": _eurosat,
    "ucf101": _ucf,
    "imagenet": _imagenet,
    "imagenet_v2": partial(_variant, "imagenetv2-matched-frequency-format-val", "jpeg"),
    "imagenet_sketch": partial(_variant, "images", "JPEG"),
    "imagenet_a": partial(_variant, "imagenet-a", "jpg"),
    "imagenet_r": partial(_variant, "imagenet-r", "jpg"),
}
"""Dataset -> its writer."""
