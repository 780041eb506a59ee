"""The real photographs that come with scikit-image and scikit-learn: no download, each a class of its own."""

from importlib.util import find_spec
from pathlib import Path

from calip_core.datasets.cards import load_card
from calip_core.datasets.readers.folder import PhotoFiles
from calip_core.datasets.task import Split, Task


def load_photos() -> Task:
    """The photographs as an open-vocabulary test: which of the captions belongs to which picture?

    Eight of them are those of OpenAI's notebook "Interacting with CLIP". Only the test split has content. The files
    are read from the installed packages by path, because scikit-image's own functions may reach for the network.

    Raises:
        FileNotFoundError: a package or a file is not there.
    """
    card = load_card("photos")
    photographs = card.photographs or ()
    # As stored: what the packages' own functions give.
    files = PhotoFiles(tuple(package_file(photograph.file) for photograph in photographs), upright=False)
    nothing = PhotoFiles(())
    splits = {split: Split(nothing, (), paths=()) for split in ("train", "val")}
    splits["test"] = Split(files, range(len(photographs)), paths=files.paths)
    return Task.from_card(card, splits)


def package_file(file: str) -> Path:
    """Where ``package/path`` lies in the installed packages, found without importing the package.

    Raises:
        FileNotFoundError: the package is not installed, or its installation lacks the file.
    """
    package, _, inside = file.partition("/")
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / inside).is_file():
            return path
    raise FileNotFoundError(
        f"the photograph {file} is not among the installed packages: reinstall the package that provides {package!r} "
        "in the version that constraints.txt names"
    )
