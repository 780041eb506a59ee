"""The training loop of all heads that learn by gradient descent on cached features."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, SequentialLR
from tqdm.auto import tqdm

from calip_core.methods.profiling import product_share

Optimizer = Literal["sgd", "adamw"]
Forward = Callable[[Int64[Tensor, " b"]], Float[Tensor, "b k"]]
"""Rows of the support set -> their logits with the current parameters."""

COOP_EPOCHS = {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}
"""Number of epochs by number of shots in CoOp's scripts."""

IMAGENET_EPOCHS = 50
"""Epochs on ImageNet at any number of shots (CoOp's COOP.md)."""

FIXED_EPOCHS = {1: 50, 2: 50, 4: 30, 8: 30, 16: 20}
"""Epochs of CoOp, CLIP-Adapter, CALIP-FS and the inter-view adapter by shots, for every dataset: far fewer than
published, so that a laptop can train them all. For a number of shots that is not listed, the next smaller one applies.
Tip-Adapter-F keeps its published 20."""


def fixed_epochs(shots: int) -> int:
    """The number of epochs in ``FIXED_EPOCHS`` for a number of shots, 1 or more."""
    return FIXED_EPOCHS[max(listed for listed in FIXED_EPOCHS if listed <= shots)]


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is trained.

    Attributes:
        optimizer: "sgd" (with momentum) or "adamw".
        learning_rate: the highest learning rate; it falls to 0 along half a cosine, step by step.
        epochs: passes over the rows of the support set. Augmented views count as rows: ten views of every image make an
            epoch ten times as long.
        batch_size: rows per step.
        warmup_epochs: epochs at ``warmup_rate`` before the cosine starts, fewer than ``epochs``. By default 1, or 0 if
            there is only one epoch.
        warmup_rate: constant learning rate of the warm-up.
        weight_decay: pull towards zero, as the optimizer of that name defines it.
        momentum: momentum of SGD.
        eps: AdamW's constant added to the square root of the second moment.
        label_smoothing: fraction of each label that is spread over all classes, its own included, as in torch.

    Raises:
        ValueError: a value is out of range.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.002
    epochs: int = 200
    batch_size: int = 32
    warmup_epochs: int | None = None
    warmup_rate: float = 1e-5
    weight_decay: float = 5e-4
    momentum: float = 0.9
    eps: float = 1e-8
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"optimizer is {self.optimizer!r}, expected one of {list(get_args(Optimizer))}")
        for name in ("learning_rate", "warmup_rate", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive finite number such as 0.002")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.warmup_epochs is None:
            object.__setattr__(self, "warmup_epochs", min(1, self.epochs - 1))
        if not 0 <= self._warmup < self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, expected 0 to {self.epochs - 1}: fewer than epochs, which is "
                f"{self.epochs}"
            )
        if self._warmup and self.warmup_rate > self.learning_rate:
            raise ValueError(
                f"warmup_rate is {self.warmup_rate}, expected at most learning_rate, which is {self.learning_rate}: "
                "lower it, or take warmup_epochs=0"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}, expected a finite number of at least 0")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 0 and below 1")

    @property
    def _warmup(self) -> int:
        return self.warmup_epochs or 0

    @classmethod
    def coop(cls, shots: int = 16, *, epochs: int | None = None) -> "TrainingOptions":
        """CoOp's recipe, shared by CLIP-Adapter and the known CALIP-FS: SGD 0.002, batches of 32, a warm-up epoch.

        Source: CoOp's configs/trainers/CoOp and COOP.md; momentum and weight decay are the defaults of its toolbox
        Dassl. Two things differ from Dassl. It changes the rate once an epoch: of E epochs, w of them warm-up, epoch e
        (from 0) has learning_rate (1 + cos(pi (e - w) / E)) / 2, which ends above 0. Here the rate changes at every
        step, and falls to 0 over the E - w epochs after the warm-up. Dassl also leaves out the last batch of an
        epoch if it is not full, unless it is the only one. Here every row is trained on.

        Args:
            shots: images per class, which determines the published number of epochs.
            epochs: overrides the published number of epochs.

        Raises:
            ValueError: ``shots`` has no published number of epochs and ``epochs`` is not given.
        """
        if epochs is None and shots not in COOP_EPOCHS:
            raise ValueError(f"shots is {shots}, expected one of {list(COOP_EPOCHS)}: else say how many epochs")
        return cls(epochs=COOP_EPOCHS[shots] if epochs is None else epochs)

    @classmethod
    def tip_adapter_f(cls, epochs: int = 20) -> "TrainingOptions":
        """Tip-Adapter-F's recipe: AdamW 1e-3 with eps 1e-4, batches of 256, no warm-up; 100 epochs for EuroSAT.

        Source: Tip-Adapter's main.py and configs; weight decay is AdamW's default in torch.
        """
        return cls(
            "adamw", learning_rate=1e-3, epochs=epochs, batch_size=256, warmup_epochs=0, weight_decay=0.01, eps=1e-4
        )

    @classmethod
    def pointclip(cls, epochs: int = 250) -> "TrainingOptions":
        """The recipe of PointCLIP's inter-view adapter: SGD 0.01, batches of 32 clouds, label smoothing 0.2.

        Source: PointCLIP's configs and trainers/fewshot.py. What ``coop`` says about Dassl holds here too. PointCLIP
        spreads its 0.2 over the other K - 1 classes; torch's fraction is spread over all K, so that the same labels
        would need 0.2 K / (K - 1): 0.205 for the 40 classes of ModelNet40. Here it is torch's 0.2 for any K.
        """
        return cls(learning_rate=0.01, epochs=epochs, label_smoothing=0.2)


