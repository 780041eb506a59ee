"""What runs in the workers of ``ray_data``: reading, encoding and blending; only counts and margins leave them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from calip_core.blend.landscape import beta_landscape
from calip_core.blend.selection import Grid
from calip_core.datasets.task import Split
from calip_core.evaluation.draft import Draft
from calip_core.evaluation.engines.ray_data import Workers
from calip_core.evaluation.streams import BATCH
from calip_core.evaluation.sweep import Cell, Group
from calip_core.evaluation.worker import load, plan_cell
from calip_core.features import choose_images
from calip_core.features.decoding import decode_ahead
from calip_core.features.manifest import precision_of
from calip_core.methods.base import Head
from calip_core.methods.calip import Calip
from calip_core.metrics import correct_predictions
from calip_core.tokens import ImageTokens

_TOP = 5
_ALONE = 16  # images that are encoded a second time, one by one
_STORED = torch.float16  # as in a feature store, so that logits are those of one machine


def margins_schema() -> Any:
    """The columns of a file of margins: one row per test image, in the order of the image set.

    "margin" is the logit of the label minus the largest other one, of the head; "clip_margin" is CLIP's. "top" and
    "top_logits" are the head's five best classes, or all if there are fewer.
    """
    import pyarrow as pa  # of the extra "ray"

    fields = {"image": pa.int64(), "label": pa.int32(), "correct": pa.bool_(), "clip_correct": pa.bool_()}
    fields |= {"margin": pa.float32(), "clip_margin": pa.float32()}
    return pa.schema([*fields.items(), ("top", pa.list_(pa.int32())), ("top_logits", pa.list_(pa.float32()))])


def make_draft(cell: Cell, group: Group, workers: Workers) -> Draft:
    """Load what a cell names on a machine of the cluster, check it, and describe it.

    Raises:
        ValueError: the cell cannot be measured, or not image by image.
    """
    torch.set_num_threads(workers.cores)
    return plan_cell(cell, group, *load(group_of(cell, group), _device(workers))).draft()


def group_of(cell: Cell, group: Group) -> Group:
    """The group of one of its cells."""
    return replace(group, cells=(cell,))


def _device(workers: Workers) -> str:
    return "cuda" if workers.gpus else "cpu"


class _Actor:
    """A worker; it takes and gives tables of pyarrow.

    What it needs is loaded at its first call: what is then wrong is an error of that call, as the driver expects.
    """

    def __init__(self, cell: Cell, group: Group, workers: Workers, draft: Any, split: str) -> None:
        self._given = cell, group, workers, draft, split
        self.head: Head | None = None

    def _load(self) -> Head:
        """Load the task and the backbone.

        Raises:
            ValueError: this machine's weights or precision differ from those of the draft.
        """
        import ray

        cell, group, workers, draft, split = self._given
        torch.set_num_threads(workers.cores)
        self.threads, self.draft = workers.cores, cast(Draft, ray.get(draft))
        task, self.backbone = load(group_of(cell, group), _device(workers))
        found, expected = (self.backbone.weights_sha256, precision_of(self.backbone)), self.draft.encoder
        if found != (expected.weights, expected.precision):
            raise ValueError(
                f"{cell.backbone} has weights {found[0][:12]} in {found[1]} on this machine, but "
                f"{expected.weights[:12]} in {expected.precision} where it was planned: give all machines one file, "
                "one kind of device and --precision"
            )
        self.split: Split = task.splits[split]
        self.chosen = choose_images(self.split, group.limit, cell.seed)
        return self.draft.head.to(self.backbone.device)

    def __call__(self, chunk: Any) -> Iterator[Any]:
        """The table of each batch of a chunk of images, or one table for all."""
        self.head = self.head or self._load()
        for start, stop in zip(chunk["start"].to_pylist(), chunk["stop"].to_pylist(), strict=True):
            batches = ((at, self.chosen[at : min(at + BATCH, stop)]) for at in range(start, stop, BATCH))
            with closing(decode_ahead(self.split, self.backbone, batches, self.threads)) as decoded:
                yield from self.tables(decoded)

    def tables(self, decoded: Iterator[tuple[int, Tensor]]) -> Iterator[Any]:
        """What was found, with the columns "image", the first one's number, and "images"."""
        raise NotImplementedError

    def labels(self, start: int, images: Tensor) -> Int64[np.ndarray, "n"]:
        """The labels of a batch."""
        return self.split.labels[list(self.chosen[start : start + len(images)])]

    def tokens(self, images: Tensor) -> ImageTokens:
        """Features of a batch, rounded as a store rounds them."""
        tokens = self.backbone.encode_image(images)
        return tokens.to(_STORED).to(tokens.pooled.dtype)


