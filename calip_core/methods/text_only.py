"""The base of heads that know nothing before they classify but the text features."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from calip_core.methods.base import Head
from calip_core.methods.inputs import Labels, Validation, check_no_support, check_positive, check_width, single
from calip_core.tokens import ImageTokens


class TextOnly(Head):
    """A head whose ``fit`` keeps the text features; what else it sees, it sees while it classifies."""

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of every such head.

        Attributes:
            logit_scale: the factor s on the cosines, positive and finite.
        """

        logit_scale: float = 100.0

    options: Options

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        check_positive("logit_scale", self.options.logit_scale, self.name)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "TextOnly":
        """Keep the text features; there is nothing to choose on a validation set.

        Raises:
            ValueError: there are images in the support set.
        """
        check_no_support(tokens, self.name)
        self._keep("text", text.detach())
        return self

    def _pair(self, tokens: ImageTokens) -> tuple[Float[Tensor, "n c"], Float[Tensor, "k c"]]:
        """Pooled image features and text features, in the same format.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: their widths differ.
        """
        images = single(tokens.pooled)  # (n, c)
        text = self._fitted("text", images)  # (k, c)
        check_width(tokens, text.shape[1], self.name)
        return images, text
