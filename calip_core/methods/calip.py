"""CALIP's training-free classifier: three logits, blended."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from calip_core.attention import CalipConfig, calip_logits
from calip_core.methods.base import Head, Labels, Validation, fitted
from calip_core.tokens import CalipLogits, ImageTokens


class Calip(Head):
    """logits = beta1 s F_v F_t^T + beta2 s F_v F_t^aT + beta3 s F_v^a F_t^T (CALIP, section 3.2).

    Args:
        beta1: weight of CLIP's own logits.
        beta2: weight of the text features that attended to the image. The default pair (1.12, 0.02) is the one the
            paper reports for ImageNet with RN50, fixed here for every task.
        beta3: weight of the image feature that attended to the text.
        config: temperatures and pooling, as an object or by its fields; the released code's when left out.
        logit_scale: s.
    """

    name = "calip"

    def __init__(
        self,
        beta1: float = 1.0,
        beta2: float = 1.12,
        beta3: float = 0.02,
        config: CalipConfig | Mapping[str, Any] | None = None,
        logit_scale: float = 100.0,
    ) -> None:
        self.beta1, self.beta2, self.beta3 = beta1, beta2, beta3
        self.config = CalipConfig(**config) if isinstance(config, Mapping) else config or CalipConfig.official()
        self.logit_scale = logit_scale
        self._text: Float[Tensor, "k c"] | None = None

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Calip":
        """Keep the text features; the blend is fixed, so the support and validation sets are not used."""
        self._text = text
        return self

    def terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits before they are blended."""
        return calip_logits(tokens, fitted(self._text), self.config, self.logit_scale)

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The blend of the three."""
        return self.terms(tokens).combine(self.beta1, beta2=self.beta2, beta3=self.beta3)

    def options(self) -> dict[str, Any]:
        """The weights, the fields of the config, and the logit scale."""
        betas = {"beta1": self.beta1, "beta2": self.beta2, "beta3": self.beta3}
        return {**betas, "config": asdict(self.config), "logit_scale": self.logit_scale}

    def state(self) -> dict[str, Tensor]:
        """The text features."""
        return {"text": fitted(self._text)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the text features back."""
        self._text = state["text"]
