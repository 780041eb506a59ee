"""Datasets as they lie on public hubs: webdataset shards and parquet tables, with the text files beside them."""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from calip_core.datasets.hub.origin import NOTE, Origin, origin_of
from calip_core.datasets.hub.shards import load_shards
from calip_core.datasets.hub.tables import load_tables
from calip_core.datasets.task import Task
from tests.datasets.hub.written import write_shards, write_tables
from tests.fuzz.harness import Target

SMALL = {"train": 3, "test": 6}


@cache
def _files(write: Callable[..., Path]) -> dict[str, bytes]:
    """The files of a small dataset, by their paths below its folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder, "set"), SMALL)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _read(load: Callable[[Path, str], Task], write: Callable[..., Path], name: str, path: Path) -> object:
    """Load the dataset with one of its files replaced by the mutated one, and look at all its images."""
    root = path.parent / "set"
    for other, content in _files(write).items():
        target = root / other
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes() if other == name else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names without images, encodings
        task = load(root, "mutated")
    return [image.size for split in task.splits.values() for image, _ in split]


def _target(load: Callable[[Path, str], Task], write: Callable[..., Path], name: str) -> Target:
    seeds: Callable[[], Sequence[bytes]] = lambda: [_files(write)[name]]  # noqa: E731
    return Target(f"{load.__name__} {name}", Path(name).name, seeds, partial(_read, load, write, name))


def _note() -> list[bytes]:
    origin = Origin(repository="owner/things", revision="ab" * 20, asked="v1", files={"data/test.parquet": "cd" * 32})
    return [origin.model_dump_json(indent=1).encode()]


TARGETS = [
    *(_target(load_shards, write_shards, name) for name in ("test/0.tar", "test/nshards.txt", "classnames.txt")),
    _target(load_tables, write_tables, "data/test-00000-of-00002.parquet"),
    Target("note of a fetch", NOTE, _note, lambda path: origin_of(path.parent)),
]
