"""CLIP's own zero-shot classifier: one pooled image vector against one text vector per class."""

from jaxtyping import Float
from torch import Tensor

from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens


class ZeroShot(TextOnly):
    """logits = s F_v F_t^T (Radford et al., 2021, section 3.1).

    The scale s changes probabilities, never the predicted class.
    """

    name = "zero_shot"
    sees = "nothing"

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled and text features, times s."""
        images, text = self._pair(tokens)
        return self.options.logit_scale * (images @ text.T)
