"""Publishing a finished run as three files: weights in half precision, training curve, model card."""

import json
import platform
from pathlib import Path

import torch
from torch import Tensor

from calip_core.backbones.clip_import import clip
from calip_core.backbones.model_card import Accuracy, ModelCard, Training, save_card
from calip_core.digests import sha256_of
from calip_core.environment import processor_name
from calip_core.metrics import accuracy_interval
from calip_core.miniature.architecture import half_state_dict
from calip_core.miniature.batches import DIGIT_SHARE, SOLID_SHARE
from calip_core.miniature.evaluation import QUESTIONS, answer, make_question
from calip_core.miniature.start import TEXT_TOWER
from calip_core.miniature.trainer import Trainer
from calip_core.paths import atomic_path
from calip_core.world.vocabulary import COLOURS, HELD_OUT_PAIRS, SHAPES, SOLIDS, TEXTURES

_CARD_SEED = 90_002  # seed of the pictures on which the card's accuracies are measured
CARD_IMAGES = 2000

_DESCRIPTION = {
    "rn": "A CLIP with OpenAI's ModifiedResNet and attention pooling: a quarter of RN50's width, one block per stage.",
    "vit": "A CLIP with OpenAI's VisionTransformer: a sixth of ViT-B's width, a third of its depth.",
}


def publish(trainer: Trainer, out: Path, images: int = CARD_IMAGES) -> ModelCard:
    """Write ``out`` (weights), ``NAME.curve.json`` and ``NAME.yaml``; accuracies are measured on the written weights.

    Args:
        trainer: a finished run.
        out: where the weights go, ``NAME.pt``.
        images: number of pictures per accuracy (at most 899 for the digits).
    """
    save_weights(half_state_dict(trainer.model), out)
    with atomic_path(out.with_suffix(".curve.json")) as temporary:
        temporary.write_text(json.dumps(trainer.progress.curve, indent=1) + "\n", encoding="utf-8")
    card = _card(trainer, out, measure_accuracy(out, images))
    save_card(card, out.with_suffix(".yaml"))
    return card


def save_weights(weights: dict[str, Tensor], out: Path) -> None:
    """Write a state dict, the same bytes for the same weights: to a path, torch would write the path's name as well."""
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        torch.save(weights, file)


def measure_accuracy(weights: Path, images: int = CARD_IMAGES, seed: int = _CARD_SEED) -> dict[str, Accuracy]:
    """Zero-shot accuracy of a weights file on each of ``QUESTIONS``, on new pictures sampled with ``seed``."""
    model, _ = clip.load(str(weights), device="cpu")
    results = {}
    for name in QUESTIONS:
        correct = answer(model, make_question(name, images, seed))
        interval = accuracy_interval(correct)
        results[name] = Accuracy(
            accuracy=round(float(correct.mean()), 4),
            correct=int(correct.sum()),
            images=len(correct),
            low=round(interval.low, 4),
            high=round(interval.high, 4),
        )
    return results


def _card(trainer: Trainer, out: Path, accuracy: dict[str, Accuracy]) -> ModelCard:
    return ModelCard(
        name=out.stem,
        architecture=trainer.recipe.arch,
        description=_DESCRIPTION[trainer.recipe.arch],
        licence="MIT",
        file=out.name,
        bytes=out.stat().st_size,
        sha256=sha256_of(out),
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        logit_scale=round(float(trainer.model.logit_scale.detach().exp()), 3),
        training=_training(trainer),
        accuracy=accuracy,
    )


def _training(trainer: Trainer) -> Training:
    recipe, progress, length = trainer.recipe, trainer.progress, trainer.length
    stop = f"--samples {length.samples}" if length.samples is not None else f"--minutes {length.minutes}"
    return Training(
        data=_data_in_words(),
        samples=progress.step * recipe.batch_size,
        steps=progress.step,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        text_tower="trained" if recipe.arch == "rn" else f"that of {TEXT_TOWER}, not trained further",
        seed=recipe.seed,
        minutes=round(progress.seconds / 60, 2),
        processor=processor_name(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        command=f"python -m calip_core.miniature.train --arch {recipe.arch} {stop} --seed {recipe.seed}",
    )


def _data_in_words() -> str:
    scenes = 1 - SOLID_SHARE - DIGIT_SHARE
    pairs = len(COLOURS) * len(SHAPES)
    return (
        f"{scenes:.0%} procedural scenes ({len(SHAPES)} shapes, {len(COLOURS)} colours, {len(TEXTURES)} textures; "
        f"{len(HELD_OUT_PAIRS)} of the {pairs} pairs of colour and shape never shown), "
        f"{SOLID_SHARE:.0%} depth views of {len(SOLIDS)} solids, "
        f"{DIGIT_SHARE:.0%} handwritten digits (scikit-learn's, the first half), every sample drawn afresh"
    )
