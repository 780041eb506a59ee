"""What few-shot heads share: checked validation sets and options, and the exact choice of a blend weight."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calip_core.blend.line import LinePlateau, line_landscape
from calip_core.methods.base import Validation, check_finite, check_width
from calip_core.metrics import checked_labels
from calip_core.tokens import ImageTokens

PUBLISHED_SCALE = 100.0
"""Published weights stand beside zero-shot logits of this scale; beside others they go in proportion."""


def single(features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """The same features in float32 or better: half precision is for storage, not for sums."""
    return features if features.dtype in (torch.float32, torch.float64) else features.float()


def exact(features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """The same features in float64, on the processor where the accelerator has none (Apple's)."""
    return (features.cpu() if features.device.type == "mps" else features).double()


def check_validation(
    val: Validation, text: Float[Tensor, "k c"], method: str
) -> tuple[ImageTokens, Int[np.ndarray, "v"]]:
    """The validation set of a head that chooses on one; unlike a support set it may lack classes.

    Raises:
        ValueError: it is empty, labels and images differ in number, a label is no class, features are not finite, or
            they have another width than the text.
    """
    tokens, labels = val
    if len(tokens) == 0:
        raise ValueError(f"{method}: the validation set has no images: give some, or None to choose nothing on it")
    check_width(tokens, text, method)
    check_finite(tokens, text, method)
    return tokens, np.asarray(checked_labels(tokens.pooled.new_zeros(len(tokens), len(text)), labels))


def check_weight(name: str, value: float, method: str) -> None:
    """Refuse what cannot be the weight of a term.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{method}: {name} is {value}, expected a finite number, 0 or more")


def check_positive(name: str, value: float, method: str) -> None:
    """Refuse what must be above zero.

    Raises:
        ValueError: it is zero, negative or not finite.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{method}: {name} is {value}, expected a finite number above 0")


def best_ratio(
    base: Float[Tensor, "n k"],
    direction: Float[Tensor, "n k"],
    labels: Int[np.ndarray, "n"],
    *,
    low: float,
    high: float,
) -> LinePlateau:
    """The weight t from ``low`` to ``high`` with the best accuracy of ``base + t * direction``, where t has no scale.

    All t are known exactly (``line_landscape``). Of the stretches with the best accuracy it takes the one whose
    ends have the largest ratio, and the geometric mean of its ends.

    Raises:
        ValueError: ``low`` is not above 0, or as ``line_landscape`` does.
    """
    check_positive("low", low, "best_ratio")
    landscape = line_landscape(base, direction, labels, low=low, high=high)
    starts = np.flatnonzero(np.diff(landscape.correct, prepend=-1))
    lows, highs = landscape.edges[starts], np.append(landscape.edges[starts[1:]], landscape.edges[-1])
    count = landscape.correct[starts]
    i = int(np.where(count == count.max(), highs / lows, 0.0).argmax())
    middle = math.sqrt(float(lows[i]) * float(highs[i]))
    return LinePlateau(middle, float(count[i] / landscape.images), float(lows[i]), float(highs[i]))
