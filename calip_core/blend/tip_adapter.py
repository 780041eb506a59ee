"""The exact search for the weight alpha and the sharpness beta of Tip-Adapter's votes.

The published search evaluates a grid of both. For a fixed beta the logits are linear in alpha, so the accuracy at all
alphas follows from one pass over the margins; only the values of beta are tried one by one. Votes are not linear in
beta, but each key's vote is monotonic in it. So its values at the ends of a block of betas bound the leads in between,
and most images and classes are decided once for the whole block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.blend.line import LineLandscape
from calip_core.blend.margins import Contest, bounds, checked, tolerance, without_ties
from calip_core.metrics import accuracy, checked_labels

_BLOCK = 5  # neighbouring values of beta that share one contest


@dataclass(frozen=True)
class TipChoice:
    """Weight and sharpness of the cache, and their accuracy on the images they were chosen on.

    Attributes:
        alpha: centre of the widest interval of best weights at ``beta``.
        beta: centre of the longest run of sharpnesses with the best accuracy.
        accuracy: accuracy at both on the labelled images, from 0 to 1.
        images: number of labelled images.
        low: lower end of the interval around alpha.
        high: its upper end.
    """

    alpha: float
    beta: float
    accuracy: float
    images: int
    low: float
    high: float


@torch.no_grad()
def tip_search(
    clip: Float[Tensor, "n k"],
    affinity: Float[Tensor, "n s"],
    key_labels: ArrayLike,
    labels: ArrayLike,
    *,
    betas: Sequence[float] | Float64[np.ndarray, "b"],
    alpha_max: float,
) -> TipChoice:
    """The best weight and sharpness on labelled images; exact over all weights from 0 to ``alpha_max``.

    Args:
        clip: zero-shot logits, float32 or float64.
        affinity: products of images and keys: cosines, unless trained keys are not of unit length.
        key_labels: "s" class numbers of the keys.
        labels: "n" class numbers of *these* images. Give a validation split: on test labels the accuracy is an
            oracle's.
        betas: sharpnesses to try, all above 0.
        alpha_max: the largest weight.

    Raises:
        ValueError: the labels do not fit, there is no sharpness, a sharpness or ``alpha_max`` is not above 0, or logits
            or votes are not finite or in half precision.
    """
    sharpness = np.unique(np.asarray(betas, dtype=np.float64))
    if not len(sharpness) or not (np.isfinite(sharpness).all() and sharpness[0] > 0):
        raise ValueError(f"betas are {sharpness[:3].tolist()}, expected at least one, all finite and above 0")
    if not 0 < alpha_max < np.inf:
        raise ValueError(f"tip_search: alpha_max is {alpha_max}, expected a finite number above 0")
    target = checked((clip,), labels)
    keys = torch.from_numpy(checked_labels(clip.new_zeros(affinity.shape[1], clip.shape[1]), key_labels))
    nearness = _by_class(affinity - 1, keys.to(clip.device), clip.shape[1])
    plateaus = [line.best() for line in _lines(clip, nearness, target, sharpness.tolist(), alpha_max)]
    i = middle_of_longest_run(np.array([plateau.accuracy for plateau in plateaus]))
    best, beta = plateaus[i], float(sharpness[i])
    reached = accuracy(clip + best.t * _votes(nearness, beta), labels)
    return TipChoice(best.t, beta, reached, len(target), best.low, best.high)


def middle_of_longest_run(scores: Float64[np.ndarray, "b"]) -> int:
    """The centre of the longest run of neighbouring entries that equal the maximum."""
    best = np.concatenate([[False], scores == scores.max(), [False]])
    starts, ends = np.flatnonzero(~best[:-1] & best[1:]), np.flatnonzero(best[:-1] & ~best[1:])
    longest = int((ends - starts).argmax())
    return int((starts[longest] + ends[longest] - 1) // 2)


def _by_class(nearness: Float[Tensor, "n s"], key_labels: Int64[Tensor, "s"], classes: int) -> Float[Tensor, "m n k"]:
    """Cosine minus 1 to the keys of each class; classes with fewer keys are padded with keys at −infinity."""
    counts = torch.bincount(key_labels, minlength=classes)
    order = key_labels.argsort(stable=True)
    place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[key_labels[order]]
    grouped = nearness.new_full((int(counts.max()), classes, len(nearness)), -torch.inf)
    grouped[place, key_labels[order]] = nearness.T[order]
    # Keys come first, so that votes are added over contiguous memory.
    return grouped.transpose(1, 2).contiguous()


def _votes(nearness: Float[Tensor, "m *rest"], beta: float) -> Float[Tensor, "*rest"]:
    """exp(-beta (1 - F_v K^T)) V."""
    return (nearness * beta).exp_().sum(dim=0)


def _extremes(
    nearness: Float[Tensor, "m n k"], low: float, high: float
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Upper and lower bounds of the votes between two sharpnesses: each key's vote is monotonic."""
    ends = (nearness * low).exp_(), (nearness * high).exp_()
    return torch.maximum(*ends).sum(dim=0), torch.minimum(*ends).sum(dim=0)


