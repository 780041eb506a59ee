"""The files of a feature store: one safetensors file per shard, its SHA-256 beside it, and a lock during writing."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from calip_core.digests import file_digest
from calip_core.features.manifest import Manifest
from calip_core.paths import atomic_path

State = Literal["whole", "missing", "damaged"]


@dataclass(frozen=True)
class Shards:
    """The files of one store.

    Attributes:
        folder: the store's folder.
        manifest: the store's manifest.
    """

    folder: Path
    manifest: Manifest

    def path(self, shard: int) -> Path:
        """The file of a shard: tensors "pooled" (n c), "spatial" (n m c) and "labels" (n)."""
        return self.folder / f"{shard:05d}.safetensors"

    def checksum_path(self, shard: int) -> Path:
        """The file of the shard's checksum, in the format of ``sha256sum --check``; it is written last."""
        return self.folder / f"{shard:05d}.sha256"

    def lock(self, shard: int) -> FileLock:
        """The claim on a shard. The system releases the lock when its process ends, however it ends."""
        return FileLock(self.folder / "locks" / f"{shard:05d}.lock")

    def state(self, shard: int) -> State:
        """Whether a shard exists, matches its checksum, and holds the images stated in the manifest.

        A file that did not change since it was read last is not read again (``file_digest``).
        """
        try:
            expected = self.checksum_path(shard).read_text(encoding="ascii").split()[0]
            found = file_digest(self.path(shard))
        except FileNotFoundError:
            return "missing"
        except (IndexError, UnicodeDecodeError):
            return "damaged"
        return "whole" if found == expected and self._fits(shard) else "damaged"

    def faults(self, most: int) -> tuple[int, list[str]]:
        """How many shards are missing or damaged, and the names of the first ``most`` with what is wrong.

        If files are missing, only those are listed: a damaged manifest may promise any number of shards.
        """
        shards, files = range(self.manifest.shards), {path.name for path in self.folder.glob("*.safetensors")}
        if len(shards) > len(files):
            missing = (f"{name} (missing)" for shard in shards if (name := self.path(shard).name) not in files)
            return len(shards) - len(files), list(islice(missing, most))
        states = ((self.path(shard).name, self.state(shard)) for shard in shards)
        bad = [f"{name} ({state})" for name, state in states if state != "whole"]
        return len(bad), bad[:most]

    def write(self, shard: int, tensors: Mapping[str, Tensor]) -> None:
        """Move a shard into place, then its checksum. Only the holder of the shard's lock may do this.

        Raises:
            OSError: the folder cannot be written, or the disk is full; complete shards are unaffected.
        """
        path = self.path(shard)
        for file in (path, self.checksum_path(shard)):
            _remove_leftovers(file)
        self.checksum_path(shard).unlink(missing_ok=True)
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        with atomic_path(self.checksum_path(shard)) as temporary:
            temporary.write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n", encoding="ascii")

    def open(self, shard: int) -> safe_open:
        """A memory-mapped shard, as a context manager; only the parts that are read are loaded."""
        return safe_open(self.path(shard), framework="pt")

    def _fits(self, shard: int) -> bool:
        manifest, n = self.manifest, len(self.manifest.images_of(shard))
        expected = [n, manifest.grid[0] * manifest.grid[1], manifest.width]
        try:
            with self.open(shard) as tensors:
                spatial = tensors.get_slice("spatial")
                return bool(spatial.get_shape() == expected)
        except SafetensorError:
            return False


def _remove_leftovers(path: Path) -> None:
    """Remove the leftovers of a process that was killed while writing this file. The caller holds its lock."""
    for file in path.parent.glob(f".{path.name}.*"):
        file.unlink(missing_ok=True)


def begin(folder: Path, manifest: Manifest) -> Shards:
    """Open or create the store of ``manifest`` in ``folder``; an existing store keeps its batch and shard sizes.

    A manifest that is damaged or describes something else is replaced; shards that do not match it are encoded again.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    with FileLock(folder / "locks" / "manifest.lock"):
        try:
            found = read_manifest(folder)
            if found.key == manifest.key:
                os.utime(path)  # `calip cache` shows when a store was used last
                return Shards(folder, found)
        except (FileNotFoundError, ValueError):
            pass
        _remove_leftovers(path)
        with atomic_path(path) as temporary:
            temporary.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return Shards(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store.

    Raises:
        FileNotFoundError: there is no store in this folder.
        ValueError: the file is not a manifest.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"no feature store in {folder}: make one with FeatureStore.encode(backbone, split)")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is no manifest of a feature store: {error}") from error
