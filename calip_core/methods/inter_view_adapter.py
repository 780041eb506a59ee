"""PointCLIP's inter-view adapter: the views of a cloud tell each other what they see."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from calip_core.methods.base import Labels, Validation
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import Support, TrainingOptions, uniform
from calip_core.tokens import ImageTokens

PUBLISHED_RATIO = 0.6
"""Share of the adapted features (PointCLIP, trainers/fewshot.py)."""


class InterViewAdapter(TrainedHead):
    """logits of view i = s unit(r relu(W_i g) + (1 - r) F_v,i) F_t^T with g = relu(W [F_v,1 ... F_v,V]).

    The global feature g of a cloud is made of the pooled features of all its views and handed back to each (Zhang et
    al., PointCLIP, 2022, section 3.3). The published adapter has normalisation layers and dropout besides; here are its
    linear layers alone, without bias.

    Args:
        cloud_views: V, consecutive rows that belong to one cloud.
        ratio: r, the share of what the adapter says.
        training: the recipe, as an object or by its fields. The published one when left out: SGD 0.01, batches of 32
            clouds, label smoothing 0.2, 250 epochs; the published code keeps the epoch that is best on the *test* set,
            here it is the last.
        seed: of the first weights and of the order of the clouds.
        logit_scale: s.
        progress: whether to show a bar while training.

    Raises:
        ValueError: fewer than one view, or a ratio outside 0 to 1.
    """

    name = "inter_view_adapter"

    def __init__(
        self,
        cloud_views: int = 1,
        ratio: float = PUBLISHED_RATIO,
        training: TrainingOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
        logit_scale: float = 100.0,
        progress: bool = False,
    ) -> None:
        if cloud_views < 1:
            raise ValueError(f"cloud_views is {cloud_views}, expected at least 1: how many rows belong to one cloud")
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio is {ratio}, expected a share from 0 to 1 such as {PUBLISHED_RATIO}")
        super().__init__(training, TrainingOptions.pointclip(), seed=seed, logit_scale=logit_scale, progress=progress)
        self.cloud_views, self.ratio = cloud_views, ratio

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "InterViewAdapter":
        """Train the adapter on the support set's clouds; nothing is chosen on the validation set.

        Raises:
            ValueError: the support set is missing, lacks a class, is of another width than the text, has no whole
                number of clouds, or the views of a cloud have different labels.
            TrainingDivergedError: the head is then the last one with a finite loss.
        """
        rows = Support.of(tokens, labels, text, self.name)
        pooled = self._by_cloud(rows.tokens.pooled)
        clouds = Support(rows.tokens, self._label_of_cloud(rows.targets), rows.text)
        state = self._first_state(rows.text)
        self._learn(state, lambda some: self._views(pooled[some], state).mean(dim=1), clouds)
        return self

    @torch.no_grad()
    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """One row a view; the mean over the views of a cloud is the cloud's.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: features of another width, or no whole number of clouds.
        """
        tokens = self._checked(tokens)
        return self._views(self._by_cloud(tokens.pooled), self._placed(tokens)).flatten(0, 1)

    def options(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"cloud_views": self.cloud_views, "ratio": self.ratio, **super().options()}

    def shapes(self) -> dict[str, str]:
        """Text features and the two layers; j is the width of all views of a cloud together."""
        return {"text": "k c", "gather": "c j", "spread": "j c"}

    def _label_of_cloud(self, targets: Int64[Tensor, " n"]) -> Int64[Tensor, " p"]:
        by_cloud = targets.view(-1, self.cloud_views)
        mixed = (by_cloud != by_cloud[:, :1]).any(dim=1).nonzero().flatten()
        if len(mixed):
            cloud = int(mixed[0])
            raise ValueError(
                f"{self.name}: the {self.cloud_views} views of cloud {cloud} have labels {by_cloud[cloud].tolist()}, "
                "expected one label: put the views of one cloud into consecutive rows, each with the cloud's label"
            )
        return by_cloud[:, 0]

    def _by_cloud(self, pooled: Float[Tensor, "n c"]) -> Float[Tensor, "p v c"]:
        if len(pooled) % self.cloud_views:
            raise ValueError(
                f"{self.name}: there are {len(pooled)} views, expected a multiple of {self.cloud_views}, one a view of "
                "every cloud"
            )
        return pooled.view(-1, self.cloud_views, pooled.shape[1])

    def _first_state(self, text: Float[Tensor, "k c"]) -> dict[str, Tensor]:
        width, generator = text.shape[1], torch.Generator().manual_seed(self.seed)
        joined = self.cloud_views * width
        return {
            "text": text,
            "gather": uniform((width, joined), joined**-0.5, generator, text),
            "spread": uniform((joined, width), width**-0.5, generator, text),
        }

    def _views(self, pooled: Float[Tensor, "p v c"], state: Mapping[str, Tensor]) -> Float[Tensor, "p v k"]:
        whole = relu(linear(pooled.flatten(1), state["gather"]))
        told = relu(linear(whole, state["spread"])).view(pooled.shape)
        adapted = normalize(self.ratio * told + (1 - self.ratio) * pooled, dim=-1)
        logits: Float[Tensor, "p v k"] = self.logit_scale * adapted @ state["text"].T
        return logits
