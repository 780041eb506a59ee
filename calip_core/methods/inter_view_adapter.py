"""PointCLIP's inter-view adapter: combines the features of all views of a cloud."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from calip_core.methods.base import Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_width,
    widened,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import TrainingOptions, uniform
from calip_core.tokens import ImageTokens

PUBLISHED_RATIO = 0.6
"""Share of the adapted features (PointCLIP, trainers/fewshot.py)."""


class InterViewAdapter(TrainedHead):
    """logits of view i = s unit(r relu(W_i g) + (1 - r) F_v,i) F_t^T with g = relu(W [F_v,1 ... F_v,V]).

    The global feature g of a cloud is computed from the pooled features of all its views and added to each of them
    (Zhang et al., PointCLIP, 2022, section 3.3). The published adapter also has normalisation layers and dropout; this
    one has only its linear layers, without bias.
    """

    name = "inter_view_adapter"

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of the inter-view adapter.

        Attributes:
            cloud_views: V, the number of consecutive rows that belong to one cloud.
            ratio: r, the share of the adapted features.
            training: the recipe; by default, the published one: SGD 0.01, batches of 32 clouds, label smoothing 0.2,
                250 epochs. The published code keeps the epoch that is best on the *test* set; here it is the last.

        Raises:
            ValueError: there are no views, or the ratio is outside 0 to 1.
        """

        cloud_views: int = 1
        ratio: float = PUBLISHED_RATIO
        training: TrainingOptions = field(default_factory=TrainingOptions.pointclip)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least_one("cloud_views", self.cloud_views, "inter_view_adapter")
            if not 0 <= self.ratio <= 1:
                raise ValueError(f"ratio is {self.ratio}, expected a share from 0 to 1 such as {PUBLISHED_RATIO}")

    options: Options

    @classmethod
    def fixed_training(cls, epochs: int) -> TrainingOptions:
        """PointCLIP's recipe with a number of epochs."""
        return TrainingOptions.pointclip(epochs)

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """PointCLIP's ratio and schedule."""
        options = {"ratio": PUBLISHED_RATIO, "training": cls._known_training(dataset, shots)}
        return Recipe(options, "PointCLIP's code, without its normalisation layers and dropout")

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """PointCLIP's recipe, for any number of shots."""
        return TrainingOptions.pointclip()

    def shapes(self) -> dict[str, str]:
        """Text features and the two layers; j is the width of all views of a cloud together."""
        return {"text": "k c", "gather": "c j", "spread": "j c"}

    def learned(self) -> tuple[str, ...]:
        """The two layers."""
        return ("gather", "spread")

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "InterViewAdapter":
        """Train the adapter on the support set's clouds; nothing is chosen on the validation set.

        Raises:
            ValueError: the support set is missing, lacks a class, differs in width from the text, does not consist of
                whole clouds, or the views of a cloud have different labels.
            TrainingDivergedError: the loss is not finite; the head keeps the last parameters with a finite loss.
        """
        rows = Support.of(tokens, labels, text, self.name)
        pooled = self._by_cloud(rows.tokens.pooled)  # (p, v, c)
        clouds = Support(rows.tokens, self._label_of_cloud(rows.targets), rows.text)
        width, generator = text.shape[1], torch.Generator().manual_seed(self.options.seed)
        joined = self.options.cloud_views * width
        self._keep("text", rows.text)
        self._keep("gather", uniform((width, joined), joined**-0.5, generator, rows.text))
        self._keep("spread", uniform((joined, width), width**-0.5, generator, rows.text))
        self._learn(lambda some: self._views(pooled[some]).mean(dim=1), clouds)
        return self

    @torch.no_grad()
    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """One row per view; the mean over the views of a cloud gives the cloud's logits.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: the features have the wrong width, or the rows are not a whole number of clouds.
        """
        check_width(tokens, self._width(), self.name)
        return self._views(self._by_cloud(widened(tokens).pooled)).flatten(0, 1)

    def _label_of_cloud(self, targets: Int64[Tensor, " n"]) -> Int64[Tensor, " p"]:
        by_cloud = targets.view(-1, self.options.cloud_views)
        mixed = (by_cloud != by_cloud[:, :1]).any(dim=1).nonzero().flatten()
        if len(mixed):
            cloud = int(mixed[0])
            raise ValueError(
                f"{self.name}: the {by_cloud.shape[1]} views of cloud {cloud} have labels {by_cloud[cloud].tolist()}, "
                "expected one label: put the views of one cloud into consecutive rows, each with the cloud's label"
            )
        return by_cloud[:, 0]

    def _by_cloud(self, pooled: Float[Tensor, "n c"]) -> Float[Tensor, "p v c"]:
        views = self.options.cloud_views
        if len(pooled) % views:
            raise ValueError(
                f"{self.name}: there are {len(pooled)} views, expected a multiple of {views}, one per view of every "
                "cloud"
            )
        return pooled.view(-1, views, pooled.shape[1])

    def _views(self, pooled: Float[Tensor, "p v c"]) -> Float[Tensor, "p v k"]:
        text, gather, spread = (self._fitted(name, pooled) for name in ("text", "gather", "spread"))
        whole = relu(linear(pooled.flatten(1), gather))  # (p, c)
        told = relu(linear(whole, spread)).view(pooled.shape)  # (p, v, c)
        ratio = self.options.ratio
        adapted = normalize(ratio * told + (1 - ratio) * pooled, dim=-1)
        logits: Float[Tensor, "p v k"] = self.options.logit_scale * adapted @ text.T
        return logits