def coop_training(dataset: str, shots: int) -> TrainingOptions | None:
    """CoOp's schedule for a number of shots, with its own number of epochs for ImageNet; None for other shots."""
    epochs = IMAGENET_EPOCHS if dataset == "imagenet" else COOP_EPOCHS.get(shots)
    return None if epochs is None else TrainingOptions.coop(epochs=epochs)


@dataclass(frozen=True)
class TrainingReport:
    """Summary of a training run.

    Attributes:
        steps: number of parameter updates.
        seconds: duration of the whole loop.
        samples_per_second: rows trained on per second.
        losses: mean cross-entropy of every epoch, in nats.
        product_share: share of CPU time spent in matrix products, from 0 to 1; None if it was not measured.
    """

    steps: int
    seconds: float
    samples_per_second: float
    losses: tuple[float, ...]
    product_share: float | None = None

    @property
    def final_loss(self) -> float:
        """Mean cross-entropy of the last epoch."""
        return self.losses[-1]


class TrainingDivergedError(ArithmeticError):
    """The loss or a parameter is not finite; the parameters are reset to the last ones with a finite loss.

    Attributes:
        step: step of the loss, from 0; the total number of steps if the last update failed.
        learning_rate: the learning rate of the preceding update.
    """

    def __init__(self, what: str, step: int, learning_rate: float, loss: float) -> None:
        self.step, self.learning_rate = step, learning_rate
        cause = f"after an update with learning rate {learning_rate:g}; the parameters from before that update are kept"
        advice = "lower the learning rate"
        if step == 0:
            cause, advice = "before any update", "look for NaN and infinity in the features and the text"
        super().__init__(f"{what}: training diverged, the loss at step {step} is {loss} {cause}: {advice}")


