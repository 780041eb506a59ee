"""One training run: recipe, length, progress, and a trainer that can be saved and resumed."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calip_core.backbones.archive import read_torch
from calip_core.backbones.clip_import import reads_short_texts
from calip_core.backbones.model_card import Architecture
from calip_core.miniature.architecture import ClipModel, build_miniature
from calip_core.miniature.batches import Batch, make_batch
from calip_core.miniature.evaluation import answer, make_question
from calip_core.miniature.objective import choice_loss, contrastive_loss
from calip_core.miniature.start import start_vit
from calip_core.paths import atomic_path
from calip_core.reading import reading

_LOGIT_SCALE = (math.log(1 / 0.07), math.log(100))  # from CLIP's initial value to its upper bound
_CURVE_IMAGES = 250  # per question and point of the curve
_CURVE_SEED = 90_001


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the outcome of a run, except its length."""

    arch: Architecture
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0


@dataclass(frozen=True)
class Length:
    """When to stop: after ``samples`` pictures or after ``minutes`` of training; exactly one is given."""

    samples: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.samples, self.minutes) if value is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ValueError(f"{self}: expected exactly one of samples and minutes, above 0")


@dataclass
class Progress:
    """The progress of a run."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    curve: list[dict[str, float]] = field(default_factory=list)

    def share(self, length: Length, batch_size: int) -> float:
        """Completed fraction of the run, in [0, 1]."""
        if length.samples is not None:
            return min(1.0, self.step * batch_size / length.samples)
        assert length.minutes is not None
        return min(1.0, self.seconds / (60 * length.minutes))


class Trainer:
    """A model, its optimiser and its progress; ``step()`` advances by one batch."""

    def __init__(self, recipe: Recipe, length: Length) -> None:
        self.recipe, self.length, self.progress = recipe, length, Progress()
        self.model: ClipModel = build_miniature(recipe.arch, recipe.seed)
        if recipe.arch == "vit":
            start_vit(self.model, recipe.seed)
        self.model.to(memory_format=torch.channels_last).train()
        self._short_texts = reads_short_texts(self.model)
        self.resolution = int(self.model.visual.input_resolution)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, recipe.weight_decay),
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    @property
    def done(self) -> float:
        """Completed fraction of the run, in [0, 1]."""
        return self.progress.share(self.length, self.recipe.batch_size)

    def step(self) -> None:
        """Generate the next batch, take one optimiser step, and record loss and time."""
        started = time.perf_counter()
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warm_cosine(self.done, recipe.warmup)
        batch = make_batch(recipe.seed, self.progress.step, recipe.batch_size, self.resolution)
        loss = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(*_LOGIT_SCALE)
        self.progress.step += 1
        self.progress.loss = _smoothed(self.progress.loss, loss.item())
        self.progress.seconds += time.perf_counter() - started

    def _loss(self, batch: Batch) -> Tensor:
        # In float32: in layers this narrow, conversions to bfloat16 cost more than its arithmetic saves.
        images = self.model.encode_image(batch.images)  # (n, c)
        texts, *options = self._encode_captions(batch)
        scale = self.model.logit_scale.exp()
        choices = [
            choice_loss(images[q.first : q.first + len(q.answers)], option, scale, q.answers)
            for q, option in zip(batch.questions, options, strict=True)
        ]
        # Options are also classified against each other, because mutually exclusive texts should differ. Without this
        # term both towers first collapse to one direction per kind, and digits stay there for a thousand steps.
        # A frozen text tower has learnt this already.
        spread = [
            choice_loss(option, option, scale, torch.arange(len(option))) for option in options if option.requires_grad
        ]
        return contrastive_loss(images, texts, scale, batch.true) + torch.stack(choices + spread).mean()

    def _encode_captions(self, batch: Batch) -> tuple[Tensor, ...]:
        """Features of the batch's captions, then of the captions of each question."""
        captions = [batch.tokens, *(question.tokens for question in batch.questions)]
        tokens = torch.cat(captions)
        if self._short_texts:  # attention is causal: padding after the longest caption changes nothing
            tokens = tokens[:, : int((tokens != 0).sum(dim=1).max())]
        features: Tensor = self.model.encode_text(tokens)
        return torch.split(features, [len(c) for c in captions])

    def measure(self) -> dict[str, float]:
        """Add a point to the training curve: loss, and accuracy on seen shapes and held-out pairs."""
        point = {
            "samples": float(self.progress.step * self.recipe.batch_size),
            "seconds": round(self.progress.seconds, 3),
            "loss": round(self.progress.loss, 4),
        }
        for name in ("mini-shapes", "mini-pairs"):
            correct = answer(self.model, make_question(name, _CURVE_IMAGES, _CURVE_SEED))
            point[name] = round(float(correct.mean()), 4)
        self.progress.curve.append(point)
        return point

    def save(self, path: Path) -> None:
        """Write everything that ``load`` needs, atomically."""
        state = {
            "recipe": asdict(self.recipe),
            "length": asdict(self.length),
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    @classmethod
    def load(cls, path: Path) -> "Trainer":
        """Restore a trainer written by ``save``; it continues as if it had not been interrupted.

        Raises:
            FileNotFoundError: there is no checkpoint at ``path``.
            ValueError: the file is damaged, or is not the state of a training run.
        """
        if not path.exists():
            raise FileNotFoundError(f"no checkpoint at {path}: start without --resume")
        with reading(path, "the state of a training run, with which --resume goes on (.checkpoint, not weights alone)"):
            state: Any = read_torch(path)
            trainer = cls(Recipe(**state["recipe"]), Length(**state["length"]))
            trainer.progress = Progress(**state["progress"])
            trainer.model.load_state_dict(state["model"])
            trainer.optimizer.load_state_dict(state["optimizer"])
        return trainer


def warm_cosine(done: float, warmup: float) -> float:
    """Learning-rate factor: linear warm-up over the fraction ``warmup`` of the run, then a cosine decay to 0."""
    if done < warmup:
        return max(done / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _parameter_groups(model: ClipModel, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for gains, biases and the logit scale."""
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2]
    free = [p for p in trained if p.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _smoothed(before: float, new: float) -> float:
    return new if math.isnan(before) else 0.95 * before + 0.05 * new
