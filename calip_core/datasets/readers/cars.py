"""StanfordCars: annotations in MATLAB's format, and class names that end in the year."""

from pathlib import Path

from calip_core.datasets.readers.disk import Found, Listing, Row, check_path
from calip_core.datasets.readers.matlab import read_mat, read_structs, whole_numbers
from calip_core.datasets.readers.own_splits import with_val

META = "devkit/cars_meta.mat"
ANNOTATIONS = {
    "train": ("cars_train", "devkit/cars_train_annos.mat"),
    "test": ("cars_test", "cars_test_annos_withlabels.mat"),
}
"""Split -> the folder of its images and the file with their labels."""


def read_cars(found: Found) -> Listing:
    """The official annotations, with the year moved to the front of each class name: ``2012 Audi A4 Sedan``.

    Raises:
        ValueError: a file is missing, damaged, or not as expected.
    """
    names = [year_first(str(name)) for name in read_mat(found.file(META), "class_names")]
    rows = {split: _rows(found.file(file), folder) for split, (folder, file) in ANNOTATIONS.items()}
    return with_val(found, names, rows, [file for _, file in ANNOTATIONS.values()])


def year_first(name: str) -> str:
    """``Audi A4 Sedan 2012`` -> ``2012 Audi A4 Sedan``."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


def _rows(path: Path, folder: str) -> list[Row]:
    files, labels = read_structs(path, "annotations", ("fname", "class"))
    return [
        Row(check_path(f"{folder}/{file}", path), label - 1)
        for file, label in zip(files, whole_numbers(labels, path), strict=True)
    ]