def train(
    parameters: Sequence[nn.Parameter],
    forward: Forward,
    targets: Int64[Tensor, " n"],
    options: TrainingOptions,
    *,
    seed: int,
    moving: Sequence[Tensor] = (),
    what: str = "training",
    progress: bool = False,
    profile: bool = False,
) -> TrainingReport:
    """Minimise the cross-entropy of ``forward``'s logits in place; only ``parameters`` get a gradient.

    Args:
        parameters: the parameters to train.
        forward: rows -> logits.
        targets: the class of every row.
        options: the training recipe.
        seed: seed of the order of the rows; the global generators are neither read nor set.
        moving: tensors that ``forward`` itself changes, such as running means.
        what: name of the caller, for the progress bar and messages.
        progress: whether to show a progress bar.
        profile: whether to measure the share of matrix products, which makes short steps slower.

    Raises:
        TrainingDivergedError: the loss is NaN or infinite; ``parameters`` and ``moving`` are reset to the last ones
            with a finite loss.
    """
    run = _Run(parameters, moving, forward, targets, options, what)
    rng = np.random.default_rng(seed)
    losses, started = [], time.perf_counter()
    with product_share(profile) as share:
        for _ in tqdm(range(options.epochs), desc=what, unit="epoch", disable=not progress, leave=False):
            order = torch.from_numpy(rng.permutation(len(targets))).to(targets.device)
            losses.append(run.epoch(order))
        run.check_last_update(order[-options.batch_size :])
    seconds = time.perf_counter() - started
    speed = options.epochs * len(targets) / seconds
    return TrainingReport(run.step, seconds, speed, tuple(losses), share.value)


class _Run:
    """The steps of one training run, and the last state with a finite loss."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        moving: Sequence[Tensor],
        forward: Forward,
        targets: Int64[Tensor, " n"],
        options: TrainingOptions,
        what: str,
    ) -> None:
        self.parameters, self.forward, self.targets = list(parameters), forward, targets
        self.options, self.what = options, what
        self.state = [*parameters, *moving]
        self.good = [tensor.detach().clone() for tensor in self.state]
        self.optimizer = optimizer_of(self.parameters, options)
        self.scheduler = scheduler_of(self.optimizer, options, math.ceil(len(targets) / options.batch_size))
        self.step, self.rate = 0, 0.0

    def epoch(self, order: Int64[Tensor, " n"]) -> float:
        """Make one pass over the rows; return the mean loss."""
        total = 0.0
        for rows in order.split(self.options.batch_size):
            loss = self._loss(rows)
            value = self._finite(loss)
            _copy(self.state, self.good)
            self.rate = float(self.optimizer.param_groups[0]["lr"])
            self.optimizer.zero_grad()
            loss.backward(inputs=self.parameters)
            self.optimizer.step()
            self.scheduler.step()
            total, self.step = total + value * len(rows), self.step + 1
        self.optimizer.zero_grad()
        return total / len(order)

    @torch.no_grad()
    def check_last_update(self, rows: Int64[Tensor, " b"]) -> None:
        """Check the parameters and the loss of some rows, because no loss follows the last update."""
        if not all(parameter.isfinite().all() for parameter in self.parameters):
            self._diverged(math.nan)
        self._finite(self._loss(rows))

    def _loss(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        return cross_entropy(self.forward(rows), self.targets[rows], label_smoothing=self.options.label_smoothing)

    def _finite(self, loss: Float[Tensor, ""]) -> float:
        value = loss.item()
        if not math.isfinite(value):
            self._diverged(value)
        return value

    def _diverged(self, loss: float) -> NoReturn:
        _copy(self.good, self.state)
        raise TrainingDivergedError(self.what, self.step, self.rate, loss)


def optimizer_of(parameters: Sequence[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW."""
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=options.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, eps=options.eps, weight_decay=decay)


def scheduler_of(
    optimizer: torch.optim.Optimizer, options: TrainingOptions, steps_per_epoch: int
) -> LRScheduler:
    """Step by step: a constant warm-up, then half a cosine from the highest rate to 0."""
    warm = (options.warmup_epochs or 0) * steps_per_epoch
    cosine = CosineAnnealingLR(optimizer, options.epochs * steps_per_epoch - warm)
    if not warm:
        return cosine
    constant = ConstantLR(optimizer, options.warmup_rate / options.learning_rate, warm)
    return SequentialLR(optimizer, [constant, cosine], [warm])


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator, like: Tensor) -> Float[Tensor, "..."]:
    """Uniform weights from -bound to bound, drawn on the CPU so that a seed gives the same values on any device."""
    return torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator).to(like)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for new, old in zip(source, target, strict=True):
        old.copy_(new)
