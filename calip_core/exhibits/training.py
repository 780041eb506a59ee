"""The exhibits of appendix A: the procedural world, training curves, and what a short run reaches."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from calip_core.backbones.model_card import ModelCard
from calip_core.exhibits.exhibit import Plot, Table, Text, accuracy_text, percent, restacked
from calip_core.exhibits.style import PHONE_WIDTH, WIDTH, in_percent, panels
from calip_core.metrics import accuracy_interval
from calip_core.miniature.trainer import Progress

Curve = Sequence[Mapping[str, float]]
Hits = Bool[np.ndarray, " n"]

QUESTIONS = {"mini-shapes": "shapes", "mini-pairs": "held-out pairs"}
"""The questions of a training curve, and their titles."""



def gallery(pictures: UInt8[np.ndarray, "n h w 3"], captions: Sequence[str], kinds: str) -> Plot:
    """Pictures with the captions that training pairs them with.

    Args:
        pictures: the pictures.
        captions: one per picture.
        kinds: what the pictures show, for the alternative text.
    """
    return restacked(
        partial(_gallery, pictures, captions),
        columns=4,
        narrow=2,
        alt=f"{len(pictures)} pictures with captions: {kinds}. The first caption is “{captions[0].rstrip('.')}”.",
        caption="Training pictures with their captions. A caption seldom says everything that is true.",
    )


def _gallery(pictures: UInt8[np.ndarray, "n h w 3"], captions: Sequence[str], columns: int) -> Figure:
    width = WIDTH if columns > 2 else PHONE_WIDTH
    figure, axes = panels(len(pictures), columns, width=width, height=1.7, layout="constrained")
    for ax, picture, caption in zip(axes, pictures, captions, strict=True):
        ax.imshow(picture)
        ax.set_title(fill(caption, 23), fontsize=9)
        ax.axis("off")
    return figure


def loudness(spectra: Mapping[str, Float[Tensor, " c"]]) -> Table:
    """How evenly the first layer answers along its principal directions.

    Args:
        spectra: start -> standard deviations along the principal directions, ascending.
    """
    frame = pd.DataFrame(
        {
            "loudest to median": [float(sizes[-1] / sizes.median()) for sizes in spectra.values()],
            "median to faintest": [float(sizes.median() / sizes[0]) for sizes in spectra.values()],
        },
        index=list(spectra),
    )
    return Table(
        frame,
        "Ratios of the sizes of the first layer's answers to new pictures, along their principal directions.",
        dict.fromkeys(frame.columns, "{:.1f}"),
    )


def training_curves(progress: Progress, shipped: Curve, card: ModelCard, threads: int) -> Plot:
    """Loss and accuracies of a run beside those of the shipped miniature, against the number of pictures seen.

    Args:
        progress: of the run, with at least one point of its curve.
        shipped: the curve of the shipped miniature.
        card: its card.
        threads: of this run.
    """
    own, full, training = progress.curve[-1], shipped[-1], card.training
    ends = "; ".join(
        f"{title} {percent(own[key])} in this run, {percent(full[key])} in the shipped one"
        for key, title in QUESTIONS.items()
    )
    return restacked(
        partial(_training_curves, {"this run": progress.curve, f"shipped {card.name}": shipped}),
        columns=1 + len(QUESTIONS),
        alt=f"Training loss and accuracy against pictures seen. At the end: loss {own['loss']:.2f} and "
        f"{full['loss']:.2f}; {ends}.",
        caption=f"This run saw {own['samples']:,.0f} pictures in {own['seconds'] / 60:.1f} minutes on "
        f"{_threads(threads)}; the shipped {card.name} saw {training.samples:,} in {training.minutes:.1f} minutes on "
        f"{_threads(training.threads)}. The learning rate of each falls to zero at its own end.",
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def _training_curves(curves: Mapping[str, Curve], columns: int) -> Figure:
    width = WIDTH if columns > 1 else PHONE_WIDTH
    figure, axes = panels(1 + len(QUESTIONS), columns, width=width, height=2.4, layout="constrained")
    for (name, curve), marker in zip(curves.items(), "os^d", strict=False):
        seen = [point["samples"] / 1000 for point in curve]
        for ax, key in zip(axes, ("loss", *QUESTIONS), strict=True):
            ax.plot(seen, [point[key] for point in curve], marker=marker, markersize=4, label=name)
    for ax, title in zip(axes, ("training loss (nats)", *QUESTIONS.values()), strict=True):
        ax.set(title=title, xlabel="thousand pictures", ylim=(0, None))
    for ax in axes[1:]:
        in_percent(ax.yaxis)
        ax.set_ylim(0, 1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves))
    return figure


def accuracies(hits: Mapping[str, Mapping[str, Hits]], classes: Mapping[str, int]) -> Table:
    """Zero-shot accuracy by question and model, with 95 % intervals.

    Args:
        hits: question -> model -> which pictures it classifies correctly.
        classes: question -> its number of classes.
    """
    rows = {
        name: {"classes": classes[name], "guessing": percent(1 / classes[name])}
        | {model: accuracy_text(found) for model, found in by_model.items()}
        for name, by_model in hits.items()
    }
    most = max(len(found) for by_model in hits.values() for found in by_model.values())
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"Zero-shot accuracy on up to {most} new pictures per question [95 % intervals].",
    )


def reached(minutes: float, hits: Mapping[str, Mapping[str, Hits]], classes: Mapping[str, int]) -> Text:
    """What the minutes of a run reached: where it beats guessing, and on how many questions the shipped model leads.

    Args:
        minutes: of training.
        hits: question -> "this run" and one other model -> which pictures it classifies correctly.
        classes: question -> its number of classes.
    """
    above, behind = [], 0
    for name, by_model in hits.items():
        own = accuracy_interval(by_model["this run"])
        other = next(found for model, found in by_model.items() if model != "this run")
        behind += own.high < other.mean()
        if own.low > 1 / classes[name]:
            above.append(name)
    span = f"{minutes:g} minute{'s' * (minutes != 1)}"
    if not above:
        return Text(f"{span} of training here were too few: no question is answered better than by guessing.")
    which = "all questions" if len(above) == len(hits) else ", ".join(above)
    gap = f"The shipped model is better on {behind} of {len(hits)}" if behind else "The shipped model is no better"
    return Text(f"After {span} of training, this run answers {which} better than guessing. {gap}.")
