"""CLIP-Adapter: a small bottleneck network bends the image feature, and most of the old feature stays."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from calip_core.methods.base import Labels, Validation
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import Support, TrainingOptions, uniform
from calip_core.methods.validation import check_validation
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

PUBLISHED_RATIO = 0.2
"""Residual ratio of the published code."""


class ClipAdapter(TrainedHead):
    """logits = s unit(r A(F_v) + (1 - r) F_v) F_t^T with A(x) = relu(W2 relu(W1 x)) (Gao et al., 2021, section 3.2).

    W1 is C/4 x C and W2 is C x C/4, both without bias, as in the published ``clip_adapter.py``.

    Args:
        ratio: r, the share of the adapted feature. None chooses it from ``ratios`` on validation, with one training
            run each; without a validation set None means the published 0.2.
        ratios: what None chooses from. Among equals the first wins, so list small ones first: they are nearer CLIP.
        reduction: how many times narrower the layer in the middle is.
        training: the recipe, as an object or by its fields; CoOp's for 16 shots when left out.
        seed: of the first weights and of the order of the rows.
        logit_scale: s.
        progress: whether to show a bar while training.

    Attributes:
        report: of the training run; None before and after loading.

    Raises:
        ValueError: a ratio outside 0 to 1, no ratios, or a reduction below 1.
    """

    name = "clip_adapter"

    def __init__(
        self,
        ratio: float | None = None,
        ratios: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
        reduction: int = 4,
        training: TrainingOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
        logit_scale: float = 100.0,
        progress: bool = False,
    ) -> None:
        for value in (*ratios, *([] if ratio is None else [ratio])):
            if not 0 <= value <= 1:
                raise ValueError(f"a residual ratio is {value}, expected a share from 0 to 1 such as {PUBLISHED_RATIO}")
        if not ratios:
            raise ValueError("ratios is empty, expected at least one share to choose from")
        if reduction < 1:
            raise ValueError(f"reduction is {reduction}, expected at least 1: the middle has C / reduction units")
        super().__init__(training, TrainingOptions.coop(), seed=seed, logit_scale=logit_scale, progress=progress)
        self.ratio, self.ratios, self.reduction = ratio, tuple(ratios), reduction

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "ClipAdapter":
        """Train the adapter on the support set; the validation set is used for the ratio alone.

        Raises:
            ValueError: the support set is missing, lacks a class, or is of another width than the text.
            TrainingDivergedError: the head is then the last one with a finite loss.
        """
        support = Support.of(tokens, labels, text, self.name)
        if self.ratio is not None:
            reason = "given"
            self._train(support, self.ratio)
        elif val is None:
            reason = "published, as there is no validation set"
            self._train(support, PUBLISHED_RATIO)
        else:
            chosen_on, val_labels = check_validation(val, text, self.name)
            reason = f"best of {len(self.ratios)} on {len(val_labels)} validation images"
            self._train_all(support, chosen_on, val_labels)
        self.chosen_by = f"{reason}: {self._numbers()}"
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of adapted and text features, times s.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: features of another width.
        """
        with torch.no_grad():
            tokens = self._checked(tokens)
            return self._logits(tokens.pooled, self._placed(tokens))

    def options(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"ratio": self.ratio, "ratios": list(self.ratios), "reduction": self.reduction}
        return {**own, **super().options()}

    def shapes(self) -> dict[str, str]:
        """Text features, the two layers and the ratio."""
        return {"text": "k c", "down": "h c", "up": "c h", "ratio": ""}

    def _numbers(self) -> str:
        return f"ratio = {float(self._state['ratio']):g}"

    def _train_all(self, support: Support, tokens: ImageTokens, labels: Labels) -> None:
        """Train with every ratio and keep the one that is best on validation."""
        best = -1.0
        for ratio in self.ratios:
            self._train(support, ratio)
            score = accuracy(self.logits(tokens), labels)
            if score > best:
                best, chosen, report = score, self._state, self.report
        self._state, self.report = chosen, report

    def _train(self, support: Support, ratio: float) -> None:
        state = self._first_state(support.text, ratio)
        pooled = support.tokens.pooled
        self._learn(state, lambda rows: self._logits(pooled[rows], state), support)

    def _first_state(self, text: Float[Tensor, "k c"], ratio: float) -> dict[str, Tensor]:
        """Weights drawn as torch draws those of a linear layer: evenly within one over the root of its inputs."""
        width = text.shape[1]
        middle = max(1, width // self.reduction)
        generator = torch.Generator().manual_seed(self.seed)
        return {
            "text": text,
            "down": uniform((middle, width), width**-0.5, generator, text),
            "up": uniform((width, middle), middle**-0.5, generator, text),
            "ratio": torch.tensor(ratio, dtype=torch.float64),
        }

    def _logits(self, pooled: Float[Tensor, "n c"], state: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        adapted = relu(linear(relu(linear(pooled, state["down"])), state["up"]))
        ratio = float(state["ratio"])
        return self.logit_scale * normalize(ratio * adapted + (1 - ratio) * pooled, dim=-1) @ state["text"].T
