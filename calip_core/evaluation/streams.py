"""Features streamed from the store to a head: encoded when they are first read, in small batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.features import FeatureStore, PlannedStore
from calip_core.tokens import ImageTokens

BATCH = 64
"""Images that are encoded and classified together, in the order of their split."""


class Bench:
    """The backbone's text features, and streams of image features on its device."""

    def __init__(self, backbone: Backbone, text: Float[Tensor, "k c"], progress: bool) -> None:
        self.text, self._progress = text, progress
        self._scale = backbone.logit_scale

    def stream(self, planned: PlannedStore) -> "Stream":
        """The image features of a store, whether or not it has been filled."""
        return Stream(planned, self.text, self._progress)

    def clip(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot CLIP's logits."""
        return self._scale * (tokens.pooled @ self.text.T)


class Stream:
    """The features of a split, encoded when they are first read, and read in small batches of whole items.

    Attributes:
        views: rows per item: 1 for images, the number of views for point clouds.
        was_read: whether any features were read.
    """

    def __init__(self, planned: PlannedStore, text: Float[Tensor, "k c"], progress: bool) -> None:
        self._planned, self._text, self._progress = planned, text, progress
        self.views, self.was_read = planned.split.views, False

    @cached_property
    def store(self) -> FeatureStore:
        """The features on disk, encoded on first access."""
        return self._planned.encode(progress=self._progress)

    @property
    def labels(self) -> Int64[np.ndarray, "t"]:
        """One label per item."""
        return self.row_labels[:: self.views]

    @property
    def row_labels(self) -> Int64[np.ndarray, "n"]:
        """One label per row of features."""
        return self._planned.labels

    def batches(self, spatial: bool = True) -> Iterator[ImageTokens]:
        """Small batches with the device and precision of the text features; views of an item stay together."""
        self.was_read = True
        rest: ImageTokens | None = None
        for stored in self.store.batches(BATCH, spatial=spatial):
            batch = stored.to(self._text.device).to(self._text.dtype)
            if self.views == 1:
                yield batch
                continue
            whole = batch if rest is None else ImageTokens.cat([rest, batch])
            cut = len(whole) // self.views * self.views
            rest = whole[cut:] if cut < len(whole) else None
            if cut:
                yield whole[:cut]

    def tokens(self, spatial: bool) -> ImageTokens:
        """All features at once, for support sets."""
        return ImageTokens.cat(list(self.batches(spatial)))


@dataclass(frozen=True)
class Reads:
    """A stream as heads read it, with or without spatial tokens."""

    stream: Stream
    spatial: bool

    def __len__(self) -> int:
        return len(self.stream.labels) * self.stream.views

    def batches(self) -> Iterator[ImageTokens]:
        """The stream's batches, with spatial tokens if wanted."""
        return self.stream.batches(self.spatial)
