"""The exhibits of chapter 11: answers off the list, calibration, risk against coverage, refusals, several labels."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from textwrap import shorten

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from calip_core.decisions.abstention import RiskCoverage, Separation, confidence, separation
from calip_core.decisions.resampling import Resampled
from calip_core.exhibits.exhibit import Plot, Table, Text, accuracy_text, interval, listed, percent, points, restacked
from calip_core.exhibits.pictures import picture_grid
from calip_core.exhibits.style import MUTED, PALETTE, in_percent, panels
from calip_core.metrics import Interval

Flags = Bool[np.ndarray, "_"]

_MARKERS = "osD^v"
_STEADY = 0.05  # below this coverage, a risk is a matter of few images


def named_anyway(
    pictures: Sequence[Image.Image], truths: Sequence[str], logits: Float[Tensor, "n k"], names: Sequence[str]
) -> Plot:
    """Pictures whose class is not on the list, with the answer that they get all the same.

    Args:
        pictures: one per row of the logits.
        truths: the class of each.
        logits: over the list.
        names: the classes on the list.
    """
    largest, answers = logits.double().softmax(dim=1).max(dim=1)
    said = [f"“{_short(names[k])}” {percent(p, 0)}" for k, p in zip(answers.tolist(), largest.tolist(), strict=True)]
    titles = [f"{answer}\n({_short(truth)})" for answer, truth in zip(said, truths, strict=True)]
    return restacked(
        partial(picture_grid, pictures, titles, None),
        columns=4,
        narrow=2,
        alt="Pictures whose class is not on the list, and their answers: "
        + "; ".join(f"{truth} called {answer}" for truth, answer in zip(truths, said, strict=True)) + ".",
        caption="Pictures whose class is not on the list: CLIP's answer with its probability, and the true class in "
        "brackets. In the miniature's world, the small shapes are distractors.",
    )  # fmt: skip


def in_short(logits: Float[Tensor, "n k"], inside: Bool[np.ndarray, "n"], off: Sequence[str], about: str) -> Text:
    """How sure CLIP is of its answers to images whose class is on the list, and to the others.

    Args:
        logits: over the list.
        inside: whether each image's class is on it.
        off: the classes that are not.
        about: what was measured.
    """
    sure = logits.double().softmax(dim=1).amax(dim=1).cpu().numpy()
    return Text(
        f"**In short.** Over a list of classes, a softmax names one of them for every image. Here ({about}), "
        f"{listed(off)} {'is' if len(off) == 1 else 'are'} not on the list. CLIP's answers to such images have a "
        f"probability of {percent(float(sure[~inside].mean()))} on average, all others "
        f"{percent(float(sure[inside].mean()))}. A probability says which class of the list fits best, not whether any "
        "fits. To say nothing takes a score, and a threshold chosen on images with labels."
    )


def levels(logits: Mapping[str, Float[Tensor, "_ k"]], scale: float, about: str) -> Table:
    """For each kind of images, the mean of the largest probability and of the largest cosine.

    Args:
        logits: kind of images -> CLIP's logits over the list.
        scale: CLIP's logit scale.
        about: what was measured, for the caption.
    """
    rows = {
        kind: {
            "images": len(given),
            "largest probability": percent(float(given.double().softmax(dim=1).amax(dim=1).mean())),
            "largest cosine": f"{float(given.amax(dim=1).mean()) / scale:.3f}",
        }
        for kind, given in logits.items()
    }
    return Table(pd.DataFrame.from_dict(rows, orient="index"), f"{about}: means over the images.")


def calibration(
    temperatures: Mapping[str, float], errors: Mapping[str, tuple[Resampled, Resampled, float]], about: str
) -> Table:
    """The expected calibration error of each classifier, as it is and with its fitted temperature.

    Args:
        temperatures: classifier -> fitted temperature.
        errors: classifier -> error with the temperature 1, and with the fitted one, and what chance explains of that;
            all on the same images and samples.
        about: what was measured, for the caption.
    """
    first = next(iter(errors))
    rows = {
        name: {
            "ECE as it is": _share(plain),
            "temperature": f"{temperatures[name]:.2f}",
            "ECE at that": _share(fitted),
            "chance explains": percent(chance),
            f"less {first}’s, points": "" if name == first else _difference(fitted - errors[first][1]),
        }
        for name, (plain, fitted, chance) in errors.items()
    }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}: expected calibration error in 15 bins, with 95 % bootstrap intervals that take back its bias. "
        "Temperatures are fitted on validation images. Chance explains: what true probabilities would exceed once in "
        "twenty times.",
    )


def coverage_risk(
    streams: Mapping[str, Mapping[str, RiskCoverage]], thresholds: Mapping[str, Mapping[str, float]], risk: float,
    about: str,
) -> Plot:  # fmt: skip
    """Risk against coverage on test images, one panel per stream, with the point where each threshold leads.

    Args:
        streams: stream of images -> rule -> its curve.
        thresholds: stream -> rule -> threshold, chosen on validation images of the same kind.
        risk: the wish at which they were chosen.
        about: what was measured, for the caption.
    """
    reached = {
        stream: {name: _reached(curve, thresholds[stream][name]) for name, curve in curves.items()}
        for stream, curves in streams.items()
    }
    told = [
        f"{stream}, {name}: {percent(curve.risk[-1])} wrong if everything is answered, "
        + (f"{percent(spot[1])} at the coverage {percent(spot[0])}" if spot else "no threshold keeps the wish")
        for stream, curves in streams.items()
        for (name, curve), spot in zip(curves.items(), reached[stream].values(), strict=True)
    ]
    return restacked(
        partial(_draw_coverage, streams, reached, risk),
        columns=2,
        alt=f"Share of wrong answers against the share of images that are answered. {'. '.join(told)}.",
        caption=f"{about}: wrong answers among those given, against the share of images that are answered. Markers: "
        f"where the thresholds lead that promise at most {percent(risk)} on validation images. Dashed: that wish.",
    )


Spot = tuple[float, float]
"""Coverage and risk."""


def _reached(curve: RiskCoverage, threshold: float) -> Spot | None:
    """Coverage and risk at a threshold; None if it answers nothing."""
    answered = int((curve.thresholds >= threshold).sum())
    return (float(curve.coverage[answered - 1]), float(curve.risk[answered - 1])) if answered else None


def _draw_coverage(
    streams: Mapping[str, Mapping[str, RiskCoverage]],
    reached: Mapping[str, Mapping[str, Spot | None]],
    risk: float,
    columns: int,
) -> Figure:
    figure, axes = panels(len(streams), columns, height=2.9, layout="constrained", sharex=True, sharey=True)
    for ax, (stream, curves) in zip(axes, streams.items(), strict=True):
        for name, colour, marker in zip(curves, cycle(PALETTE), cycle(_MARKERS), strict=False):
            ax.plot(curves[name].coverage, curves[name].risk, color=colour, linewidth=1.5, label=name)
            if spot := reached[stream][name]:
                ax.plot(*spot, marker, color=colour, markersize=8, markeredgecolor="black")
        ax.axhline(risk, color=MUTED, linestyle="--", linewidth=1)
        ax.set(title=stream, xlabel="coverage", xlim=(0, 1.02), xticks=[0, 0.25, 0.5, 0.75, 1])
        in_percent(ax.xaxis)
        in_percent(ax.yaxis)
    every = [curve for curves in streams.values() for curve in curves.values()]
    most = max(float(curve.risk[curve.coverage >= _STEADY].max()) for curve in every)
    axes[0].set(ylabel="risk", ylim=(0, 1.1 * max(most, risk)))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def outcomes(
    rules: Mapping[str, tuple[Flags, Flags, Flags]], inside: Flags, far: str, stream: str, risk: float
) -> Table:
    """What thresholds do to images on the list, to images off it, and to images of another task.

    Args:
        rules: rule -> of each test image, whether it is answered and whether its answer is right; and of each image of
            another task, whether it is answered.
        inside: whether the class of each test image is on the list.
        far: name of the other task.
        stream: the validation images that the thresholds were chosen on.
        risk: the wish at which they were chosen.
    """
    rows = {
        name: {
            "answered, on the list": accuracy_text(answered[inside]),
            "wrong of all answers": accuracy_text(~right[answered]) if answered.any() else "never answers",
            "refused, off the list": accuracy_text(~answered[~inside]),
            f"refused, {far}": accuracy_text(~others),
        }
        for name, (answered, right, others) in rules.items()
    }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"All test images. Thresholds that promise a risk of at most {percent(risk)}, from validation images {stream}. "
        "Shares of images, with 95 % intervals.",
    )


def separations(areas: Mapping[str, Mapping[str, Separation]], about: str) -> Table:
    """AUROC of every classifier and every score, and the differences from the first classifier.

    Args:
        areas: classifier -> score of confidence -> AUROC; all on the same images.
        about: what was measured, for the caption.
    """
    first = next(iter(areas))
    rows = {}
    for name, scores in areas.items():
        rows[name] = {score: f"{percent(area.value)} {_ends(area.interval)}" for score, area in scores.items()}
        if name != first:
            less = {score: _difference(area - areas[first][score]) for score, area in scores.items()}
            rows[f"{name} less {first}, points"] = less
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}: AUROC of three scores, with DeLong's 95 % intervals. A score that knows nothing has 50 %.",
    )


def terms(
    logits: Mapping[str, Float[Tensor, "n k"]], inside: Bool[np.ndarray, "n"], scale: float, about: str
) -> Table:
    """How each term of CALIP varies between the classes of an image and between images, and whom its largest separates.

    Args:
        logits: term -> its logits.
        inside: whether the class of each image is on the list.
        scale: CLIP's logit scale.
        about: what was measured, for the caption.
    """
    rows = {}
    for name, given in logits.items():
        largest = confidence(given, "logit")
        area = separation(largest[inside], largest[~inside])
        rows[name] = {
            "between classes": f"{float(given.std(dim=1, correction=0).mean()) / scale:.3f}",
            "between images": f"{float(given.mean(dim=1).std(correction=0)) / scale:.3f}",
            "AUROC of the largest": f"{percent(area.value)} {_ends(area.interval)}",
        }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}: CALIP's terms without weights. Standard deviation of the cosines between the classes of an image, "
        "and of their mean between images; and how well the largest separates images on the list from the others.",
    )


def which_score(probability: Separation, logit: Separation) -> Text:
    """Whether the largest logit separates images on the list from others better than the largest probability."""
    ends, shares = (logit - probability).interval, (percent(logit.value), percent(probability.value))
    if ends.low > 0:
        verdict = "separates them better than"
    elif ends.high < 0:
        verdict = "separates them worse than"
    else:
        verdict = "separates them neither clearly better nor clearly worse than"
    return Text(
        f"Are images whose class is on the list separated from the others? CLIP's largest logit {verdict} its largest "
        f"probability: AUROC {shares[0]} and {shares[1]}, difference {_difference(logit - probability)} points."
    )


def several_labels(measures: Mapping[str, tuple[Resampled, Resampled, float]], baseline: str, about: str) -> Table:
    """F1 and mean average precision of several rules that give labels.

    Args:
        measures: rule -> micro F1, macro F1 and mean average precision, on the same images and samples.
        baseline: the rule that differences are taken from.
        about: what was measured, for the caption.
    """
    rows = {
        name: {
            "micro F1": _share(micro),
            f"less {baseline}, points": "" if name == baseline else _difference(micro - measures[baseline][0]),
            "macro F1": _share(macro),
            "mAP": percent(precision),
        }
        for name, (micro, macro, precision) in measures.items()
    }
    caption = f"{about}. F1 with 95 % bootstrap intervals. mAP: mean average precision, which needs no threshold."
    return Table(pd.DataFrame.from_dict(rows, orient="index"), caption)


def labels_in_short(micro: Mapping[str, Resampled], one: str, several: str, other: str) -> Text:
    """Whether thresholds per class beat one answer, and one score another.

    Args:
        micro: rule -> micro F1, on the same images and samples.
        one: the rule that gives one label.
        several: a rule with thresholds.
        other: another one.
    """
    first, second = (micro[a] - micro[b] for a, b in ((several, one), (other, several)))
    return Text(
        f"Thresholds on {several}'s logit against one answer, in points of micro F1: {_difference(first)}, "
        f"{_clearly(first)}. Thresholds on the {other} against those on the logit: {_difference(second)}, "
        f"{_clearly(second)}."
    )


def _clearly(found: Resampled) -> str:
    ends = found.interval
    return "clearly better" if ends.low > 0 else "clearly worse" if ends.high < 0 else "not clearly different"


def terms_help(gains: Mapping[str, Interval]) -> Text:
    """Where CALIP beats CLIP clearly, where it loses clearly, and where these images do not decide.

    Args:
        gains: task -> 95 % interval of CALIP's gain over CLIP; positive is better.
    """
    groups = {
        "better at": [task for task, ends in gains.items() if ends.low > 0],
        "worse at": [task for task, ends in gains.items() if ends.high < 0],
        "neither clearly better nor worse at": [task for task, ends in gains.items() if ends.low <= 0 <= ends.high],
    }
    said = "; ".join(f"{verdict} {listed(tasks)}" for verdict, tasks in groups.items() if tasks)
    return Text(
        f"**Do CALIP's terms help?** Against CLIP on the same images, CALIP with its published weights is {said}. "
        f"({len(gains)} interval{'s' * (len(gains) > 1)} of 95 %, without a correction for their number.)"
    )


def _share(found: Resampled) -> str:
    return f"{percent(found.value)} {_ends(found.interval)}"


def _difference(found: Resampled | Separation) -> str:
    return f"{points(found.value)} {_ends(found.interval)}"


def _ends(ends: Interval) -> str:
    return interval(ends.low, ends.high)


def _short(name: str) -> str:
    return shorten(name, 20, placeholder=" …")
