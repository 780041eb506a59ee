"""MTA: the mode of one image's random crops, in place of the image."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.methods.inputs import check_at_least_one, check_positive, check_weight
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens


class Mta(TextOnly):
    """logits = s mu F_t^T with the mode mu of an image's views (Zanella and Ben Ayed, CVPR 2024, arXiv 2405.02266).

    The views f_p are the image and random crops of it. From mu = f_1 on, two steps alternate: the weights y of the
    views, y = softmax((K_p + lambda_q sum_q A_pq y_q) / lambda_y), and the mean shift mu = sum_p y_p K_p f_p, of unit
    length. K_p = exp(-d_p^2 / 2 h_p^2), where d_p is the distance of f_p from mu, and h_p^2 half the mean squared
    distance of f_p to its nearest views; A_pq is the inner product of CLIP's probabilities for two views. The published
    code stops early where nothing moves by more than 1e-6.
    """

    name = "mta"
    sees = "views"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of MTA; the defaults are those of the published code.

        Attributes:
            crops: random crops of an image, beside the image itself.
            smoothness: lambda_y; the smaller, the fewer views count.
            agreement: lambda_q, the weight of views with the same prediction.
            nearest: share of the other views that count as the nearest ones.
            rounds: alternations, and updates in each step of one.

        Raises:
            ValueError: an option is out of range.
        """

        crops: int = 63
        smoothness: float = 0.2
        agreement: float = 4.0
        nearest: float = 0.3
        rounds: int = 5

        def __post_init__(self) -> None:
            for name in ("crops", "rounds"):
                check_at_least_one(name, getattr(self, name), "mta")
            check_positive("smoothness", self.smoothness, "mta")
            check_weight("agreement", self.agreement, "mta")
            if not 0 < self.nearest <= 1:
                raise ValueError(f"mta: nearest is {self.nearest}, expected a share above 0 and up to 1")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "t k"]:
        """Classify images, each given as ``1 + crops`` consecutive rows: itself, then its crops.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: the rows are not a whole number of images, or differ in width from the text features.
        """
        rows, text = self._pair(tokens)
        views = 1 + self.options.crops
        if len(rows) % views:
            raise ValueError(f"mta got {len(rows)} rows, expected {views} per image: itself and {views - 1} crops")
        return self.options.logit_scale * (self._modes(rows.unflatten(0, (-1, views)), text) @ text.T)

    def _modes(self, views: Float[Tensor, "t v c"], text: Float[Tensor, "k c"]) -> Float[Tensor, "t c"]:
        """mu of each image."""
        options = self.options
        shares = torch.softmax(options.logit_scale * views @ text.T, dim=2)  # (t, v, k)
        agreement = shares @ shares.mT  # A, (t, v, v)
        wide = self._squared_widths(views)  # (t, v)
        mode = views[:, 0]  # (t, c)
        weights = torch.full_like(wide, 1 / views.shape[1])  # y, (t, v)
        for _ in range(options.rounds):
            kernel = _kernel(views, mode, wide)
            for _ in range(options.rounds):
                pull = (agreement @ weights.unsqueeze(2)).squeeze(2)  # (t, v)
                weights = torch.softmax((kernel + options.agreement * pull) / options.smoothness, dim=1)
            for _ in range(options.rounds):
                kernel = _kernel(views, mode, wide)
                mode = normalize(((weights * kernel).unsqueeze(1) @ views).squeeze(1), dim=1)
        return mode

    def _squared_widths(self, views: Float[Tensor, "t v c"]) -> Float[Tensor, "t v"]:
        """h^2 of each view."""
        squares = torch.cdist(views, views, compute_mode="donot_use_mm_for_euclid_dist").square()  # (t, v, v)
        count = max(1, int(self.options.nearest * (views.shape[1] - 1)))
        near = squares.sort(dim=2).values[:, :, 1 : 1 + count]  # without the view itself
        return (near.mean(dim=2) / 2).clamp_min(torch.finfo(near.dtype).eps)


def _kernel(
    views: Float[Tensor, "t v c"], mode: Float[Tensor, "t c"], squared_widths: Float[Tensor, "t v"]
) -> Float[Tensor, "t v"]:
    """exp(-|f - mu|^2 / 2 h^2)."""
    return torch.exp(-(views - mode.unsqueeze(1)).square().sum(dim=2) / (2 * squared_widths))