def _lines(
    clip: Float[Tensor, "n k"], nearness: Float[Tensor, "m n k"], target: Int64[Tensor, "n"],
    betas: list[float], alpha_max: float,
) -> Iterator[LineLandscape]:  # fmt: skip
    """The accuracy at all weights, one landscape per sharpness."""
    falls = not (nearness > 0).any()  # true for keys of unit length
    most = _votes(nearness, betas[0])
    for start in range(0, len(betas), _BLOCK):
        block = betas[start : start + _BLOCK]
        if falls:
            least = _votes(nearness, block[-1])
        else:
            most, least = _extremes(nearness, block[0], block[-1])
        contest = _contest(clip, nearness, target, most, least, alpha_max)
        groups = [
            _Rivals.of(clip, nearness, target, images, contest.classes[rivals])
            for images, rivals in contest.groups(len(nearness))
        ]
        for beta in block:
            ends = [np.empty((2, 0)), *(rivals.ends(beta) for rivals in groups)]
            whole = np.concatenate(ends, axis=1)
            yield LineLandscape.of(whole, low=0.0, high=alpha_max, sure=contest.sure, images=len(target))
        most = least  # if votes fall with the sharpness, this block's last bound those of the next from above


def _contest(
    clip: Float[Tensor, "n k"], nearness: Float[Tensor, "m n k"], target: Int64[Tensor, "n"],
    most: Float[Tensor, "n k"], least: Float[Tensor, "n k"], alpha_max: float,
) -> Contest:  # fmt: skip
    """The contest left by votes between ``least`` and ``most``, with weights from 0 to ``alpha_max``."""
    own = target.unsqueeze(1)
    middle = clip.gather(1, own) - clip  # (n, k): the lead without votes
    down = (least.gather(1, own) - most).clamp_max_(0)
    up = (most.gather(1, own) - least).clamp_min_(0)
    middle.add_(up + down, alpha=alpha_max / 2)
    slack = tolerance((clip, most), ((1.0, 1.0), (0.0, alpha_max)))
    return Contest.between(middle, up.sub_(down).mul_(alpha_max / 2), (clip, *nearness), target, slack)


@dataclass(frozen=True, eq=False)
class _Rivals:
    """Some images: their label's lead over each rival without votes, and the nearness of the keys of both."""

    offset: Float64[Tensor, "g s"]
    own: Float[Tensor, "m g 1"]
    theirs: Float[Tensor, "m g s"]

    @classmethod
    def of(
        cls, clip: Float[Tensor, "n k"], nearness: Float[Tensor, "m n k"], target: Int64[Tensor, "n"],
        images: Int64[Tensor, "g"], classes: Int64[Tensor, "g s"],
    ) -> "_Rivals":  # fmt: skip
        rows, own = images.unsqueeze(1), target[images].unsqueeze(1)
        offset = clip[rows, own].double() - clip[rows, classes].double()
        return cls(without_ties(offset, target[images], classes), nearness[:, rows, own], nearness[:, rows, classes])

    def ends(self, beta: float) -> Float64[np.ndarray, "2 g"]:
        """The interval of weights in which each image is correct."""
        slope = _votes(self.own, beta).double() - _votes(self.theirs, beta).double()  # (g, s)
        found = bounds(self.offset.unsqueeze(2), slope.unsqueeze(2))
        return np.asarray(torch.stack(found).squeeze(2).cpu().numpy())
