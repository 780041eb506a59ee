"""What all heads share that learn by gradient descent: their state, and how it is trained."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from calip_core.methods.base import NOTHING, Head, check_width, fitted
from calip_core.methods.training import Forward, Support, TrainingOptions, TrainingReport, train, widened
from calip_core.tokens import ImageTokens

_CHOSEN = {"betas", "blend", "ratio"}  # of a state: numbers that were given or chosen, in float64


class TrainedHead(Head):
    """A head whose state is a dictionary of tensors, some of them learned.

    Args:
        training: the recipe, as an object or by its fields.
        default: the recipe when ``training`` is left out.
        seed: of the first weights and of the order of the rows.
        logit_scale: s, the factor on cosines.
        progress: whether to show a bar while training.

    Attributes:
        report: of the training run; None before it, and for a head that was loaded.
        profile: set it to have the next fit measure its share of matrix products, which makes short steps slower.
    """

    name: str

    def __init__(
        self,
        training: TrainingOptions | Mapping[str, Any] | None,
        default: TrainingOptions,
        *,
        seed: int,
        logit_scale: float,
        progress: bool,
    ) -> None:
        self.training = TrainingOptions.of(training, default)
        self.seed, self.logit_scale, self.progress = seed, logit_scale, progress
        self.report: TrainingReport | None = None
        self.profile = False
        self._state: dict[str, Tensor] = {}

    def options(self) -> dict[str, Any]:
        """The constructor's arguments that all trained heads have."""
        return {
            "training": asdict(self.training), "seed": self.seed, "logit_scale": self.logit_scale,
            "progress": self.progress,
        }  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """The text features and everything learned or chosen.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        self._text()
        return dict(self._state)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._state = dict(state)
        numbers = self._numbers()
        self.chosen_by = f"restored: {numbers}" if numbers else NOTHING

    def _text(self) -> Float[Tensor, "k c"]:
        return fitted(self._state.get("text"))

    def _checked(self, tokens: ImageTokens) -> ImageTokens:
        """Images to classify, in at least float32, once they fit the head."""
        check_width(tokens, self._text(), self.name)
        return widened(tokens)

    def _numbers(self) -> str:
        """The chosen numbers of the state in words; empty where there is nothing to choose."""
        return ""

    def _placed(self, tokens: ImageTokens) -> dict[str, Tensor]:
        """The state where the tokens are and as they are; numbers that were chosen keep their precision."""
        like = tokens.pooled
        return {
            name: tensor.to(like) if tensor.is_floating_point() and name not in _CHOSEN else tensor.to(like.device)
            for name, tensor in self._state.items()
        }

    def _learn(self, state: dict[str, Tensor], forward: Forward, support: Support) -> None:
        """Train the tensors of a state that require gradients, and keep it: also if training diverges."""
        self._state, self.report = state, None
        learned = {name: tensor for name, tensor in state.items() if tensor.requires_grad}
        try:
            self.report = train(
                learned, forward, support.targets, self.training,
                seed=self.seed, what=self.name, progress=self.progress, profile=self.profile,
            )  # fmt: skip
        finally:
            self._state = {name: tensor.detach() for name, tensor in state.items()}
