"""PointCLIP's inter-view adapter: combines the features of all views of a cloud."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import batch_norm, linear, normalize, relu

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

INITIAL_WEIGHT = 0.5
"""What the learned weight of every view starts from (PointCLIP, its toolbox's defaults.py)."""

DROPOUT = 0.075
"""Share of values that are set to 0 while the adapter learns (the same file)."""

_LAYERS = {"gather": "c j", "deepen": "c c", "spread": "j c"}  # made by given; j: all views of a cloud
_NORMS = ("view", "cloud")
_PARTS = {"scale": 1.0, "shift": 0.0, "mean": 0.0, "variance": 1.0}  # of a normalisation, and what they start from
_RUNNING = tuple(f"{norm}_{part}" for norm in _NORMS for part in ("mean", "variance"))


class InterViewAdapter(TrainedHead):
    """logits of view v = s sqrt(V) x_v F_t^T / l, with x_v = r relu(S_v relu(D g)) + (1 - r) F_v.

    l is the length of all x_v of a cloud as one vector. g = relu(N'(G [N(w_1 F_1) ... N(w_V F_V)])) describes a cloud:
    it is computed from the pooled features of all its V views, and given back to each of them (Zhang et al., PointCLIP,
    2022, section 3.3). The layers are those of the published trainers/fewshot.py: G, D and S are linear with a bias,
    the weights w are learned, N and N' are batch normalisations, and dropout follows N and g. The mean of the logits
    over the views is s cos([x_1 ... x_V], [F_t ... F_t]), the published logit of a cloud.

    What differs from the published code:

    - The features F have unit length, as all pooled tokens do. There they keep the length that CLIP gives them: the
      longer they are, the less the adapted part counts at first.
    - Every cloud is encoded once, as it is. There a cloud, of radius 1, is scaled by 2/3 to 3/2 and moved by up to 0.2
      along each axis, at random in every epoch.
    - The adapter is trained in float32 or better, there in CLIP's float16.
    - The schedule and the label smoothing: see ``TrainingOptions.pointclip``.
    - The last epoch is kept, there the one that is best on the *test* set.

    Measured on ``mini-solids`` with ``mini-rn`` and 8 shots: with 30 epochs, raw features learn far less, and a last
    batch left out means fewer steps and a lower accuracy; with 250 epochs, both matter little. Scaled and moved clouds,
    the label smoothing and the rate by epoch matter little with 30 already.
    """

    name = "inter_view_adapter"

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of the inter-view adapter.

        Attributes:
            cloud_views: V, the number of consecutive rows that belong to one cloud.
            ratio: r, the share of the adapted features.
            training: the recipe; by default, PointCLIP's 250 epochs.

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
        return Recipe(options, "PointCLIP's code, on features of unit length and clouds as they are")

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """PointCLIP's recipe, for any number of shots."""
        return TrainingOptions.pointclip()

    def shapes(self) -> dict[str, str]:
        """Text features, the views' weights, two normalisations and three layers; j is the width of all views together.

        A normalisation has a learned scale and shift, and the running mean and variance that it uses once it is fitted.
        """
        norms = {f"{norm}_{part}": "c" for norm in _NORMS for part in _PARTS}
        biases = {f"{layer}_bias": dims[0] for layer, dims in _LAYERS.items()}
        return {"text": "k c", "weights": "v"} | norms | _LAYERS | biases

    def learned(self) -> tuple[str, ...]:
        """All but the text features and the running statistics."""
        return tuple(name for name in self.shapes() if name not in ("text", *_RUNNING))

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
        generator = torch.Generator().manual_seed(self.options.seed)
        self._start(rows.text, generator)

        def forward(some: Int64[Tensor, " b"]) -> Float[Tensor, "b k"]:
            return self._views(pooled[some], generator if torch.is_grad_enabled() else None).mean(dim=1)

        self._learn(forward, clouds, [self._fitted(name) for name in _RUNNING])
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

    def _start(self, text: Float[Tensor, "k c"], generator: torch.Generator) -> None:
        """The text features and the initial state, which is torch's for such layers."""
        views, width = self.options.cloud_views, text.shape[1]
        self._keep("text", text)
        self._keep("weights", text.new_full((views,), INITIAL_WEIGHT))
        for norm in _NORMS:
            for part, value in _PARTS.items():
                self._keep(f"{norm}_{part}", text.new_full((width,), value))
        sizes = {"c": width, "j": views * width}
        for layer, dims in _LAYERS.items():
            made, given = (sizes[dim] for dim in dims.split())
            self._keep(layer, uniform((made, given), given**-0.5, generator, text))
            self._keep(f"{layer}_bias", uniform((made,), given**-0.5, generator, text))

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

    def _views(
        self, pooled: Float[Tensor, "p v c"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "p v k"]:
        """Logits of all views; with a generator, as while learning: from a batch's own statistics, with dropout."""
        text, weights = self._fitted("text", pooled), self._fitted("weights", pooled)
        views = self._normalised("view", (weights.unsqueeze(1) * pooled).flatten(0, 1), generator)  # (p v, c)
        gathered = self._linear("gather", views.view(len(pooled), -1))  # (p, c)
        whole = relu(self._normalised("cloud", gathered, generator))  # (p, c)
        told = relu(self._linear("spread", relu(self._linear("deepen", whole)))).view(pooled.shape)  # (p, v, c)
        mixed = self.options.ratio * told + (1 - self.options.ratio) * pooled  # (p, v, c)
        adapted = self.options.cloud_views**0.5 * normalize(mixed.flatten(1), dim=1).view(mixed.shape)
        logits: Float[Tensor, "p v k"] = self.options.logit_scale * adapted @ text.T
        return logits

    def _linear(self, layer: str, rows: Float[Tensor, "n a"]) -> Float[Tensor, "n b"]:
        return linear(rows, self._fitted(layer, rows), self._fitted(f"{layer}_bias", rows))

    def _normalised(
        self, norm: str, rows: Float[Tensor, "n c"], generator: torch.Generator | None
    ) -> Float[Tensor, "n c"]:
        """Batch normalisation, and dropout while learning. A single row has no variance: it takes the running one."""
        scale, shift, mean, variance = (self._fitted(f"{norm}_{part}", rows) for part in _PARTS)
        learning = generator is not None and len(rows) > 1
        normalised = batch_norm(rows, mean, variance, scale, shift, training=learning)
        return normalised if generator is None else dropped(normalised, generator)


def dropped(rows: Float[Tensor, "n c"], generator: torch.Generator) -> Float[Tensor, "n c"]:
    """Dropout: values become 0 at random, and the others larger, so that the mean stays.

    The draws are made on the CPU, so that a seed gives the same ones on any device.
    """
    kept = torch.rand(rows.shape, generator=generator) >= DROPOUT
    return rows * kept.to(rows) / (1 - DROPOUT)
