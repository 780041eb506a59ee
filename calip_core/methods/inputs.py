"""Checks of the inputs of heads: support sets, validation sets, and numeric options."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from calip_core.metrics import checked_labels
from calip_core.tokens import ImageTokens, TokenStream

Labels = Int[np.ndarray, "_"]
"""Class numbers; support and validation sets may differ in length."""
Validation = tuple[TokenStream, Labels]
"""Tokens and labels of a validation set; several views of one item have one label (``Head.fuse``)."""

PUBLISHED_SCALE = 100.0
"""The logit scale of published weights; for other scales they are adjusted in proportion."""


def single(features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """The features in float32 or better: half precision is for storage, not for sums."""
    return features if features.dtype in (torch.float32, torch.float64) else features.float()


def exact(features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """The features in float64, on the CPU if the accelerator lacks float64 (Apple's)."""
    return (features.cpu() if features.device.type == "mps" else features).double()


def widened(tokens: ImageTokens) -> ImageTokens:
    """Tokens with half precision widened to float32: heads are trained and evaluated in float32 or better."""
    return tokens.to(torch.float32) if tokens.pooled.dtype in (torch.float16, torch.bfloat16) else tokens


@dataclass(frozen=True)
class Support:
    """A checked support set, ready to be learned from.

    Attributes:
        tokens: in float32, or in float64 if given so.
        targets: the class of every row, on the tokens' device.
        text: the text features, in the tokens' format.
    """

    tokens: ImageTokens
    targets: Int64[Tensor, " n"]
    text: Float[Tensor, "k c"]

    @classmethod
    def of(
        cls, tokens: ImageTokens | None, labels: Labels | None, text: Float[Tensor, "k c"], method: str
    ) -> "Support":
        """Check and convert.

        Raises:
            ValueError: there is no support set, labels and images differ in number, a label is not a class, a class has
                no image, features or text are not finite, or the features differ in width from the text. Features of
                another backbone with the same width cannot be detected here.
        """
        if tokens is None or labels is None or len(tokens) == 0:
            raise ValueError(f"{method} learns from a support set: give its tokens and labels")
        checked = checked_labels(tokens.pooled.new_zeros(len(tokens), len(text)), labels)
        check_width(tokens, text.shape[1], method)
        check_finite("class", text, method)
        check_finite("image", tokens.pooled, method)
        check_finite("image", tokens.spatial.flatten(1), method)
        _check_every_class(checked, len(text), method)
        wide = widened(tokens)
        targets = torch.from_numpy(checked.astype(np.int64)).to(wide.pooled.device)
        return cls(wide, targets, text.detach().to(wide.pooled))

    @property
    def labels(self) -> Int64[np.ndarray, "n"]:
        """The class of every row, as a NumPy array."""
        return np.asarray(self.targets.cpu().numpy())


def _check_every_class(labels: Int[np.ndarray, "n"], classes: int, method: str) -> None:
    lacking = sorted(set(range(classes)) - set(labels.tolist()))
    if lacking:
        raise ValueError(
            f"{method}: {len(lacking)} of {classes} classes have no image in the support set, the first is class "
            f"{lacking[0]}: draw at least one image of every class"
        )


def check_no_support(tokens: TokenStream | None, method: str) -> None:
    """Refuse a support set that a head would ignore.

    Raises:
        ValueError: there are images in it.
    """
    if tokens is not None and len(tokens):
        raise ValueError(
            f"{method} sees no support set and was given one of {len(tokens)} images: fit it with None, None and the "
            "text features, or choose a head that learns from labels"
        )


def check_unlabelled(tokens: TokenStream | None, labels: Labels | None, method: str) -> TokenStream:
    """Check the images of a head that learns from images without labels.

    Raises:
        ValueError: there are none, or they come with labels.
    """
    if labels is not None:
        raise ValueError(f"{method} sees no labels here and was given {len(labels)}: give the images alone")
    if tokens is None or len(tokens) == 0:
        raise ValueError(f"{method} takes a mean over images without labels: give their tokens, and None for labels")
    return tokens


def check_validation(val: Validation, text: Float[Tensor, "k c"], method: str) -> Validation:
    """Check the validation set of a head that chooses on one; unlike a support set, it may lack classes.

    Only the labels are checked here; features are checked when they are read.

    Raises:
        ValueError: it is empty, the number of images is not a multiple of the number of labels, or a label is not a
            class.
    """
    tokens, labels = val
    if len(tokens) == 0:
        raise ValueError(f"{method}: the validation set has no images: give some, or None to choose nothing on it")
    numbers = np.asarray(labels)
    checked = np.asarray(checked_labels(torch.zeros(len(numbers), len(text)), numbers))
    if len(tokens) % len(checked):
        raise ValueError(
            f"{method}: the validation set has {len(tokens)} images and {len(checked)} labels: expected one label per "
            "image, or per thing where several views show one thing"
        )
    return tokens, checked


def check_width(tokens: ImageTokens, width: int, method: str) -> None:
    """Refuse features that cannot come from the backbone that made the text features.

    Raises:
        ValueError: their widths differ.
    """
    if tokens.pooled.shape[1] != width:
        raise ValueError(
            f"{method}: image features are {tokens.pooled.shape[1]} wide and text features {width}: encode both with "
            "the same backbone"
        )


def check_finite(what: str, rows: Float[Tensor, "n c"], method: str, first: int = 0) -> None:
    """Refuse features that are not finite, from which no head can be fitted.

    Args:
        what: what a row represents, for the message: "image" or "class".
        rows: features.
        method: name of the head, for the message.
        first: the number of the first row.

    Raises:
        ValueError: one is NaN or infinite; the message names the first image or class.
    """
    bad = (~rows.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"{method}: the features of {what} {first + int(bad[0])} hold NaN or infinity, as do those of "
            f"{len(bad) - 1} others: encode them again, in fp32 if half precision overflows"
        )


def check_weight(name: str, value: float, method: str) -> None:
    """Refuse a value that cannot be the weight of a term.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{method}: {name} is {value}, expected a finite number, 0 or more")


def check_positive(name: str, value: float, method: str) -> None:
    """Refuse a value that is not above zero.

    Raises:
        ValueError: it is zero, negative or not finite.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{method}: {name} is {value}, expected a finite number above 0")


def check_at_least_one(name: str, value: int, method: str) -> None:
    """Refuse a count below 1.

    Raises:
        ValueError: it is 0 or negative.
    """
    if value < 1:
        raise ValueError(f"{method}: {name} is {value}, expected at least 1")
