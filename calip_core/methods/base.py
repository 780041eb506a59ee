"""The one interface of all classifier heads."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from calip_core.metrics import checked_labels
from calip_core.tokens import ImageTokens

Labels = Int[np.ndarray, "_"]
"""Class numbers; support and validation sets are of different lengths."""
Validation = tuple[ImageTokens, Labels]
"""Tokens and labels of a validation set."""


NOTHING = "nothing to choose"
"""What heads without a hyperparameter to choose say of their choice."""


class Head:
    """Notes that every head carries; they mean what they mean for a ``Method``."""

    chosen_by: str = NOTHING
    features_of: str | None = None


@runtime_checkable
class Method(Protocol):
    """A classifier head on top of frozen CLIP features.

    ``fit`` always takes a support set and, where hyperparameters are chosen, a *validation* set: no head ever sees
    test labels. Heads without training only take the text features from it.

    Attributes:
        name: by which ``make_method`` makes it.
        chosen_by: what the head has chosen and on what, in words; ``NOTHING`` where it has nothing to choose.
        features_of: name of the backbone whose features it was fitted on, where whoever fitted it knows: bare tensors
            do not carry it, and two backbones may be equally wide.
    """

    name: str
    chosen_by: str
    features_of: str | None

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Method":
        """Learn from a support set; returns the head itself."""
        ...

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Classify: the largest logit of a row is the predicted class.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        ...

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make the same head again: plain values, as JSON has them."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that ``fit`` has found out, by name: with ``options`` it is the whole head.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Become the fitted head whose ``state`` this is."""
        ...

    def shapes(self) -> dict[str, str]:
        """Names and dimensions of what ``state`` holds, such as "k c"; equal letters are equal, k is the classes."""
        ...


def fitted(text: Float[Tensor, "k c"] | None) -> Float[Tensor, "k c"]:
    """The text features of a fitted head.

    Raises:
        RuntimeError: there are none yet.
    """
    if text is None:
        raise RuntimeError("this head has no text features yet: call fit(tokens, labels, text) first")
    return text


def check_support(
    tokens: ImageTokens | None, labels: Labels | None, text: Float[Tensor, "k c"], method: str
) -> tuple[ImageTokens, Int[np.ndarray, "n"]]:
    """The support set of a head that learns from one.

    Raises:
        ValueError: there is none, labels and images differ in number, a label is no class, a class has no image,
            features or text are not finite, or the features have another width than the text. Equally wide features of
            another backbone cannot be told apart here.
    """
    if tokens is None or labels is None or len(tokens) == 0:
        raise ValueError(f"{method} learns from a support set: give its tokens and labels")
    checked = np.asarray(checked_labels(tokens.pooled.new_zeros(len(tokens), len(text)), labels))
    check_width(tokens, text, method)
    check_finite(tokens, text, method)
    lacking = sorted(set(range(len(text))) - set(checked.tolist()))
    if lacking:
        raise ValueError(
            f"{method}: {len(lacking)} of {len(text)} classes have no image in the support set, the first is class "
            f"{lacking[0]}: draw at least one image of every class"
        )
    return tokens, checked


def check_width(tokens: ImageTokens, text: Float[Tensor, "k c"], method: str) -> None:
    """Refuse features that cannot be of the backbone that made the text features.

    Raises:
        ValueError: their widths differ.
    """
    if tokens.pooled.shape[1] != text.shape[1]:
        raise ValueError(
            f"{method}: image features are {tokens.pooled.shape[1]} wide and text features {text.shape[1]}: encode "
            "both with the same backbone"
        )


def check_finite(tokens: ImageTokens, text: Float[Tensor, "k c"], method: str) -> None:
    """Refuse features that are no numbers: a head fitted on them would be none either.

    Raises:
        ValueError: one is NaN or infinite; the message names the first image or class.
    """
    named = (("image", tokens.pooled), ("image", tokens.spatial.flatten(1)), ("class", text))
    for what, rows in named:
        bad = (~rows.isfinite().all(dim=1)).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{method}: the features of {what} {int(bad[0])} hold NaN or infinity, as do those of "
                f"{len(bad) - 1} others: encode them again, in fp32 if half precision overflows"
            )
