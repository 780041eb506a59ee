"""StatA: TransCLIP whose class means are anchored to the text, for batches that lack classes."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.methods.inputs import check_positive
from calip_core.methods.transclip import TransClip, weighted_means


class StatA(TransClip):
    """TransCLIP with mu_k <- beta_k mu_k + (1 - beta_k) t_k, where beta_k = n_k / (alpha + n_k).

    n_k is the number of images that are assigned to class k: the mean of a class that the batch lacks stays at its
    text vector t_k (Zanella et al., CVPR 2025, arXiv 2501.03729). The original anchors the variance as well; here it
    is TransCLIP's.
    """

    name = "stata"

    @dataclass(frozen=True, kw_only=True)
    class Options(TransClip.Options):
        """Options of StatA.

        Attributes:
            alpha: the weight of the text, in images.

        Raises:
            ValueError: an option is out of range.
        """

        alpha: float = 1.0

        def __post_init__(self) -> None:
            super().__post_init__()
            check_positive("alpha", self.alpha, "stata")

    options: Options

    def _means(
        self, assigned: Float[Tensor, "n k"], images: Float[Tensor, "n c"], text: Float[Tensor, "k c"]
    ) -> Float[Tensor, "k c"]:
        """Means between the images and the text, of unit length."""
        count = assigned.sum(dim=0).unsqueeze(1)  # (k, 1)
        share = count / (self.options.alpha + count)
        return normalize(share * weighted_means(assigned, images) + (1 - share) * text, dim=1)
