"""Common parts of heads trained by gradient descent: their options and their training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from calip_core.methods.base import Head, Recipe
from calip_core.methods.inputs import Support, check_positive
from calip_core.methods.training import Forward, TrainingOptions, fixed_epochs, train


class TrainedHead(Head):
    """A head whose parameters are learned by gradient descent.

    Attributes:
        profile: if true, the next fit measures its share of matrix products, which makes short steps slower.
    """

    nested: ClassVar[Mapping[str, Callable[..., Any]]] = {"training": TrainingOptions}

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options common to all trained heads.

        Attributes:
            training: the recipe.
            seed: seed of the initial weights and of the order of the rows.
            logit_scale: the factor s on the cosines.
            progress: whether to show a bar while training.

        Raises:
            ValueError: a value is out of range.
        """

        training: TrainingOptions = field(default_factory=TrainingOptions.coop)
        seed: int = 1
        logit_scale: float = 100.0
        progress: bool = False

        def __post_init__(self) -> None:
            check_positive("logit_scale", self.logit_scale, "training")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.profile = False

    @classmethod
    def fixed(cls, shots: int) -> Recipe:
        """This library's defaults, with a number of epochs that depends only on the shots."""
        cls._check_shots(shots)
        epochs = fixed_epochs(shots)
        return Recipe(
            {"training": cls.fixed_training(epochs)}, f"this library's defaults, {epochs} epochs at {shots} shots"
        )

    @classmethod
    def fixed_training(cls, epochs: int) -> TrainingOptions:
        """The recipe of ``fixed`` for a given number of epochs."""
        return TrainingOptions.coop(epochs=epochs)

    @classmethod
    def _known_training(cls, dataset: str, shots: int) -> TrainingOptions:
        """Like ``published_training``, but never None.

        Raises:
            ValueError: there is none.
        """
        known = cls.published_training(dataset, shots)
        if known is None:
            raise ValueError(f"{cls.name} has no published number of epochs for {shots} shots, only for 1, 2, 4, 8, 16")
        return known

    def _learn(self, forward: Forward, support: Support, moving: Sequence[Tensor] = ()) -> None:
        """Train all parameters; if training diverges, they are the last ones with a finite loss, as are ``moving``."""
        self.report = None
        learned: list[nn.Parameter] = list(self.parameters())
        self.report = train(
            learned, forward, support.targets, self.options.training,
            seed=self.options.seed, moving=moving, what=self.name, progress=self.options.progress, profile=self.profile,
        )  # fmt: skip
