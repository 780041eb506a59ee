"""Point-cloud tasks from the user's disk: the published datasets, and folders of one's own."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from tqdm import tqdm

from calip_core.datasets.cards import load_card
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.clouds.listings import SPLIT_FOLDERS
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.readers.coop import list_dataset
from calip_core.datasets.readers.cuts import BY_RULE, VAL_BY_RULE, cut_class
from calip_core.datasets.readers.disk import Found, Listing, Row, check_listing, find_dataset
from calip_core.datasets.readers.folder import class_folders
from calip_core.datasets.readers.own_splits import cut_val_off
from calip_core.digests import file_digests
from calip_core.paths import data_root
from calip_core.pointclouds.clouds import Cloud
from calip_core.pointclouds.files import ARRAYS, EITHER, MESHES, read_cloud
from calip_core.pointclouds.hdf5 import read_row
from calip_core.pointclouds.names import UpAxis
from calip_core.pointclouds.surfaces import seed_for

SAMPLED = 2048
"""Minimum number of points sampled from a mesh: as many as in the published tables."""
TEMPLATES = ("point cloud depth map of a {}.",)
"""PointCLIP's, for zero-shot classification."""
SUFFIXES = (*MESHES, *EITHER, ".xyz", *ARRAYS)
"""Suffixes of clouds in one's own folder; ``.txt`` is not among them, because such files are more likely notes."""
SHOWN = 10
"""How many unreadable files a message names."""


@dataclass(frozen=True)
class CloudFiles:
    """Reads cloud i from the i-th file.

    Attributes:
        folder: parent folder of all files.
        names: paths of the files relative to it, with ``/`` between the parts.
        count: number of points sampled from a mesh.
        seed: seed of the sampling; each file's own seed is derived from it and the file's name.
    """

    folder: Path
    names: tuple[str, ...]
    count: int
    seed: int

    def __call__(self, index: int) -> Cloud:
        name = self.names[index]
        return read_cloud(self.folder / name, self.count, seed_for(name, self.seed))

    def origin(self, index: int) -> str:
        """The path of a file."""
        return str(self.folder / self.names[index])

    def identity(self) -> str:
        """A digest of the files' names and contents, and of what decides about sampled points."""
        meshes = any(name.lower().endswith((*MESHES, *EITHER)) for name in self.names)
        sampling = [self.count, self.seed, np.__version__, trimesh.__version__] if meshes else []
        return _digest(sampling, {name: self.folder / name for name in self.names})


@dataclass(frozen=True)
class CloudRows:
    """Reads cloud i from a row of an HDF5 file.

    Attributes:
        files: name -> path of each file.
        names: ``FILE#ROW`` of every cloud.
    """

    files: Mapping[str, Path]
    names: tuple[str, ...]

    def __call__(self, index: int) -> Cloud:
        name, _, row = self.names[index].rpartition("#")
        return read_row(self.files[name], int(row))

    def origin(self, index: int) -> str:
        """The path of the file, and the row."""
        name, _, row = self.names[index].rpartition("#")
        return f"{self.files[name]}, row {int(row)}"

    def identity(self) -> str:
        """A digest of the rows, and of the files' names and contents."""
        return _digest(self.names, self.files)


def _digest(parameters: Sequence[object], files: Mapping[str, Path]) -> str:
    contents = dict(zip(files, file_digests(list(files.values())), strict=True))
    return hashlib.sha256(json.dumps([*parameters, contents]).encode()).hexdigest()


def load_clouds(
    name: str, root: Path | None = None, template_set: str | None = None, *, points: int = 1024, seed: int = 0
) -> CloudTask:
    """Load a point-cloud dataset that has a card and whose files are on the user's disk.

    Only lists, labels and file names are read at first. Stored clouds are used as they are; meshes are sampled by area.

    Args:
        name: name of the card.
        root: the parent folder of all datasets; by default, ``$CALIP_DATA`` or ``data/datasets``.
        template_set: ``"fewshot"`` for PointCLIP's prompt with few shots; by default, the card's own templates.
        points: points needed per cloud; a mesh is sampled at this many points, but at least 2,048.
        seed: seed of the sampling of meshes.

    Raises:
        FileNotFoundError: the dataset is missing (``MissingDatasetError``).
        ValueError: it is not a point-cloud dataset, there is no such set of templates, it is incomplete
            (``IncompleteDatasetError``), or its files are damaged or not as expected.
    """
    card = load_card(name)
    if card.kind != "clouds":
        raise ValueError(f"{name} is a task of images, expected one of point clouds: load_task({name!r}) reads it")
    templates = card.choose_templates(template_set)
    found = find_dataset(card, root or data_root())
    listing = list_dataset(found)
    check_listing(found, listing)
    standin = found.standin
    return CloudTask(
        name=name,
        title=f"{card.title} (stand-in)" if standin else card.title,
        classnames=listing.classnames,
        templates=templates,
        splits={split: _split(found, listing, listing.rows.get(split, []), points, seed) for split in SPLITS},
        licence="MIT" if standin else card.licence,
        source=f"procedural solids in the format of {card.title}, by {standin.made_by}" if standin else card.source,
        citation=card.citation,
        split_source=f"stand-in: {listing.split_source}" if standin else listing.split_source,
        standin=standin is not None,
        up=found.place.up,
    )


