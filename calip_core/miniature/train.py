"""Train a miniature CLIP from scratch: ``python -m calip_core.miniature.train --arch rn``."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from calip_core.backbones.model_card import Architecture
from calip_core.miniature.architecture import ARCHITECTURES, half_state_dict
from calip_core.miniature.publish import publish, save_weights
from calip_core.miniature.trainer import Length, Recipe, Trainer
from calip_core.paths import check_writable

DEFAULT_SAMPLES = {"rn": 150_000, "vit": 960_000}
"""Pictures that the shipped weights were trained on: 20 minutes and about an hour on two cores."""

_CURVE_POINTS = 16


def train(
    arch: Architecture = "rn",
    *,
    samples: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    snapshots: Path | None = None,
    progress_bar: bool = True,
    on_point: Callable[[dict[str, float]], None] | None = None,
) -> Trainer:
    """Train one miniature; the same seed and ``samples`` give the same data and initial weights.

    Args:
        arch: "rn" or "vit".
        samples: number of pictures to train on; by default, that of the shipped weights.
        minutes: train for this long instead; the learning-rate schedule then follows the clock.
        seed: seed of the data and of the initial weights.
        checkpoint: where to save the state of the run, about once per minute and on interruption.
        resume: continue from ``checkpoint``, with its recipe and length instead of the ones given here.
        snapshots: folder for the weights at every point of the training curve, ``mini-ARCH-SAMPLES.pt``.
        progress_bar: show the loss and the pictures per second.
        on_point: called with every new point of the training curve.

    Raises:
        ValueError: ``arch`` is unknown, the length is not positive, ``resume`` is set without ``checkpoint``, or the
            checkpoint is damaged.
        FileNotFoundError: ``resume`` is set, but there is no file ``checkpoint``.
        OSError: the folder of ``checkpoint`` or ``snapshots`` is not writable; this is checked before training starts.
    """
    if resume and checkpoint is None:
        raise ValueError("resume is set without a checkpoint: give the path of the checkpoint to continue from")
    if resume and checkpoint is not None:
        trainer = Trainer.load(checkpoint)
    else:
        if samples is None and minutes is None:
            samples = DEFAULT_SAMPLES.get(arch, 1)
        trainer = Trainer(Recipe(arch, seed), Length(samples, minutes))
    if checkpoint is not None:
        check_writable(checkpoint.parent)
    if snapshots is not None:
        check_writable(snapshots)
    try:
        _loop(trainer, checkpoint, snapshots, progress_bar, on_point)
    except BaseException as error:  # including Ctrl-C, so that nothing is lost
        _save_after(error, trainer, checkpoint)
        raise
    if checkpoint is not None:
        trainer.save(checkpoint)
    return trainer


def _save_after(error: BaseException, trainer: Trainer, checkpoint: Path | None) -> None:
    """Save the state of a run that ends with ``error``; a failure to save is added as a note, not raised instead."""
    if checkpoint is None:
        return
    try:
        trainer.save(checkpoint)
    except Exception as failure:
        error.add_note(f"the state of the run could not be saved either ({type(failure).__name__}: {failure})")


def _loop(
    trainer: Trainer,
    checkpoint: Path | None,
    snapshots: Path | None,
    progress_bar: bool,
    on_point: Callable[[dict[str, float]], None] | None,
) -> None:
    saved = trainer.progress.seconds
    layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=100.0, disable=not progress_bar, bar_format=layout) as bar:
        while trainer.done < 1:
            trainer.step()
            if trainer.done * _CURVE_POINTS >= len(trainer.progress.curve) + 1:
                point = trainer.measure()
                if snapshots is not None:
                    name = f"mini-{trainer.recipe.arch}-{int(point['samples'])}.pt"
                    save_weights(half_state_dict(trainer.model), snapshots / name)
                if on_point is not None:
                    on_point(point)
            if checkpoint is not None and trainer.progress.seconds - saved > 60:
                trainer.save(checkpoint)
                saved = trainer.progress.seconds
            _show(bar, trainer)


def _show(bar: "tqdm[Any]", trainer: Trainer) -> None:
    progress = trainer.progress
    bar.n = 100 * trainer.done
    rate = progress.step * trainer.recipe.batch_size / max(progress.seconds, 1e-9)
    bar.set_postfix(loss=f"{progress.loss:.3f}", samples_per_s=f"{rate:.0f}")


def main(arguments: list[str] | None = None) -> None:
    """Train, then write weights, training curve and model card."""
    options = _parser().parse_args(arguments)
    out = options.out or Path(f"mini-{options.arch}.pt")
    trainer = train(
        options.arch,
        samples=options.samples,
        minutes=options.minutes,
        seed=options.seed,
        checkpoint=out.with_suffix(".checkpoint"),
        resume=options.resume,
        snapshots=options.snapshots,
        on_point=lambda point: tqdm.write(json.dumps(point)),
    )
    card = publish(trainer, out)
    print(json.dumps({name: result.accuracy for name, result in card.accuracy.items()}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m calip_core.miniature.train", description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="rn")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--samples", type=int, help=f"pictures to train on (default: {DEFAULT_SAMPLES})")
    length.add_argument("--minutes", type=float, help="train for this long instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="weights file to write, NAME.pt; curve and card are written beside it")
    parser.add_argument("--snapshots", type=Path, help="folder for the weights at every point of the training curve")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint beside --out")
    return parser


if __name__ == "__main__":
    main()
