"""Stand-ins of all datasets, written once a run; a test that changes files takes a copy."""

import shutil

import pytest

from calip_core.datasets import disk_datasets
from calip_core.datasets.standins import write_standin

CLASSES, IMAGES = 3, 10


@pytest.fixture(scope="session")
def standins(tmp_path_factory):
    """A root with every dataset in its first layout, with CoOp's split files."""
    root = tmp_path_factory.mktemp("standins")
    for name in disk_datasets():
        write_standin(name, root, classes=CLASSES, images=IMAGES, resolution=24)
    return root


@pytest.fixture
def copied(standins, tmp_path):
    """Copies datasets' folders, by the folders' names, to a root of the test's own."""

    def copy(*folders):
        for folder in folders:
            shutil.copytree(standins / folder, tmp_path / "root" / folder)
        return tmp_path / "root"

    return copy