def _split(found: Found, listing: Listing, rows: Sequence[Row], points: int, seed: int) -> CloudSplit:
    if not listing.inside:
        return _file_split(found.images, rows, points, seed)
    names = tuple(row.path for row in rows)
    read = CloudRows({name: found.file(name) for name in sorted({path.rpartition("#")[0] for path in names})}, names)
    return CloudSplit(read, [row.label for row in rows], read.identity, read.origin)


def _file_split(folder: Path, rows: Sequence[Row], points: int, seed: int) -> CloudSplit:
    read = CloudFiles(folder, tuple(row.path for row in rows), max(points, SAMPLED), seed)
    return CloudSplit(read, [row.label for row in rows], read.identity, read.origin)


def load_cloud_folder(
    path: Path, name: str, *, points: int = 1024, seed: int = 0, up: UpAxis = "y"
) -> CloudTask:
    """Make a task from a folder with one sub-folder of meshes (OFF, OBJ, STL, PLY) or clouds (XYZ, NPY, PLY) per class.

    Each class is named after its sub-folder, with ``_`` read as a space; classes are sorted by folder name. If every
    class has the folders ``train`` and ``test`` (such as some classes of ModelNet40), those are the splits, and val is
    a fifth of train. Otherwise every class is cut into 50 % train, 20 % val and 30 % test by a hash of the file names.
    Hidden files and files with other suffixes are ignored. Every file is read once, so that damaged files are reported
    now and not hours later.

    Args:
        path: the folder.
        name: name of the task.
        points: as in ``load_clouds``.
        seed: seed of the sampling of meshes.
        up: the axis that points up in the files.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        NotADirectoryError: ``path`` is a file.
        ValueError: there are no sub-folders, a class has no clouds, or clouds cannot be read (the message names them).
        OSError: a file cannot be read.
    """
    folders = class_folders(path, "clouds")
    ready = all((folder / split).is_dir() for folder in folders for split in SPLIT_FOLDERS)
    rows, split_source = _ready_made(folders, path) if ready else _cut(folders, path)
    _check_files(path, [row.path for split in SPLITS for row in rows[split]], max(points, SAMPLED), seed)
    return CloudTask(
        name=name,
        title=f"Clouds in {path.name or path}",
        classnames=tuple(folder.name.replace("_", " ").strip() for folder in folders),
        templates=TEMPLATES,
        splits={split: _file_split(path, rows[split], points, seed) for split in SPLITS},
        licence="that of the clouds' owner",
        source=str(path),
        split_source=split_source,
        up=up,
        shuffled=True,
    )


def _ready_made(folders: Sequence[Path], below: Path) -> tuple[dict[str, list[Row]], str]:
    train, test = (
        [row for label, folder in enumerate(folders) for row in _rows(cloud_files(folder / split), label, below)]
        for split in SPLIT_FOLDERS
    )
    return cut_val_off(train) | {"test": test}, f"the folders train and test of every class; {VAL_BY_RULE}"


def _cut(folders: Sequence[Path], below: Path) -> tuple[dict[str, list[Row]], str]:
    cuts = [cut_class(cloud_files(folder), Path) for folder in folders]
    rows = {
        split: [row for label, cut in enumerate(cuts) for row in _rows(sorted(cut[split]), label, below)]
        for split in SPLITS
    }
    return rows, BY_RULE


def _rows(files: Iterable[Path], label: int, below: Path) -> list[Row]:
    return [Row(file.relative_to(below).as_posix(), label) for file in files]


def cloud_files(folder: Path) -> list[Path]:
    """The visible files of a class folder with a mesh or cloud suffix, sorted by name.

    Raises:
        ValueError: there are none.
    """
    files = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not files:
        raise ValueError(
            f"the sub-folder {folder} has no clouds of its own: add some ({', '.join(SUFFIXES)}), or remove it"
        )
    return sorted(files)


def _check_files(folder: Path, names: Sequence[str], count: int, seed: int) -> None:
    faults = []
    read = CloudFiles(folder, tuple(names), count, seed)
    for index in tqdm(range(len(names)), "checking clouds", delay=2, leave=False):
        try:
            read(index)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        raise ValueError(
            f"{len(faults)} of {len(names)} clouds in {folder} cannot be read; repair or remove them:\n{shown}{more}"
        )
