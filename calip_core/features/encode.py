"""Run a backbone over a split of a task."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from calip_core.backbones.base import Backbone
from calip_core.tokens import ImageTokens


@runtime_checkable
class LabelledImages(Protocol):
    """What a split offers: its length, its images with labels, and all labels without decoding an image."""

    labels: Int[np.ndarray, "n"]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...


@runtime_checkable
class OwnInput(Protocol):
    """A split whose images do not go through CLIP's preprocessing, such as depth maps."""

    def encoder_input(self, index: int, resolution: int) -> Float[Tensor, "3 h w"]:
        """What an encoder of that resolution takes for one image."""
        ...


def encoder_input(split: LabelledImages, index: int, backbone: Backbone) -> Float[Tensor, "3 h w"]:
    """One image as the backbone takes it: by CLIP's preprocessing, or by the split's own."""
    if isinstance(split, OwnInput):
        return split.encoder_input(index, backbone.resolution)
    return backbone.preprocess(split[index][0])


class _Preprocessed(Dataset[Tensor]):
    def __init__(self, split: LabelledImages, backbone: Backbone) -> None:
        self.split, self.backbone = split, backbone

    def __getitem__(self, index: int) -> Tensor:
        return encoder_input(self.split, index, self.backbone)


def encode_split(
    backbone: Backbone,
    split: LabelledImages,
    *,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
) -> tuple[ImageTokens, Int[np.ndarray, "n"]]:
    """Encode the images of a split, in the split's order.

    Args:
        backbone: who encodes.
        split: labelled images, for instance ``task.splits["test"]``.
        limit: at most so many images, drawn by ``seed``; all when left out.
        seed: which images a limit takes.
        batch_size: images a call of the backbone.
        workers: processes that decode images beside the model; 0 decodes in this one.
        progress: whether to show a bar.

    Returns:
        The tokens of the images, on the backbone's device, and their labels "n".

    Raises:
        ValueError: the split is empty or the limit is not positive.
    """
    chosen = choose_images(split, limit, seed)
    loader: DataLoader[Tensor] = DataLoader(
        Subset(_Preprocessed(split, backbone), chosen), batch_size=batch_size, num_workers=workers
    )
    with tqdm(total=len(chosen), desc="encoding", unit="image", disable=not progress, leave=False) as bar:
        parts = []
        for images in loader:
            parts.append(backbone.encode_image(images))
            bar.update(len(images))
    return ImageTokens.cat(parts), np.asarray(split.labels)[list(chosen)]


def choose_images(split: LabelledImages, limit: int | None, seed: int) -> Sequence[int]:
    """Numbers of at most ``limit`` images of a split, drawn without replacement, in ascending order.

    Where several images are views of one thing, things are drawn, with all their views.
    """
    if len(split) == 0:
        raise ValueError("this split has no images: choose another split or dataset")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, expected at least one image, or None for all of them")
    views: int = getattr(split, "views", 1)
    things = len(split) // views
    if limit is None or limit >= things:
        return range(len(split))
    drawn = np.sort(np.random.default_rng(seed).choice(things, size=limit, replace=False))
    return [int(i) for i in (drawn[:, None] * views + np.arange(views)).ravel()]
