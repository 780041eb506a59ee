"""ImageNet and the test sets derived from it: one folder per WordNet id (ImageNet-V2: numbered folders)."""

from collections.abc import Sequence
from pathlib import Path

from calip_core.datasets.readers.disk import TRAIN_AND_VAL, Found, IncompleteDatasetError, Listing, Row, names_in
from calip_core.datasets.readers.folder import class_folders
from calip_core.datasets.readers.own_splits import cut_val_off, folder_rows
from calip_core.prompts import IMAGENET_NAMES
from calip_core.reading import read_text

CLASSNAMES = "classnames.txt"
KAGGLES = "LOC_val_solution.csv"
VAL_IMAGES = 50
"""Images per class that are cut from train as val: as many as in the official validation set, which is test here."""


def read_imagenet(found: Found) -> Listing:
    """The folder ``val`` as test, in folders of classes or as Kaggle packs it.

    val is cut from ``train`` if that is present, else train and val are empty.

    Raises:
        IncompleteDatasetError: there is no ``val``, or a class is in only one of the two folders.
        ValueError: a folder is not a class.
    """
    if not (found.images / "val").is_dir():
        raise IncompleteDatasetError(f"ImageNet is incomplete: {found.images} has no folder val, the test images")
    names = _class_names(found)
    listed = (found.folder / KAGGLES).is_file()
    folders, test = _kaggles_val(found) if listed else _folder_rows(found, found.images / "val")
    classnames = tuple(_name(folder, names, found) for folder in folders)
    if not (found.images / "train").is_dir():
        sizes = found.card.sizes | {"train": 0, "val": 0}
        return Listing(classnames, {"test": test}, "official val as test; no images/train, so no train and val", sizes)
    in_train, train = _folder_rows(found, found.images / "train")
    if in_train != folders:
        odd = sorted(set(in_train) ^ set(folders))
        raise IncompleteDatasetError(f"{found.images}: the class folders {odd[:5]} are in only one of train and val")
    rows = cut_val_off(train, VAL_IMAGES) | {"test": test}
    source = f"official val as test; val is at most {VAL_IMAGES} images per class of train, by a hash of the file names"
    return Listing(classnames, rows, source, found.card.sizes, TRAIN_AND_VAL)


def read_variant(found: Found) -> Listing:
    """A test-only variant, with class folders directly in the folder of images.

    Raises:
        IncompleteDatasetError: a class has no images.
        ValueError: a folder is not a class.
    """
    names = _class_names(found)
    folders, test = _folder_rows(found, found.images)
    return Listing(tuple(_name(f, names, found) for f in folders), {"test": test}, "test only", found.card.sizes)


def imagenet_names(found: Found, synonyms: Sequence[str]) -> tuple[str, ...]:
    """The class names of tables whose labels are in the order of the WordNet ids and have WordNet's synonyms as names.

    Args:
        found: the dataset.
        synonyms: the tables' names of the classes, such as ``tench, Tinca tinca``.

    Raises:
        ValueError: there are not as many classes, or fewer than half of the names are among their synonyms.
    """
    names = _class_names(found)
    curated = tuple(names[wordnet_id] for wordnet_id in sorted(names))
    alike = sum(name.split()[-1].lower() in other.lower() for name, other in zip(curated, synonyms, strict=False))
    if len(synonyms) != len(curated) or alike < len(curated) / 2:  # in the same order, 83 % are
        raise ValueError(
            f"{found.images} has {len(synonyms)} classes, of which {alike} have ImageNet's name at their place, "
            f"expected {len(curated)} in the order of the WordNet ids: these are not ImageNet's tables"
        )
    return curated


def _folder_rows(found: Found, parent: Path) -> tuple[list[str], list[Row]]:
    folders = sorted(class_folders(parent), key=_class_order)
    rows = [row for label, folder in enumerate(folders) for row in folder_rows(folder, label, found.images)]
    return [folder.name for folder in folders], rows


def _kaggles_val(found: Found) -> tuple[list[str], list[Row]]:
    """The flat folder ``val``; its list has lines like ``ILSVRC2012_val_00048981,n03995372 85 1 499 272`` (a box)."""
    listed = [line.replace(",", " ").split()[:2] for line in found.lines(KAGGLES)[1:]]
    odd = [pair for pair in listed if len(pair) < 2]
    if odd or not listed:
        raise ValueError(f"{found.file(KAGGLES)} has the line {odd[:1]}, expected an image and its WordNet id")
    present = names_in(found.images / "val")
    pairs = [(image, wordnet_id) for image, wordnet_id in listed if f"{image}.JPEG" in present]
    if not pairs:
        raise IncompleteDatasetError(f"{found.images / 'val'} has none of the images that {KAGGLES} lists")
    folders = sorted({wordnet_id for _, wordnet_id in pairs})
    labels = {wordnet_id: label for label, wordnet_id in enumerate(folders)}
    return folders, [Row(f"val/{image}.JPEG", labels[wordnet_id]) for image, wordnet_id in sorted(pairs)]


def _class_order(folder: Path) -> tuple[int, str]:
    """Numbers in numerical order (2 before 10), WordNet ids in alphabetical order."""
    return (int(folder.name), "") if folder.name.isdecimal() else (0, folder.name)


def _class_names(found: Found) -> dict[str, str]:
    own = found.folder / CLASSNAMES
    path = own if own.is_file() else IMAGENET_NAMES
    names = {}
    for line in read_text(path).splitlines():
        wordnet_id, _, name = line.strip().partition(" ")
        if line.strip() and not name:
            raise ValueError(f"{path} has the line {line!r}, expected a WordNet id and a name, as in 'n01440764 tench'")
        names[wordnet_id] = name
    names.pop("", None)
    return names


def _name(folder: str, names: dict[str, str], found: Found) -> str:
    in_order = sorted(names)
    key = in_order[int(folder)] if folder.isdecimal() and int(folder) < len(names) else folder
    if key not in names:
        raise ValueError(
            f"{found.images} has the folder {folder}, which is not a class of ImageNet: expected a WordNet id as in "
            f"n01440764, or a number from 0 to {len(names) - 1}; remove it or add it to {CLASSNAMES}"
        )
    return names[key]
