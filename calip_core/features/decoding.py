"""Images on their way to a backbone: threads read and preprocess the next batches while it encodes one."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split

_BATCHES_AHEAD = 2

Batch = tuple[int, Sequence[int]]
"""A number of the caller's, and the numbers of the images of the split that go through the backbone together."""


def decode_ahead(
    split: Split, backbone: Backbone, batches: Iterable[Batch], workers: int | None = None
) -> Generator[tuple[int, Tensor], None, None]:
    """Preprocessed images of each batch, "b 3 h w", in order, each with the caller's number.

    Threads, not processes: decoding and resizing release Python's lock, nothing is copied between processes, and a
    notebook needs no importable main module. For a GPU the images lie in pinned memory, which it reads by itself.

    Args:
        split: the images.
        backbone: what they are preprocessed for.
        batches: read only as far as decoding has come.
        workers: number of threads; by default, the number of cores, at most 16.
    """
    pinned = backbone.device.type == "cuda"

    def load(index: int) -> Tensor:
        return split.encoder_input(index, backbone.preprocess, backbone.resolution)

    def stacked(waiting: tuple[int, list[Future[Tensor]]]) -> tuple[int, Tensor]:
        images = torch.stack([image.result() for image in waiting[1]])
        return waiting[0], images.pin_memory() if pinned else images

    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1), thread_name_prefix="decode")
    queue: deque[tuple[int, list[Future[Tensor]]]] = deque()
    try:
        for number, indices in batches:
            queue.append((number, [pool.submit(load, index) for index in indices]))
            if len(queue) > _BATCHES_AHEAD:
                yield stacked(queue.popleft())
        while queue:
            yield stacked(queue.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
