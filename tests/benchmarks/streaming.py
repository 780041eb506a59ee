"""Memory that streaming CALIP takes (Linux): besides the logits, it must not grow with the number of images.

``python -m tests.benchmarks.streaming 50000`` measures one size.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import normalize

from calip_core.analysis.speed_records import Measurement
from calip_core.features import FeatureStore, Manifest
from calip_core.features.shards import Shards, begin

GRID, WIDTH, CLASSES, SHARD = (7, 7), 1024, 100, 256  # 49 spatial tokens and the pooled one
SIZES = (5_000, 50_000)
MIB = 2**20
NOISE = 0.01  # of what the features grew by: memory that grew with the images would show far above it


@dataclass(frozen=True)
class Streaming:
    """What streaming took, in MiB. ``beyond`` is the peak less what the process had before and less the logits."""

    images: int
    features: float
    logits: float
    before: float
    peak: float
    seconds: float

    @property
    def beyond(self) -> float:
        return self.peak - self.before - self.logits


def run() -> Iterator[Measurement]:
    """5,000 and 50,000 images x 50 tokens x 1,024 channels, half precision, each in a process of its own."""
    found = [measure(images) for images in SIZES]
    for size in found:
        what = f"{size.images:,} images x {CLASSES} classes, {size.features:,.0f} MiB of features"
        yield Measurement(what=f"{what}: memory beyond the three logit arrays", value=size.beyond, unit="MiB")
        yield Measurement(what=f"{what}: time", value=size.seconds, unit="s")
    growth, features = (getattr(found[-1], name) - getattr(found[0], name) for name in ("beyond", "features"))
    yield Measurement(
        what=f"growth of that memory from {SIZES[0]:,} to {SIZES[-1]:,} images", value=growth, unit="MiB",
        goal=round(NOISE * features), better="lower",
    )  # fmt: skip


def measure(images: int) -> Streaming:
    """Make a synthetic store, and stream it in a fresh process, whose peak is its own."""
    with tempfile.TemporaryDirectory() as folder:
        synthetic_store(Path(folder), images)
        command = [sys.executable, "-m", "tests.benchmarks.streaming", "--stream", folder]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Streaming(**json.loads(result.stdout.splitlines()[-1]))


def stream(folder: Path) -> Streaming:
    """Check a store and stream CALIP's logits of it in this process."""
    text = normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1)), dim=-1)
    # The imports' own peak lies higher: Linux forgets it on request.
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _peak(), time.perf_counter()
    images = len(FeatureStore.open(folder).logits(text))
    seconds, peak = time.perf_counter() - start, _peak()
    features = images * (1 + GRID[0] * GRID[1]) * WIDTH * 2 / MIB
    return Streaming(images, features, 3 * images * CLASSES * 4 / MIB, before, peak, seconds)


def synthetic_store(folder: Path, images: int) -> Path:
    """A whole store of random unit vectors. Full shards are one file under many names: the disk holds it once.

    Each is mapped, checked and read as a file of its own, so for the memory of the process it makes no difference.
    """
    manifest = Manifest(
        images=images, source="synthetic", backbone="synthetic", encoder="none", tokens="joint", weights="none",
        grid=GRID, width=WIDTH, preprocessing="none", precision="none", stored="float16", versions={},
        batch_size=SHARD, shard_size=SHARD,
    )  # fmt: skip
    shards = begin(folder, manifest)
    full = images // SHARD
    for shard in range(manifest.shards):
        if 0 < shard < full:
            os.link(shards.path(0), shards.path(shard))
            checksum = shards.checksum_path(0).read_text().split()[0]
            shards.checksum_path(shard).write_text(f"{checksum}  {shards.path(shard).name}\n")
        else:
            _write(shards, shard)
    return folder


def _write(shards: Shards, shard: int) -> None:
    n, m = len(shards.manifest.images_of(shard)), GRID[0] * GRID[1]
    random = normalize(torch.randn(n, m + 1, WIDTH, generator=torch.Generator().manual_seed(shard)), dim=-1).half()
    labels = torch.arange(n) % CLASSES
    shards.write(shard, {"pooled": random[:, 0], "spatial": random[:, 1:], "labels": labels})


def _peak() -> float:
    """The largest resident memory so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", default=SIZES[0])
    parser.add_argument("--stream", type=Path, help="a store to stream in this process, instead of making one")
    arguments = parser.parse_args()
    print(json.dumps(asdict(stream(arguments.stream) if arguments.stream else measure(arguments.images))))
