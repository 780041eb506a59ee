"""The one training loop of all heads that learn by gradient descent on cached features."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from calip_core.methods.base import Labels, check_support
from calip_core.methods.profiling import product_share
from calip_core.tokens import ImageTokens

Optimizer = Literal["sgd", "adamw"]
Forward = Callable[[Int64[Tensor, " b"]], Float[Tensor, "b k"]]
"""Rows of the support set -> their logits, by the parameters as they are now."""

COOP_EPOCHS = {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}
"""Epochs by shots in CoOp's scripts."""

IMAGENET_EPOCHS = 50
"""Epochs on ImageNet at any number of shots (CoOp's COOP.md)."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is trained.

    Attributes:
        optimizer: "sgd" (with momentum) or "adamw".
        learning_rate: at its highest; it falls to 0 along half a cosine, step by step.
        epochs: passes over the rows of the support set. Augmented views are rows too: ten views of every image make an
            epoch ten times as long.
        batch_size: rows a step.
        warmup_epochs: epochs at ``warmup_rate`` before the cosine starts, fewer than ``epochs``. Left out, one; none
            where there is only one epoch.
        warmup_rate: constant learning rate of the warm-up.
        weight_decay: pull towards zero, as the optimizer of that name defines it.
        momentum: of SGD.
        eps: of AdamW: what is added to the root of its second moment.
        label_smoothing: share of each label that is spread over all classes.

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
        """CoOp's recipe, which CLIP-Adapter and the known CALIP-FS share: SGD 0.002, batches of 32, a warm-up epoch.

        Source: CoOp's configs/trainers/CoOp and COOP.md; momentum and weight decay are the defaults of its toolbox
        Dassl. There the rate changes once an epoch, here at every step.

        Args:
            shots: images a class, of which the published number of epochs depends.
            epochs: another number of epochs.

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

        Source: PointCLIP's configs.
        """
        return cls(learning_rate=0.01, epochs=epochs, label_smoothing=0.2)

    @classmethod
    def of(cls, options: "TrainingOptions | Mapping[str, Any] | None", default: "TrainingOptions") -> "TrainingOptions":
        """Options as an object, by their fields as a saved head has them, or the default."""
        return cls(**options) if isinstance(options, Mapping) else options or default

    def rate(self, step: int, steps_an_epoch: int) -> float:
        """Learning rate of step 0, 1, ...: constant in the warm-up, then half a cosine from its highest towards 0."""
        warm, steps = self._warmup * steps_an_epoch, self.epochs * steps_an_epoch
        if step < warm:
            return self.warmup_rate
        return self.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


@dataclass(frozen=True)
class TrainingReport:
    """What a training run was.

    Attributes:
        steps: updates of the parameters.
        seconds: of the whole loop.
        samples_per_second: rows that went forward and back, a second.
        losses: mean cross-entropy of every epoch, in nats.
        product_share: share of the processor's time that went into matrix products, from 0 to 1; None where it was not
            measured.
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
    """The loss or a parameter is no finite number; the parameters are those that last gave a finite loss.

    Attributes:
        step: of the loss, from 0; the number of all steps if the last update itself went wrong.
        learning_rate: of the update before.
    """

    def __init__(self, what: str, step: int, learning_rate: float, loss: float) -> None:
        self.step, self.learning_rate = step, learning_rate
        cause = f"after an update with learning rate {learning_rate:g}; the parameters from before that update are kept"
        advice = "lower the learning rate"
        if step == 0:
            cause, advice = "before any update", "look for NaN and infinity in the features and the text"
        super().__init__(f"{what}: training diverged, the loss at step {step} is {loss} {cause}: {advice}")


