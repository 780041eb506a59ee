"""The user's own images as a task: ``folder:PATH`` with one sub-folder per class."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from calip_core.datasets.checks import SPLITS
from calip_core.datasets.readers.cuts import BY_RULE, cut_class
from calip_core.datasets.readers.pictures import NOT_READ, SUFFIXES, open_picture
from calip_core.datasets.task import Split, Task

TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True)
class PhotoFiles:
    """Reads image i from the i-th file.

    Attributes:
        paths: the files.
        upright: whether to rotate images as their EXIF data says. Published benchmarks do not, so theirs are read as
            stored.
    """

    paths: Sequence[Path]
    upright: bool = True

    def __call__(self, index: int) -> Image.Image:
        return open_picture(self.paths[index], upright=self.upright)


def load_folder(path: Path, name: str, unreadable: str = "error") -> Task:
    """Make a task from a folder with one sub-folder of images per class.

    Each class is named after its sub-folder, with ``_`` read as a space; classes are sorted by folder name. Every class
    is cut into 50 % train, 20 % val and 30 % test by a hash of the file names. The same files therefore give the same
    splits on every machine, and an additional file moves few others. Hidden files and files without an image extension
    are ignored; images of kinds that are not read (such as HEIC) are counted in a warning. Every image is decoded once
    (at an eighth of its size if the format allows it), so that damaged images are reported now and not hours later.

    Args:
        path: the folder.
        name: name of the task.
        unreadable: ``"error"`` names the unreadable images and stops; ``"skip"`` drops them with a warning.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        NotADirectoryError: ``path`` is a file.
        ValueError: there are no sub-folders, one has no (readable) images or a name that is not UTF-8, some images
            cannot be read, or ``unreadable`` is invalid.
    """
    if unreadable not in ("error", "skip"):
        raise ValueError(f'unreadable={unreadable!r}, expected "error" or "skip"')
    folders = class_folders(path)
    classnames = tuple(map(_class_name, folders))
    images = {folder: image_files(folder) for folder in folders}
    broken = unreadable_images([file for files in images.values() for file in files])
    if broken:
        _report(broken, unreadable)
    if others := _not_read(file for folder in folders for file in folder.iterdir()):
        warnings.warn(f"left out of {path}: {others}; convert them to JPEG or PNG", UserWarning, stacklevel=3)
    cuts = [cut_class(set(images[folder]) - set(broken), Path) for folder in folders]
    for folder, cut in zip(folders, cuts, strict=True):
        if not any(cut.values()):
            raise ValueError(f"the sub-folder {folder} has no readable images: add some, or remove it")
    splits = {split: _split([sorted(cut[split]) for cut in cuts]) for split in SPLITS}
    return Task(
        name=name,
        title=f"Images in {path.name or path}",
        classnames=classnames,
        templates=TEMPLATES,
        splits=splits,
        licence="that of the images' owner",
        source=str(path),
        split_source=BY_RULE,
    )


def _class_name(folder: Path) -> str:
    name = folder.name.replace("_", " ").strip()
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise ValueError(
            f"the name of the folder {str(folder)!a} is not UTF-8, and no class can be called so: rename it"
        )
    return name


def _not_read(files: Iterable[Path]) -> str:
    """How many of the files are pictures of kinds that are not read, such as ``3 .heic``; empty if none is."""
    counts = Counter(file.suffix.lower() for file in files if file.suffix.lower() in NOT_READ)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return f"images of kinds that are not read ({kinds})" if kinds else ""


def class_folders(path: Path, content: str = "images") -> list[Path]:
    """The visible sub-folders of ``path``, sorted by name.

    Args:
        path: the parent folder.
        content: what the sub-folders contain, for error messages.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: ``path`` is a file.
        ValueError: there are no sub-folders.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no folder {path.absolute()}: check the path")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, expected a folder with one sub-folder of {content} for each class")
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise ValueError(f"{path} has no sub-folders, expected one for each class, named like it, with its {content}")
    return sorted(folders, key=lambda folder: folder.name)


def image_files(folder: Path) -> list[Path]:
    """The visible files of a class folder with an image extension, sorted by name.

    Raises:
        ValueError: there are none.
    """
    files = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not files:
        others = _not_read(folder.iterdir())
        raise ValueError(
            f"the sub-folder {folder} has no images of its own{f', only {others}' if others else ''}: add some (as in "
            f"{folder / 'image.jpg'}), or remove it"
        )
    return sorted(files)


def unreadable_images(paths: Sequence[Path]) -> dict[Path, Exception]:
    """The images that cannot be decoded, each with its error."""
    with ThreadPoolExecutor() as pool:
        faults = list(tqdm(pool.map(_fault, paths), "checking images", len(paths), delay=2, leave=False))
    return {path: fault for path, fault in zip(paths, faults, strict=True) if fault is not None}


def _fault(path: Path) -> Exception | None:
    try:
        open_picture(path, only_check=True)
    except (ValueError, OSError) as error:
        return error
    return None


def _report(broken: dict[Path, Exception], unreadable: str) -> None:
    shown = "\n".join(f"  {path} ({fault.__cause__ or fault})" for path, fault in list(broken.items())[:10])
    more = f"\n  and {len(broken) - 10} more" if len(broken) > 10 else ""
    if unreadable == "error":
        raise ValueError(
            f"{len(broken)} image(s) cannot be read; repair or remove them, or from Python, leave them out by "
            f'load_task(..., unreadable="skip"):\n{shown}{more}'
        )
    warnings.warn(f"skipped {len(broken)} image(s) that cannot be read:\n{shown}{more}", UserWarning, stacklevel=4)


def _split(files_by_class: list[list[Path]]) -> Split:
    labels = [label for label, files in enumerate(files_by_class) for _ in files]
    paths = tuple(file for files in files_by_class for file in files)
    return Split(PhotoFiles(paths), labels, paths=paths, identity="turned upright by EXIF, transparency on white")