class Judge(_Actor):
    """Gives the landscape of CALIP's blend over each chunk; landscapes add."""

    def tables(self, decoded: Iterator[tuple[int, Tensor]]) -> Iterator[Any]:
        """One row: the number of images that are right at each pair of the grid."""
        import pyarrow as pa

        assert isinstance(self.head, Calip)
        grid, parts, first, count = Grid.released(), [], None, 0
        for start, images in decoded:
            first, count = start if first is None else first, count + len(images)
            terms = self.head.scaled_terms(self.tokens(images))
            parts.append(beta_landscape(terms, self.labels(start, images), beta2=grid.beta2, beta3=grid.beta3).correct)
        yield pa.table({"image": [first], "images": [count], "correct": [sum(parts[1:], parts[0]).ravel()]})


class Classifier(_Actor):
    """Gives the margins of each batch, and whether the head and CLIP are right."""

    rounding: float | None = None

    def tables(self, decoded: Iterator[tuple[int, Tensor]]) -> Iterator[Any]:
        """One row per image."""
        for start, images in decoded:
            both = self.logits(images)
            if self.rounding is None:
                self.rounding = self._rounding(images[:_ALONE], both)
            yield self._table(start, self.labels(start, images), *both)

    def logits(self, images: Tensor) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The head's logits, and those of zero-shot CLIP."""
        assert self.head is not None
        tokens = self.tokens(images)
        text = cast(Tensor, self.head.text).to(tokens.pooled)
        return self.head.logits(tokens), self.draft.logit_scale * (tokens.pooled @ text.T)

    def _rounding(self, images: Tensor, both: tuple[Tensor, Tensor]) -> float:
        """The largest change of a logit if images are encoded one at a time."""
        alone = [torch.cat(rows) for rows in zip(*(self.logits(image[None]) for image in images), strict=True)]
        pairs = zip(alone, both, strict=True)
        return max(float((single - batch[: len(images)]).abs().max()) for single, batch in pairs)

    def _table(
        self, start: int, labels: Int64[np.ndarray, "n"], own: Float[Tensor, "n k"], clip: Float[Tensor, "n k"]
    ) -> Any:
        import pyarrow as pa

        top, rows = own.topk(min(_TOP, own.shape[1]), dim=1), len(labels)
        columns: dict[str, Any] = {
            "image": np.arange(start, start + rows), "label": labels.astype(np.int32),
            "correct": correct_predictions(own, labels), "clip_correct": correct_predictions(clip, labels),
            "margin": _margins(own, labels), "clip_margin": _margins(clip, labels),
            "top": list(top.indices.int().cpu().numpy()), "top_logits": list(top.values.float().cpu().numpy()),
            "images": np.ones(rows, np.int64), "rounding": np.full(rows, self.rounding, np.float32),
        }  # fmt: skip
        extra = [pa.field("images", pa.int64()), pa.field("rounding", pa.float32())]
        return pa.table(columns, schema=pa.schema([*margins_schema(), *extra]))


def _margins(logits: Float[Tensor, "n k"], labels: Int64[np.ndarray, "n"]) -> np.ndarray:
    """The label's logit minus the largest other one; with one class, infinity."""
    own = torch.from_numpy(labels).to(logits.device).unsqueeze(1)
    others = logits.scatter(1, own, -torch.inf).amax(dim=1)
    return (logits.gather(1, own).squeeze(1) - others).float().cpu().numpy()
