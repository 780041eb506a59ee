"""CLIP-Adapter: a small bottleneck network adapts the image feature, blended with the original feature."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from calip_core.methods.base import Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_validation,
    check_width,
    single,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import TrainingOptions, coop_training, uniform
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

PUBLISHED_RATIO = 0.2
"""Residual ratio of the published code."""


class ClipAdapter(TrainedHead):
    """logits = s unit(r A(F_v) + (1 - r) F_v) F_t^T with A(x) = relu(W2 relu(W1 x)) (Gao et al., 2021, section 3.2).

    W1 is C/4 x C and W2 is C x C/4, both without bias, as in the published ``clip_adapter.py``.
    """

    name = "clip_adapter"
    numbers = ("ratio",)

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of CLIP-Adapter.

        Attributes:
            ratio: r, the share of the adapted feature. None chooses it from ``ratios`` on the validation set, with one
                training run each; without one, it means the published 0.2.
            ratios: candidates if ``ratio`` is None. Ties go to the first, so list small ones first: they are closer to
                CLIP.
            reduction: factor by which the middle layer is narrower.

        Raises:
            ValueError: a ratio outside 0 to 1, no ratios, or a reduction below 1.
        """

        ratio: float | None = None
        ratios: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
        reduction: int = 4

        def __post_init__(self) -> None:
            super().__post_init__()
            object.__setattr__(self, "ratios", tuple(self.ratios))  # JSON has lists alone
            for value in (*self.ratios, *([] if self.ratio is None else [self.ratio])):
                if not 0 <= value <= 1:
                    raise ValueError(
                        f"a residual ratio is {value}, expected a share from 0 to 1 such as {PUBLISHED_RATIO}"
                    )
            if not self.ratios:
                raise ValueError("ratios is empty, expected at least one share to choose from")
            check_at_least_one("reduction", self.reduction, "clip_adapter")

    options: Options

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """The ratio of the published code, with CoOp's schedule."""
        training = cls._known_training(dataset, shots)
        options = {"ratio": PUBLISHED_RATIO, "training": training}
        return Recipe(options, f"CLIP-Adapter's code, with CoOp's schedule: {training.epochs} epochs")

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """CoOp's schedule."""
        return coop_training(dataset, shots)

    def shapes(self) -> dict[str, str]:
        """Text features, the two layers and the ratio."""
        return {"text": "k c", "down": "h c", "up": "c h", "ratio": ""}

    def learned(self) -> tuple[str, ...]:
        """The two layers."""
        return ("down", "up")

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "ClipAdapter":
        """Train the adapter on the support set; the validation set is used for the ratio alone.

        Raises:
            ValueError: the support set is missing, lacks a class, or differs in width from the text.
            TrainingDivergedError: the loss is not finite; the head keeps the last parameters with a finite loss.
        """
        support = Support.of(tokens, labels, text, self.name)
        if self.options.ratio is not None:
            self._train(support, self.options.ratio, "given")
        elif val is None:
            self._train(support, PUBLISHED_RATIO, "published; no validation images were used")
        else:
            checked = check_validation(val, text, self.name)
            self._train_all(support, checked)
            self._say(f"best of {len(self.options.ratios)} on {len(checked[1])} validation images")
        return self

    @torch.no_grad()
    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of adapted and text features, times s."""
        check_width(tokens, self._width(), self.name)
        return self._logits(single(tokens.pooled))

    def _train_all(self, support: Support, val: Validation) -> None:
        """Train with every ratio and keep the one that is best on the validation set."""
        stream, labels = val
        best = -1.0
        for ratio in self.options.ratios:
            self._train(support, ratio, "tried")
            score = accuracy(self._parts(stream, lambda batch: (self.logits(batch),))[0], labels)
            if score > best:
                best, report = score, self.report
                state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.load_state_dict(state)
        self.report = report

    def _train(self, support: Support, ratio: float, reason: str) -> None:
        """The layers start like torch's linear ones: uniform within one over the square root of their inputs."""
        width = support.text.shape[1]
        middle = max(1, width // self.options.reduction)
        generator = torch.Generator().manual_seed(self.options.seed)
        self._keep("text", support.text)
        self._keep("down", uniform((middle, width), width**-0.5, generator, support.text))
        self._keep("up", uniform((width, middle), middle**-0.5, generator, support.text))
        self._choose(reason, ratio=ratio)
        pooled = support.tokens.pooled
        self._learn(lambda rows: self._logits(pooled[rows]), support)

    def _logits(self, pooled: Float[Tensor, "n c"]) -> Float[Tensor, "n k"]:
        down, up, text = (self._fitted(name, pooled) for name in ("down", "up", "text"))
        adapted = relu(linear(relu(linear(pooled, down)), up))  # (n, c)
        ratio = self._number("ratio")
        return self.options.logit_scale * normalize(ratio * adapted + (1 - ratio) * pooled, dim=-1) @ text.T
