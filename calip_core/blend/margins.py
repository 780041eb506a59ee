"""The one exact core under every search for the weights of a linear blend.

A blend ``sum_t w_t L_t`` classifies an image correctly if the label's lead ``sum_t w_t (L_t[y] - L_t[j])`` over every
other class j is positive (a tie goes to the lower class number). A lead is linear in the weights. This is used twice:

* Over a box of weights, the extremes of a lead follow from the box's centre and half its sides. So most classes drop
  out and most images are decided at once (``Contest``), and more of them in each smaller box (``Contest.within``).
* Along a line of weights, each remaining class bounds one side (``bounds``).

If a lead is so close to zero that rounding could change its sign, the blend itself is evaluated (``wins``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.metrics import checked_labels

CHUNK = 1 << 18  # numbers processed at once: few enough for the processor's cache
_PADDED = 2  # an image's rivals are padded to at most this multiple of their number
# Let S be the sum over the t terms of the largest weight times the largest logit. A blend rounds each of its numbers t
# times at most (a product, t - 1 sums); a lead is found by at most t + 7 further roundings of numbers up to 2 S. Each
# errs by half an eps: at most (2 t + 7) eps S in all. This factor is four for each term and for five terms more, which
# leaves room for terms that are themselves rounded (an exponential, say). Products that underflow err by half the
# smallest denormal each, eps * tiny in all formats: S is therefore taken as tiny at least.
_ROUNDINGS_PER_TERM, _OTHER_TERMS = 4, 5

Terms = Sequence[Float[Tensor, "n k"]]
Box = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Contest:
    """The images that a box of weights does not decide, and the rival classes that could overtake their labels.

    Attributes:
        terms: terms of the blend.
        target: labels.
        tolerance: per image, the largest absolute lead whose sign rounding could change.
        sure: number of images that are correct at all weights of the box.
        images: per rival of a contested image, the image's number; ascending.
        classes: per rival of a contested image, the rival's class number.
    """

    terms: Terms
    target: Int64[Tensor, "n"]
    tolerance: Float64[Tensor, "n"]
    sure: int
    images: Int64[Tensor, "e"]
    classes: Int64[Tensor, "e"]

    @classmethod
    def of(cls, terms: Terms, target: Int64[Tensor, "n"], box: Box) -> "Contest":
        """Compare each label with all classes over the box: smallest and largest weight of each term."""
        parts, step = [], max(1, CHUNK // terms[0].shape[1])
        for start in range(0, len(target), step):
            few, own = [term[start : start + step] for term in terms], target[start : start + step]
            middle, spread = _leads_over(few, own, box)  # (m, k) each: every lead is within middle +- spread
            parts.append(cls.between(middle, spread, few, own, tolerance(few, box)))
        images = torch.cat([part.images + i * step for i, part in enumerate(parts)])
        classes, slack = torch.cat([part.classes for part in parts]), torch.cat([part.tolerance for part in parts])
        return cls(terms, target, slack, sum(part.sure for part in parts), images, classes)

    @classmethod
    def between(
        cls, middle: Float[Tensor, "n k"], spread: Float[Tensor, "n k"], terms: Terms, target: Int64[Tensor, "n"],
        slack: Float64[Tensor, "n"],
    ) -> "Contest":  # fmt: skip
        """Compare each label with all classes, given that its lead stays within ``middle`` +- ``spread``.

        Args:
            middle: mean of the smallest and the largest lead over each class.
            spread: how far the lead can differ from ``middle``.
            terms: terms of the blend; classes with equal terms tie at all weights.
            target: labels.
            slack: see ``tolerance``.
        """
        slack_k = slack.unsqueeze(1).to(middle.dtype)
        # Where numbers overflow, neither side of a comparison holds: so ask what is certain, and negate.
        images, classes = (~(middle - spread > slack_k)).nonzero(as_tuple=True)  # (e,)
        behind = middle[images, classes] + spread[images, classes] < -slack_k[images, 0]
        # A class equal to the label in all terms ties with it everywhere, and its number alone decides.
        twins = torch.arange(len(images), device=images.device)
        for term in terms:
            image = images[twins]
            twins = twins[term[image, classes[twins]] == term[image, target[image]]]
        behind[twins] = classes[twins] < target[images[twins]]
        rivals = torch.ones_like(behind)
        rivals[twins] = False
        return cls(terms, target, slack, 0, images, classes)._left(rivals, behind)

    def within(self, box: Box) -> "Contest":
        """The contest in a smaller box."""
        low, high = self.leads.new_tensor(box).T / 2  # (t,) each
        middle, spread = (high + low) @ self.leads, (high - low) @ self.leads.abs()  # (e,) each
        slack = self.tolerance[self.images]
        return self._left(~(middle - spread > slack), middle + spread < -slack)

    def _left(self, rivals: Bool[Tensor, "e"], behind: Bool[Tensor, "e"]) -> "Contest":
        """The contest among fewer rivals, without the images that surely lose to one of them."""
        lost = torch.zeros_like(self.target, dtype=torch.bool)
        lost[self.images[behind]] = True
        kept = (rivals & ~lost[self.images]).nonzero().flatten()
        left = replace(self, images=self.images[kept], classes=self.classes[kept])
        return replace(left, sure=self.sure + self.contested - left.contested - int(lost.sum()))

    @cached_property
    def contested(self) -> int:
        """Number of images that are neither correct at all weights nor wrong at all of them."""
        return int(self.images.diff().count_nonzero()) + bool(len(self.images))

    @cached_property
    def leads(self) -> Float64[Tensor, "t e"]:
        """The label's lead over each rival, per term."""
        own = self.target[self.images]
        found = [term[self.images, own].double() - term[self.images, self.classes].double() for term in self.terms]
        return torch.stack(found)

    def groups(self, lines: int) -> Iterator[tuple[Int64[Tensor, "g"], Int64[Tensor, "g s"]]]:
        """Contested images in groups, with the entries of their rivals; a group and ``lines`` lines fit in the cache.

        Images with few rivals come first. If an image has fewer rivals than others of its group, its last rival is
        repeated, which changes no extreme.
        """
        images, counts = self.images.unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts
        order = counts.argsort()
        images, counts, starts = images[order], counts[order], starts[order]
        sizes, start = counts.tolist(), 0
        while start < len(sizes):
            stop, most = start + 1, _PADDED * sizes[start]
            while stop < len(sizes) and sizes[stop] <= most and (stop + 1 - start) * sizes[stop] * lines <= CHUNK:
                stop += 1
            place = torch.arange(sizes[stop - 1], device=images.device)  # (s,)
            place = torch.minimum(place, counts[start:stop, None] - 1)  # (g, s)
            yield images[start:stop], starts[start:stop, None] + place
            start = stop


