"""Run a backbone over a split of a task."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from jaxtyping import Int
from tqdm.auto import tqdm

from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split
from calip_core.features.decoding import decode_ahead
from calip_core.tokens import ImageTokens


def encode_split(
    backbone: Backbone,
    split: Split,
    *,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[ImageTokens, Int[np.ndarray, "n"]]:
    """Encode the images of a split, in the split's order.

    Args:
        backbone: the encoder to use.
        split: labelled images, for instance ``task.splits["test"]``.
        limit: maximum number of images, drawn by ``seed``; all by default.
        seed: determines which images a limit selects.
        batch_size: images per call of the backbone.
        workers: number of threads that decode images while the model encodes; by default, the number of cores, at
            most 16.
        progress: whether to show a progress bar.

    Returns:
        The tokens of the images, on the backbone's device, and their labels "n".

    Raises:
        ValueError: the split is empty or the limit is not positive.
    """
    chosen = choose_images(split, limit, seed)
    batches = ((0, chosen[start : start + batch_size]) for start in range(0, len(chosen), batch_size))
    parts = []
    with (
        tqdm(total=len(chosen), desc="encoding", unit="image", disable=not progress, leave=False) as bar,
        closing(decode_ahead(split, backbone, batches, workers)) as decoded,
    ):
        for _, images in decoded:
            parts.append(backbone.encode_image(images))
            bar.update(len(images))
    return ImageTokens.cat(parts), split.labels[list(chosen)]


def choose_images(split: Split, limit: int | None, seed: int) -> Sequence[int]:
    """Numbers of at most ``limit`` images of a split, drawn without replacement, in ascending order.

    If several images are views of one item, whole items are drawn, with all their views.
    """
    if len(split) == 0:
        raise ValueError("this split has no images: choose another split or dataset")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, expected at least one image, or None for all of them")
    things = len(split) // split.views
    if limit is None or limit >= things:
        return range(len(split))
    drawn = np.sort(np.random.default_rng(seed).choice(things, size=limit, replace=False))
    return [int(i) for i in (drawn[:, None] * split.views + np.arange(split.views)).ravel()]
