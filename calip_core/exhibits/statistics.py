"""The exhibits of appendix D: false alarms of the paired tests, intervals, many p-values, a permutation control."""

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from scipy.stats import binom

from calip_core import metrics
from calip_core.exhibits.exhibit import Plot, Table, Text, interval, percent, points, restacked
from calip_core.exhibits.style import GOOD, MUTED, PALETTE, WIDTH
from calip_core.metrics import LEVEL, Interval, PairedTest


def false_alarms(most: int = 60) -> Plot:
    """How often each paired method sees a difference where there is none, for up to ``most`` disagreeing images."""
    exact, score = [], []
    for differing in range(1, most + 1):
        wins = np.arange(differing + 1)
        chance = binom.pmf(wins, differing, 0.5)
        hits = [outcome(int(k), differing - int(k), most) for k in wins]
        small = [metrics.mcnemar(*pair).p_value < LEVEL for pair in hits]
        outside = [0.0 not in metrics.paired_interval(int(k), differing - int(k), most) for k in wins]
        exact.append(float(chance[small].sum()))
        score.append(float(chance[outside].sum()))
    means = percent(float(np.mean(exact[9:]))), percent(float(np.mean(score[9:])))
    return restacked(
        partial(_draw_alarms, exact, score),
        columns=1,
        alt="Share of false alarms against the number of images on which two equally good classifiers differ, from 1 "
        f"to {most}. The exact McNemar test never exceeds {percent(max(exact))}; from 10 images on it averages "
        f"{means[0]}, Tango's interval {means[1]}, at most {percent(max(score[9:]))}.",
        caption="Two equally good classifiers: how often a test at 5 % and a 95 % interval see a difference. From 10 "
        f"differing images on, the exact test averages {means[0]} and Tango's interval {means[1]}.",
    )


def _draw_alarms(exact: Sequence[float], score: Sequence[float], _: int) -> Figure:
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    numbers = range(1, len(exact) + 1)
    ax.plot(numbers, [100 * rate for rate in score], "s--", color=PALETTE[1], markersize=4, label="Tango's interval")
    ax.plot(numbers, [100 * rate for rate in exact], "o-", color=GOOD, markersize=4, label="exact McNemar test")
    ax.axhline(100 * LEVEL, color=MUTED, linestyle=":")
    ax.set(xlabel="images on which the two classifiers differ", ylabel="false alarms (%)", ylim=(0, None))
    ax.legend(loc="upper right")
    return figure


def outcome(only_a: int, only_b: int, images: int) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Hits of two classifiers that disagree as given, and are both right on all other images.

    Raises:
        ValueError: there are more disagreements than images.
    """
    if only_a + only_b > images:
        raise ValueError(f"{only_a} + {only_b} disagreements of {images} images: expected at most one per image")
    numbers = np.arange(images)
    return ~((numbers >= only_a) & (numbers < only_a + only_b)), numbers >= only_a


def two_intervals(wilson: Mapping[int, Interval], normal: Mapping[int, Interval], images: int) -> Table:
    """Wilson's interval beside accuracy ± 1.96 standard errors.

    Args:
        wilson: correct images -> interval.
        normal: correct images -> interval.
        images: all images.
    """
    rows = {
        f"{correct} of {images}": {
            "accuracy": percent(correct / images),
            "Wilson": interval(found.low, found.high),
            "± 1.96 standard errors": interval(normal[correct].low, normal[correct].high),
        }
        for correct, found in wilson.items()
    }
    return Table(pd.DataFrame.from_dict(rows, orient="index"), "Two 95 % intervals for the same counts, in per cent.")


def verdict(test: PairedTest, difference: Interval) -> Text:
    """What McNemar's test and the interval of the difference say together."""
    p, span = f"p = {test.p_value:.2g}", interval(difference.low, difference.high)
    if test.p_value < LEVEL:
        says = "The two classifiers differ."
    elif 0.0 in difference:
        says = "The test and the interval agree: these images do not show which classifier is better."
    else:
        says = "No difference at 5 %, though the interval excludes 0: the exact test is the stricter of the two."
    return Text(f"{test.only_a} : {test.only_b}, {p}, 95 % interval of the difference {span} points. **{says}**")


def many_p_values(p_values: Sequence[float]) -> Plot:
    """Sorted p-values of comparisons without any difference, beside the level and its Bonferroni correction."""
    ordered, count = np.sort(p_values), len(p_values)
    raw, corrected = int((ordered < LEVEL).sum()), int((ordered < LEVEL / count).sum())

    def draw(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 2.9))
        ax.plot(range(1, count + 1), ordered, "o", color=GOOD)
        ax.axhline(LEVEL, color=MUTED, linestyle="--", label=f"level {LEVEL:g}")
        ax.axhline(LEVEL / count, color=PALETTE[1], linestyle=":", label=f"Bonferroni {LEVEL / count:.2g}")
        ax.set(yscale="log", xlabel="comparison, sorted by p", ylabel="p")
        figure.legend(loc="outside lower center", ncols=2)
        return figure

    return restacked(
        draw,
        columns=1,
        alt=f"{count} sorted p-values from {ordered[0]:.2g} to {ordered[-1]:.2g}. {raw} lie below {LEVEL:g}, "
        f"{corrected} below the corrected level {LEVEL / count:.2g}.",
        caption=f"{count} comparisons of equally good classifiers: {raw} below {LEVEL:g}, {corrected} below "
        f"{LEVEL:g}/{count}.",
    )


def control(gain: float, by_selection: Float[np.ndarray, " r"], p_value: float) -> Table:
    """The gain of a search on test labels, beside the same search on shuffled terms."""
    rows = {
        "these terms": {"gain, points": points(gain), "p": f"{p_value:.2g}"},
        f"shuffled terms, mean of {len(by_selection)}": {"gain, points": points(float(by_selection.mean()))},
        "shuffled terms, largest": {"gain, points": points(float(by_selection.max()))},
    }
    caption = "Gain over CLIP of the best pair of weights, chosen on test labels."
    return Table(pd.DataFrame.from_dict(rows, orient="index"), caption)