def tolerance(terms: Terms, box: Box) -> Float64[Tensor, "n"]:
    """Per image, the maximum difference between a rounded lead and the true one; infinity if sums overflow."""
    kind = torch.finfo(terms[0].dtype)
    largest = torch.stack([torch.maximum(term.amax(dim=1), -term.amin(dim=1)) for term in terms])  # (t, n)
    if not largest.isfinite().all():
        raise ValueError("logits hold NaN or infinity: they have no largest class")
    weights = [max(abs(low), abs(high), 1e-300) for low, high in box]
    size = largest.new_tensor(weights, dtype=torch.float64) @ largest.double()
    overflows = (size >= kind.max / 8) | (largest >= kind.max / 8).any(dim=0)
    roundings = _ROUNDINGS_PER_TERM * (len(terms) + _OTHER_TERMS)
    return (roundings * kind.eps * size.clamp_min(kind.tiny)).masked_fill_(overflows, torch.inf)


def bounds(
    offset: Float64[Tensor, "g s l"], slope: Float64[Tensor, "g s l"] | Float64[Tensor, "g s 1"],
    slack: Float64[Tensor, "g 1 1"] | float = 0.0,
) -> tuple[Float64[Tensor, "g l"], Float64[Tensor, "g l"]]:  # fmt: skip
    """The interval of steps along each line in which all leads ``offset + step * slope`` exceed ``slack``.

    It is empty unless low < high; a constant lead equal to the slack gives NaN, for which that is false too.
    Division rounds monotonically, so a step strictly inside the rounded bounds is inside the true ones.
    """
    slope = slope + 0.0  # -0.0 becomes 0.0: a level lead's bound is the infinity on the side that its offset says
    crossing = (slack - offset).div_(slope)  # (g, s, l)
    # A rising lead has no upper bound, a falling one no lower bound. Extremes are several times as fast as masks.
    none = torch.copysign(slope.new_tensor(torch.inf), slope)
    low = torch.minimum(crossing, none).amax(dim=1)
    return low, torch.maximum(crossing, none, out=crossing).amin(dim=1)


def without_ties(
    offset: Float64[Tensor, "g s"], own: Int64[Tensor, "g"], classes: Int64[Tensor, "g s"]
) -> Float64[Tensor, "g s"]:
    """Leads in which a tie is won by the lower class number, by the smallest positive number."""
    side = torch.where(classes > own.unsqueeze(1), 1.0, -1.0).to(offset)
    return torch.where(offset == 0, side * 5e-324, offset)


def wins(
    terms: Terms, weights: Sequence[Tensor], target: Int64[Tensor, "n"],
    images: Int64[Tensor, "q"], classes: Int64[Tensor, "q s"],
) -> Bool[Tensor, "q"]:  # fmt: skip
    """Whether the label wins the blend itself, rounded as ``combine`` rounds it; one image and one weight per row."""
    own = target[images].unsqueeze(1)  # (q, 1)
    theirs, ours = blend(terms, weights, images, classes), blend(terms, weights, images, own)
    return ~((theirs > ours) | ((theirs == ours) & (classes < own))).any(dim=1)


def blend(
    terms: Terms, weights: Sequence[Tensor], images: Int64[Tensor, "q"], classes: Int64[Tensor, "q s"]
) -> Float[Tensor, "q s"]:
    """The weighted sum of the terms for some classes, added from left to right."""
    rows = images.unsqueeze(1)
    total = weights[0] * terms[0][rows, classes]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        total = total + weight * term[rows, classes]
    return total


def checked(terms: Terms, labels: ArrayLike) -> Int64[Tensor, "n"]:
    """Labels as class numbers on the device of the logits, after checking that they fit the logits.

    Raises:
        ValueError: the terms differ in shape, the labels do not fit, or logits are NaN or in half precision.
    """
    shapes = {tuple(term.shape) for term in terms}
    if len(shapes) != 1:
        raise ValueError(f"the terms have shapes {sorted(shapes)}: expected one shape, images by classes")
    if terms[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits are {terms[0].dtype}, expected float32 or float64: their sums decide")
    return torch.from_numpy(checked_labels(terms[0], labels)).to(terms[0].device)


def _leads_over(
    terms: Terms, target: Int64[Tensor, "n"], box: Box
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The leads at the centre of the box, and how far they can differ from that within it."""
    own = target.unsqueeze(1)
    middle, spread = torch.zeros_like(terms[0]), torch.zeros_like(terms[0])
    for term, (low, high) in zip(terms, box, strict=True):
        lead = term.gather(1, own) - term  # (n, k)
        middle.add_(lead, alpha=low / 2 + high / 2)
        if high > low:
            spread.add_(lead.abs_(), alpha=high / 2 - low / 2)
    return middle, spread
