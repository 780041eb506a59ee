"""CLIP's own zero-shot classifier: one pooled image vector against one text vector per class."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from calip_core.methods.base import Head
from calip_core.methods.inputs import Labels, Validation, check_no_support, check_positive, check_width, single
from calip_core.tokens import ImageTokens


class ZeroShot(Head):
    """logits = s F_v F_t^T (Radford et al., 2021, section 3.1)."""

    name = "zero_shot"
    sees = "nothing"

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of zero-shot classification.

        Attributes:
            logit_scale: the factor s on the cosines; it changes probabilities, never the predicted class.

        Raises:
            ValueError: the scale is not positive and finite.
        """

        logit_scale: float = 100.0

        def __post_init__(self) -> None:
            check_positive("logit_scale", self.logit_scale, "zero_shot")

    options: Options

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "ZeroShot":
        """Keep the text features; there is nothing to choose on a validation set.

        Raises:
            ValueError: there are images in the support set.
        """
        check_no_support(tokens, self.name)
        self._keep("text", text.detach())
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled and text features, times s."""
        images = single(tokens.pooled)  # (n, c)
        text = self._fitted("text", images)  # (k, c)
        check_width(tokens, text.shape[1], self.name)
        return self.options.logit_scale * (images @ text.T)
