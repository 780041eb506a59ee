"""CLIP's own zero-shot classifier: one pooled image vector against one text vector a class."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from calip_core.methods.base import Head, Labels, Validation, fitted
from calip_core.tokens import ImageTokens


class ZeroShot(Head):
    """logits = s F_v F_t^T (Radford et al., 2021, section 3.1).

    Args:
        logit_scale: s, the factor on cosines; it changes probabilities, never the predicted class.
    """

    name = "zero_shot"

    def __init__(self, logit_scale: float = 100.0) -> None:
        self.logit_scale = logit_scale
        self._text: Float[Tensor, "k c"] | None = None

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "ZeroShot":
        """Keep the text features; the support and validation sets are not used."""
        self._text = text
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled and text features, times s."""
        return self.logit_scale * (tokens.pooled @ fitted(self._text).to(tokens.pooled).T)

    def options(self) -> dict[str, Any]:
        """The logit scale."""
        return {"logit_scale": self.logit_scale}

    def state(self) -> dict[str, Tensor]:
        """The text features."""
        return {"text": fitted(self._text)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the text features back."""
        self._text = state["text"]

    def shapes(self) -> dict[str, str]:
        """The text features."""
        return {"text": "k c"}
