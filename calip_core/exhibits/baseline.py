"""The exhibits of chapter 1: answers and their probabilities, learning, templates, calibration, shifts."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from calip_core import metrics
from calip_core.decisions import calibration
from calip_core.exhibits.exhibit import Plot, Table, interval, percent, points, restacked
from calip_core.exhibits.pictures import picture_grid
from calip_core.exhibits.style import BAD, GOOD, MUTED, PHONE_WIDTH, WIDTH, in_percent, panels


def answers(
    pictures: Sequence[Image.Image],
    logits: Float[Tensor, "n k"],
    labels: ArrayLike,
    classnames: Sequence[str],
    about: str,
) -> Plot:
    """Pictures with their likeliest classes and the probabilities of these; the frame says whether the answer is right.

    Args:
        pictures: one per row of the logits.
        logits: of these pictures.
        labels: their classes.
        classnames: one per class.
        about: what was measured, for the caption.
    """
    probabilities, likely = logits.double().softmax(dim=1).topk(min(3, len(classnames)), dim=1)
    right = metrics.correct_predictions(logits, labels).tolist()
    truths = [classnames[k] for k in np.asarray(labels)]
    ranked = [
        [f"{shorten(classnames[k], 22, placeholder=' …')} {percent(p, 0)}" for k, p in zip(ks, ps, strict=True)]
        for ks, ps in zip(likely.tolist(), probabilities.tolist(), strict=True)
    ]
    titles = ["\n".join(lines) for lines in ranked]
    return restacked(
        partial(picture_grid, pictures, titles, right),
        columns=4,
        narrow=2,
        alt="Images with their likeliest classes: "
        + "; ".join(f"{truth}: {', '.join(lines)}" for truth, lines in zip(truths, ranked, strict=True))
        + f". {sum(right)} of {len(right)} answers are right.",
        caption="The three likeliest classes of each image, with their probabilities. Blue frame: right; vermilion: "
        f"wrong. {about}.",
    )


def learning_curve(losses: Mapping[int, float], batch: int) -> Plot:
    """Contrastive loss on held-out pictures against training steps (keys), beside the loss of a guess, log(batch)."""
    steps, values, guess = list(losses), list(losses.values()), float(np.log(batch))

    def draw(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 2.1))
        ax.plot(steps, values, color=GOOD)
        ax.axhline(guess, color=MUTED, linestyle="--")
        ax.annotate("a guess", (steps[-1], guess), ha="right", va="bottom", fontsize=10, color=MUTED)
        ax.set(xlabel="training step", ylabel="loss (nats)", ylim=(0, 1.15 * max(guess, *values)))
        return figure

    return restacked(
        draw,
        columns=1,
        alt=f"Contrastive loss on pictures held out against training steps. It falls from {values[0]:.2f} to "
        f"{values[-1]:.2f} nats in {steps[-1]} steps; a guess has {guess:.2f}.",
        caption=f"A toy CLIP learns from batches of {batch} pictures with captions. On pictures held out it narrows "
        f"{batch} captions down to about {np.exp(values[-1]):.0f} (e to the loss).",
    )


def templates(hits: Mapping[str, Bool[np.ndarray, " n"]], picked: str, about: str) -> Table:
    """Accuracy of each template, and its paired difference from the ensemble.

    Args:
        hits: template -> which images it gets right; the last entry is the ensemble.
        picked: the template chosen without test labels, marked with an arrow.
        about: what was measured, for the caption.
    """
    *singles, last = hits
    together = hits[last]
    rows = {}
    for name in singles:
        test = metrics.mcnemar(hits[name], together)
        found = metrics.paired_interval(test.only_a, test.only_b, len(together))
        gain = (test.only_a - test.only_b) / len(together)
        rows[f"“{name}”" + " ←" * (name == picked)] = {
            "accuracy": percent(hits[name].mean()),
            "less ensemble, points": f"{points(gain)} {interval(found.low, found.high)}",
            "only it : only ensemble": f"{test.only_a} : {test.only_b}",
            "p": f"{test.p_value:.2g}",
        }
    rows[f"ensemble of all {len(singles)}"] = {"accuracy": percent(together.mean())}
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}. Differences on the same images with 95 % intervals, and McNemar's p. Arrow: chosen without test "
        "labels.",
    )


def reliability(scales: Mapping[str, float], cosines: Float[Tensor, "n k"], labels: ArrayLike) -> Plot:
    """Accuracy against confidence at several logit scales; scales with the same value share a panel.

    Args:
        scales: name -> logit scale.
        cosines: of images with classes.
        labels: one per image.
    """
    named: dict[float, str] = {}
    for name, scale in scales.items():
        named.setdefault(scale, name)
    bins = {
        f"{name}, s = {scale:.1f}": calibration.reliability(scale * cosines, labels) for scale, name in named.items()
    }
    errors = [(name, 100 * part.expected_calibration_error) for name, part in bins.items()]
    return restacked(
        partial(_draw_reliability, bins),
        columns=2,
        alt="Accuracy against confidence. "
        + " ".join(f"With the scale {name}, the expected calibration error is {e:.1f} points." for name, e in errors),
        caption="Reliability diagrams. Above the diagonal the classifier is too modest, below it too sure. Large dots "
        "hold many images.",
    )


def shift_curves(
    strengths: Sequence[float], hits: Mapping[str, Sequence[int]], total: int, guess: float, name: str
) -> Plot:
    """Accuracy on the same images under growing shifts, with 95 % Wilson intervals.

    Args:
        strengths: from 0, unchanged.
        hits: shift -> correct answers at each strength.
        total: images at each point.
        guess: accuracy of a guess.
        name: of the backbone.
    """
    ends = ", ".join(f"{shift} {percent(counts[-1] / total)}" for shift, counts in hits.items())
    start = percent(next(iter(hits.values()))[0] / total)
    return restacked(
        partial(_draw_shifts, strengths, hits, total, guess),
        columns=4,
        narrow=2,
        alt=f"Accuracy against the strength of {len(hits)} shifts. From {start} without a shift to, at strength "
        f"{strengths[-1]:g}: {ends}.",
        caption=f"{name}: zero-shot accuracy on the same {total} images under four shifts, with 95 % intervals. "
        "Dashed: a guess. Strengths of different shifts cannot be compared.",
    )


def _draw_reliability(curves: Mapping[str, calibration.ReliabilityBins], columns: int) -> Figure:
    width, height = (WIDTH, 2.9) if columns > 1 else (PHONE_WIDTH, 2.9)
    figure, axes = panels(len(curves), columns, width=width, height=height, sharex=True, sharey=True)
    for ax, (title, bins) in zip(axes, curves.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle="--")
        filled = bins.counts > 0
        x, y = bins.confidence[filled], bins.accuracy[filled]
        ax.vlines(x, np.minimum(x, y), np.maximum(x, y), color=BAD, linewidth=1.5)
        ax.scatter(
            x, y, s=12 + 400 * bins.counts[filled] / bins.counts.sum(), color=GOOD, alpha=0.85, zorder=3, clip_on=False
        )
        ax.set_title(f"{title}\nECE {100 * bins.expected_calibration_error:.1f} points")
        ax.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), xlabel="confidence")
        ax.set_aspect("equal")
        in_percent(ax.xaxis)
        in_percent(ax.yaxis)
    axes[0].set_ylabel("accuracy")
    return figure


def _draw_shifts(
    strengths: Sequence[float], hits: Mapping[str, Sequence[int]], total: int, guess: float, columns: int
) -> Figure:
    figure, axes = panels(len(hits), columns, width=WIDTH if columns > 2 else PHONE_WIDTH, height=2.1, sharey=True)
    for ax, (name, counts) in zip(axes, hits.items(), strict=True):
        intervals = [metrics.wilson_interval(count, total) for count in counts]
        ax.fill_between(strengths, [i.low for i in intervals], [i.high for i in intervals], color=GOOD, alpha=0.25)
        ax.plot(strengths, [count / total for count in counts], "o-", color=GOOD)
        ax.axhline(guess, color=MUTED, linestyle="--")
        ax.set(title=name, xlabel="strength", ylim=(0, 1.02), xticks=list(strengths))
        in_percent(ax.yaxis)
    axes[0].set_ylabel("accuracy")
    return figure

