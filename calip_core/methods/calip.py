"""CALIP's training-free classifier: three logits, blended."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.attention import CalipConfig, calip_logits
from calip_core.blend.landscape import beta_landscape, released_grid
from calip_core.blend.selection import FIXED
from calip_core.methods.base import Head, Labels, Validation, fitted
from calip_core.methods.validation import check_validation
from calip_core.tokens import CalipLogits, ImageTokens


class Calip(Head):
    """logits = beta1 s F_v F_t^T + beta2 s F_v F_t^aT + beta3 s F_v^a F_t^T: CALIP, as released.

    Args:
        beta1: weight of CLIP's own logits.
        beta2: weight of the text features that attended to the image. The default pair (1.12, 0.02) is the paper's for
            ImageNet with RN50, as SuS-X transcribes it, fixed here for every task. None, for both, chooses them on the
            validation set; without one they are that pair.
        beta3: weight of the image feature that attended to the text.
        config: temperatures and pooling, as an object or by its fields; the released code's when left out.
        logit_scale: s.
    """

    name = "calip"

    def __init__(
        self,
        beta1: float = 1.0,
        beta2: float | None = FIXED[0],
        beta3: float | None = FIXED[1],
        config: CalipConfig | Mapping[str, Any] | None = None,
        logit_scale: float = 100.0,
    ) -> None:
        if (beta2 is None) != (beta3 is None):
            raise ValueError(f"beta2 is {beta2} and beta3 is {beta3}: give both, or None for both to choose them")
        self.beta1, self.beta2, self.beta3 = beta1, beta2, beta3
        self.config = CalipConfig(**config) if isinstance(config, Mapping) else config or CalipConfig.official()
        self.logit_scale = logit_scale
        self._text: Float[Tensor, "k c"] | None = None
        self._chosen = FIXED

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Calip":
        """Keep the text features, and choose the blend on the validation set if it is left open."""
        self._text = text
        if self.beta2 is not None and self.beta3 is not None:
            self._chosen, reason = (self.beta2, self.beta3), "given"
        elif val is None:
            self._chosen, reason = FIXED, "the paper's for ImageNet, as there is no validation set"
        else:
            chosen_on, labels = check_validation(val, text, self.name)
            beta2, beta3 = released_grid()
            found = beta_landscape(self.terms(chosen_on), labels, beta2=beta2, beta3=beta3, beta1=self.beta1).best()
            self._chosen, reason = (found.beta2, found.beta3), f"exact landscape of {len(labels)} validation images"
        self.chosen_by = f"{reason}: beta2 = {self._chosen[0]:g}, beta3 = {self._chosen[1]:g}"
        return self

    def terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits before they are blended."""
        return calip_logits(tokens, fitted(self._text).to(tokens.pooled), self.config, self.logit_scale)

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The blend of the three."""
        beta2, beta3 = self._chosen
        return self.terms(tokens).combine(self.beta1, beta2=beta2, beta3=beta3)

    def options(self) -> dict[str, Any]:
        """The weights as they were given, the fields of the config, and the logit scale."""
        betas = {"beta1": self.beta1, "beta2": self.beta2, "beta3": self.beta3}
        return {**betas, "config": asdict(self.config), "logit_scale": self.logit_scale}

    def state(self) -> dict[str, Tensor]:
        """The text features and the blend."""
        return {"text": fitted(self._text), "betas": torch.tensor(self._chosen, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._text = state["text"]
        beta2, beta3 = state["betas"].tolist()
        self._chosen = (beta2, beta3)
        self.chosen_by = f"restored: beta2 = {beta2:g}, beta3 = {beta3:g}"

    def shapes(self) -> dict[str, str]:
        """The text features and the blend."""
        return {"text": "k c", "betas": "2"}
