"""Fill a feature store; several processes may share the work."""

import errno
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import torch
from filelock import BaseFileLock, Timeout
from tqdm.auto import tqdm

from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split
from calip_core.features.decoding import Batch, decode_ahead
from calip_core.features.shards import Shards
from calip_core.tokens import ImageTokens

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class EncodingReport:
    """How fast images were encoded, and what limited the speed.

    Attributes:
        images: number of images that this process encoded.
        seconds: total duration.
        waiting: seconds spent waiting for decoded images.
        model: seconds spent in the backbone.
        writing: seconds spent writing shards to the disk.
    """

    images: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    model: float = 0.0
    writing: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Speed of this process; 0 if there was nothing to encode."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def bound(self) -> Literal["decoding", "model", "disk"]:
        """What limits the speed: decoding threads, the device, or the disk."""
        if self.waiting >= max(self.model, self.writing):
            return "decoding"
        return "model" if self.model >= self.writing else "disk"

    def __str__(self) -> str:
        if not self.images:
            return "nothing was left to encode"
        return f"{self.images} images, {self.images_per_second:.0f} per second, bound by {self.bound}"


@dataclass
class _Fill:
    """One process that fills a store."""

    shards: Shards
    backbone: Backbone
    split: Split
    chosen: Sequence[int]
    bar: "tqdm[NoReturn]"
    held: dict[int, BaseFileLock] = field(default_factory=dict)
    images: int = 0
    waiting: float = 0.0
    model: float = 0.0
    writing: float = 0.0

    def run(self, pending: list[int], workers: int | None) -> None:
        """Encode unclaimed shards; wait for those of other processes, and take over those of processes that died."""
        while pending:
            before = self.images
            try:
                with closing(self._encoded_shards(pending, workers)) as encoded:
                    for shard, parts in encoded:
                        self._write(shard, ImageTokens.cat(parts))
            finally:
                for lock in self.held.values():
                    lock.release()
                self.held.clear()
            pending = [shard for shard in pending if self.shards.state(shard) != "whole"]
            if pending and self.images == before:
                time.sleep(_POLL_SECONDS)

    def _encoded_shards(
        self, pending: list[int], workers: int | None
    ) -> Generator[tuple[int, list[ImageTokens]], None, None]:
        parts: list[ImageTokens] = []
        start = time.perf_counter()
        with closing(decode_ahead(self.split, self.backbone, self._batches(pending), workers)) as decoded:
            for shard, images in decoded:
                ready = time.perf_counter()
                tokens = self.backbone.encode_image(images)
                if self.shards.manifest.grid == (0, 0):
                    tokens = ImageTokens.without_places(tokens.pooled)
                parts.append(tokens.to("cpu").to(self.shards.manifest.dtype))
                self.waiting += ready - start
                self.model += time.perf_counter() - ready
                self._show(len(images))
                if sum(map(len, parts)) == len(self.shards.manifest.images_of(shard)):
                    yield shard, parts
                    parts = []
                start = time.perf_counter()

    def _batches(self, pending: list[int]) -> Iterator[Batch]:
        """The batches of claimed shards. A shard is claimed only when decoding reaches it."""
        size = self.shards.manifest.batch_size
        for shard in pending:
            if self._claim(shard):
                images = self.shards.manifest.images_of(shard)
                for start in range(images.start, images.stop, size):
                    yield shard, self.chosen[start : min(start + size, images.stop)]

    def _claim(self, shard: int) -> bool:
        lock = self.shards.lock(shard)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        state = self.shards.state(shard)  # another process may have finished it since we looked
        if state == "whole":
            lock.release()
            return False
        if state == "damaged":
            warnings.warn(
                f"{self.shards.path(shard)} does not match its checksum: encoding its images again", stacklevel=2
            )
        self.held[shard] = lock
        return True

    def _write(self, shard: int, tokens: ImageTokens) -> None:
        start = time.perf_counter()
        rows = [self.chosen[i] for i in self.shards.manifest.images_of(shard)]
        labels = torch.from_numpy(self.split.labels[rows])
        try:
            self.shards.write(shard, {"pooled": tokens.pooled, "spatial": tokens.spatial, "labels": labels})
        except OSError as error:
            raise self._disk_error(error, shard) from error
        if self.shards.state(shard) != "whole":
            raise OSError(
                errno.EIO,
                f"shard {shard} was written and does not read back: the disk is at fault, or a path that is no text; "
                "choose another folder for the cache ($CALIP_CACHE)",
                str(self.shards.path(shard)),
            )
        self.held.pop(shard).release()
        self._count_others()
        self.writing += time.perf_counter() - start

    def _disk_error(self, error: OSError, shard: int) -> OSError:
        manifest = self.shards.manifest
        whole = sum(self.shards.state(i) == "whole" for i in range(manifest.shards))
        missing = (manifest.shards - whole) * manifest.shard_bytes / 2**20
        return OSError(
            error.errno,
            f"cannot write shard {shard} ({error.strerror}); {whole} of {manifest.shards} shards are safe: make room "
            f"for {missing:.0f} MiB and run again, encoding goes on at the first missing shard",
            str(self.shards.path(shard)),
        )

    def _show(self, images: int) -> None:
        self.images += images
        self.bar.update(images)
        self.bar.set_postfix_str(f"bound by {self.report().bound}", refresh=False)

    def _count_others(self) -> None:
        """Let the bar show what other processes have finished, too."""
        files = self.shards.folder.glob("[0-9]*.sha256")
        finished = sum(len(self.shards.manifest.images_of(int(path.stem))) for path in files)
        self.bar.update(max(0, finished - self.bar.n))

    def report(self, seconds: float = 0.0) -> EncodingReport:
        return EncodingReport(self.images, seconds, self.waiting, self.model, self.writing)


def fill(
    shards: Shards, backbone: Backbone, split: Split, chosen: Sequence[int],
    *, workers: int | None = None, progress: bool = True,
) -> EncodingReport:  # fmt: skip
    """Encode the missing shards of a store; every existing shard is checked against its checksum first.

    Args:
        shards: the store's files.
        backbone: the encoder to use.
        split: labelled images.
        chosen: numbers of the images of the split that the store holds.
        workers: number of decoding threads; by default, the number of cores, at most 16.
        progress: whether to show a progress bar.

    Warns:
        UserWarning: a shard is damaged and is encoded again.

    Raises:
        OSError: an image cannot be read, or a shard cannot be written or does not read back; the shards written so far
            are kept.
    """
    manifest = shards.manifest
    pending = [shard for shard in range(manifest.shards) if shards.state(shard) != "whole"]
    if not pending:
        return EncodingReport()
    missing = sum(len(manifest.images_of(shard)) for shard in pending)
    what = shards.folder.name.rpartition("-")[0]  # without the key: the dataset, its split and the backbone
    start = time.perf_counter()
    bar: tqdm[NoReturn] = tqdm(
        total=manifest.images, initial=manifest.images - missing, desc=f"encoding {what}", unit="image",
        disable=not progress, leave=False,
    )  # fmt: skip
    with bar:
        work = _Fill(shards, backbone, split, chosen, bar)
        work.run(pending, workers)
    return work.report(time.perf_counter() - start)
