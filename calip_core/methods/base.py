"""The one interface of all classifier heads."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from calip_core.tokens import ImageTokens

Labels = Int[np.ndarray, "n"]


@runtime_checkable
class Method(Protocol):
    """A classifier head on top of frozen CLIP features.

    ``fit`` always takes a support set and, where hyperparameters are chosen, a *validation* set: no head ever sees
    test labels. Heads without training only take the text features from it.
    """

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: tuple[ImageTokens, Labels] | None = None,
    ) -> "Method":
        """Learn from a support set; returns the head itself."""
        ...

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Classify: the largest logit of a row is the predicted class.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        ...


def fitted(text: Float[Tensor, "k c"] | None) -> Float[Tensor, "k c"]:
    """The text features of a fitted head.

    Raises:
        RuntimeError: there are none yet.
    """
    if text is None:
        raise RuntimeError("this head has no text features yet: call fit(tokens, labels, text) first")
    return text
