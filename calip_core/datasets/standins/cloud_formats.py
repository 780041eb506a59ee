"""Writers for small point-cloud datasets in the formats of the published ones.

A writer takes the dataset's location, the classes as named in its files, the number of clouds per class, and solids.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from trimesh.exchange.off import export_off

from calip_core.datasets.cards import load_card
from calip_core.datasets.readers.disk import Found
from calip_core.datasets.standins.formats import first_for_test, write_lines
from calip_core.datasets.standins.solids import Solids

CloudWriter = Callable[[Found, Sequence[str], int, Solids], None]
POINTS = 2048
"""Points per cloud, as in the published HDF5 files; the published text files have 10,000, too many for a stand-in."""
TABLES = {"train": 2, "test": 1}
"""HDF5 files per split, if a list names them."""


def _card_classes(name: str) -> tuple[str, ...]:
    """The classes on a dataset's card, as file names."""
    return tuple(classname.replace(" ", "_") for classname in load_card(name).listed_classnames() or ())


CLOUD_CLASSES: dict[str, tuple[str, ...]] = {
    "modelnet10": _card_classes("modelnet10"),
    "modelnet40": (
        "airplane", "bottle", "cone", "flower_pot", "glass_box", "lamp", "night_stand", "person", "range_hood", "vase",
    ),
    "scanobjectnn": _card_classes("scanobjectnn"),
    "scanobjectnn_obj_bg": _card_classes("scanobjectnn_obj_bg"),
    "scanobjectnn_pb_t50_rs": _card_classes("scanobjectnn_pb_t50_rs"),
}  # fmt: skip
"""Classes available to a stand-in, named as in the dataset's own files."""


def _off(found: Found, classes: Sequence[str], clouds: int, solids: Solids) -> None:
    """A tree of meshes; the first of every class has OFF and its counts on one line, as many of ModelNet's files do."""
    for label, name in enumerate(classes):
        for number in range(clouds):
            split = "train" if number < first_for_test(clouds) else "test"
            text = export_off(solids.mesh(label, number))
            path = found.images / name / split / f"{name}_{number + 1:04}.off"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("OFF\n", "OFF", 1) if number == 0 else text, encoding="utf-8")


def _text(found: Found, classes: Sequence[str], clouds: int, solids: Solids) -> None:
    """Lines of ``x,y,z,nx,ny,nz``."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        (found.images / name).mkdir(parents=True)
        for number in range(clouds):
            cloud = f"{name}_{number + 1:04}"
            lists["train" if number < first_for_test(clouds) else "test"].append(cloud)
            points = solids.points(label, number, POINTS)
            np.savetxt(found.images / name / f"{cloud}.txt", points, fmt="%.6f", delimiter=",")
    for split, lines in lists.items():
        write_lines(found.images / found.place.lists[split], lines)
    _write_names(found, classes)


def _hdf5(found: Found, classes: Sequence[str], clouds: int, solids: Solids) -> None:
    """HDF5 tables with the published keys; lists, if the dataset has them, contain paths of another machine."""
    cut = first_for_test(clouds)
    for split, numbers in (("train", range(cut)), ("test", range(cut, clouds))):
        rows = [(label, number) for number in numbers for label in range(len(classes))]
        listed = found.place.lists[split]
        if listed.endswith(".h5"):
            _table(found.images / listed, rows, solids)
            continue
        names = [f"ply_data_{split}{part}.h5" for part in range(TABLES[split])]
        for part, name in enumerate(names):
            _table(found.images / name, rows[part :: len(names)], solids)
        write_lines(found.images / listed, [f"data/{found.images.name}/{name}" for name in names])
    _write_names(found, classes)


def _table(path: Path, rows: Sequence[tuple[int, int]], solids: Solids) -> None:
    points = np.stack([solids.points(label, number, POINTS)[:, :3] for label, number in rows])
    labels = np.array([[label] for label, _ in rows], dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=points, compression="gzip")
        file.create_dataset("label", data=labels)


def _write_names(found: Found, classes: Sequence[str]) -> None:
    if found.place.class_names is not None:
        write_lines(found.images / found.place.class_names, classes)


CLOUD_WRITERS: dict[str, CloudWriter] = {"clouds_off": _off, "clouds_text": _text, "clouds_hdf5": _hdf5}
"""Reader of a format -> its writer."""