@dataclass(frozen=True)
class Support:
    """A checked support set, ready to be trained on.

    Attributes:
        tokens: in float32, or float64 where they came so.
        targets: the class of every row, on the tokens' device.
        text: the text features, in the tokens' format.
    """

    tokens: ImageTokens
    targets: Int64[Tensor, " n"]
    text: Float[Tensor, "k c"]

    @classmethod
    def of(
        cls, tokens: ImageTokens | None, labels: Labels | None, text: Float[Tensor, "k c"], method: str
    ) -> "Support":
        """Check and convert.

        Raises:
            ValueError: what ``check_support`` refuses.
        """
        checked, numbers = check_support(tokens, labels, text, method)
        wide = widened(checked)
        targets = torch.from_numpy(numbers.astype(np.int64)).to(wide.pooled.device)
        return cls(wide, targets, text.detach().to(wide.pooled))


def widened(tokens: ImageTokens) -> ImageTokens:
    """Tokens in float32 where they came in half: heads are trained and evaluated in no less."""
    return tokens.to(torch.float32) if tokens.pooled.dtype in (torch.float16, torch.bfloat16) else tokens


def train(
    parameters: Mapping[str, Tensor],
    forward: Forward,
    targets: Int64[Tensor, " n"],
    options: TrainingOptions,
    *,
    seed: int,
    what: str = "training",
    progress: bool = False,
    profile: bool = False,
) -> TrainingReport:
    """Minimise the cross-entropy of ``forward``'s logits in place; nothing but ``parameters`` gets a gradient.

    Args:
        parameters: leaf tensors that require gradients, by name.
        forward: rows -> logits.
        targets: the class of every row.
        options: the recipe.
        seed: of the order of the rows; the global generators are neither read nor set.
        what: who trains, for the progress bar and messages.
        progress: whether to show a bar.
        profile: whether to measure the share of matrix products, which makes short steps slower.

    Raises:
        TrainingDivergedError: the loss is NaN or infinite; ``parameters`` are those that last gave a finite one.
    """
    run = _Run(list(parameters.values()), forward, targets, options, what)
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
    """The steps of one training run, and the parameters that last gave a finite loss."""

    def __init__(
        self, tensors: list[Tensor], forward: Forward, targets: Int64[Tensor, " n"], options: TrainingOptions, what: str
    ) -> None:
        self.tensors, self.forward, self.targets, self.options, self.what = tensors, forward, targets, options, what
        self.good = [tensor.detach().clone() for tensor in tensors]
        self.optimizer = _optimizer(tensors, options)
        self.steps_an_epoch = math.ceil(len(targets) / options.batch_size)
        self.step, self.rate = 0, 0.0

    def epoch(self, order: Int64[Tensor, " n"]) -> float:
        """One pass over the rows; the mean loss."""
        total = 0.0
        for rows in order.split(self.options.batch_size):
            loss = self._loss(rows)
            value = self._finite(loss)
            _copy(self.tensors, self.good)
            self.rate = self.options.rate(self.step, self.steps_an_epoch)
            _update(self.optimizer, self.tensors, torch.autograd.grad(loss, self.tensors), self.rate)
            total, self.step = total + value * len(rows), self.step + 1
        return total / len(order)

    @torch.no_grad()
    def check_last_update(self, rows: Int64[Tensor, " b"]) -> None:
        """No loss follows the last update: look at the parameters, and at the loss of some rows."""
        if not all(tensor.isfinite().all() for tensor in self.tensors):
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
        _copy(self.good, self.tensors)
        raise TrainingDivergedError(self.what, self.step, self.rate, loss)


def uniform(
    shape: tuple[int, ...], bound: float, generator: torch.Generator, like: Tensor
) -> Float[Tensor, "..."]:
    """A parameter drawn evenly from -bound to bound: drawn on the CPU, so that a seed means the same on any device."""
    drawn = torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    return drawn.to(like).requires_grad_()


def _optimizer(tensors: list[Tensor], options: TrainingOptions) -> torch.optim.Optimizer:
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(tensors, rate, momentum=options.momentum, weight_decay=decay)
    return torch.optim.AdamW(tensors, rate, eps=options.eps, weight_decay=decay)


def _update(
    optimizer: torch.optim.Optimizer, tensors: list[Tensor], gradients: tuple[Tensor, ...], rate: float
) -> None:
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = gradient
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for new, old in zip(source, target, strict=True):
        old.copy_(new)
