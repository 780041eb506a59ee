"""The exhibits of appendix C: how programs that call themselves CALIP differ, and what that changes."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from calip_core.attention import CalipConfig
from calip_core.evaluation.record import Record
from calip_core.exhibits.exhibit import Plot, Table, interval, percent, points, restacked
from calip_core.exhibits.results import where
from calip_core.exhibits.style import MUTED, PALETTE, WIDTH

Settings = Mapping[str, tuple[str, CalipConfig, float, float, float]]
"""Name of a version -> its spatial tokens, configuration, beta2, beta3 and logit scale."""


def deviations(settings: Settings) -> Table:
    """What each version uses: one row per version."""
    rows = {}
    for name, (tokens, config, beta2, beta3, scale) in settings.items():
        rows[name] = [
            tokens.replace("_", "-"),
            f"{config.alpha_t:g}",
            config.pooling if isinstance(config.pooling, str) else "its own",
            "yes" if config.normalize else "no",
            f"{scale:.1f}",
            f"{beta2:g}",
            f"{beta3:g}",
        ]
    columns = ["tokens", "$\\alpha$", "pooling", "unit length", "$s$", "$\\beta_2$", "$\\beta_3$"]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        caption="Versions of CALIP as their code has them, with the substitutions named in the text. Unit length: "
        "whether $F_t^a$ and $F_v^a$ are normalised.",
    )


def accuracies(
    blends: Mapping[str, Record], text_alone: Mapping[str, Record], visual_alone: Mapping[str, Record]
) -> Plot:
    """Accuracy of each version's blend and of its two attended terms without CLIP's logits.

    Args:
        blends: version -> its blend.
        text_alone: version -> its text-attended term.
        visual_alone: version -> its visual-attended term.
    """
    first = next(iter(blends.values()))
    kinds = {"blend": blends, "text term alone": text_alone, "visual term alone": visual_alone}
    found = "; ".join(
        f"{name}: " + ", ".join(f"{label} {percent(records[name].score.top1)}" for label, records in kinds.items())
        for name in blends
    )
    return restacked(
        partial(_draw_accuracies, kinds, first.score.clip_top1),
        columns=4,
        narrow=2,
        alt=f"Accuracy of each version. CLIP {percent(first.score.clip_top1)}. {found}.",
        caption=f"Accuracy of each version, and of its attended terms without CLIP's logits: {where(first)}, "
        f"{first.data.images:,} images.",
    )


def _draw_accuracies(kinds: Mapping[str, Mapping[str, Record]], clip: float, columns: int) -> Figure:
    """One row per version, one marker per kind of logits; the legend has so many columns."""
    names = list(kinds["blend"])
    figure, ax = plt.subplots(figsize=(WIDTH, 0.4 * len(names) + 1.4), layout="constrained")
    ax.axvline(100 * clip, color=MUTED, linewidth=1, linestyle="--", label="CLIP")
    for (label, records), marker, colour in zip(kinds.items(), "osv", PALETTE, strict=False):
        values = [100 * records[name].score.top1 for name in names]
        ax.plot(values, range(len(values)), marker, color=colour, markersize=8, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
    ax.set(xlabel="accuracy (%)", xlim=(0, 100))
    figure.legend(loc="outside upper center", ncols=columns)
    return figure


def scores(
    records: Mapping[str, Record], text_alone: Mapping[str, Record], visual_alone: Mapping[str, Record]
) -> Table:
    """Accuracy of each version, and of its two attended terms without CLIP's logits.

    Args:
        records: version -> its blend.
        text_alone: version -> its text-attended term.
        visual_alone: version -> its visual-attended term.
    """
    rows = {}
    for name, record in records.items():
        score = record.score
        rows[name] = [
            percent(score.top1),
            points(score.gain),
            f"{score.only_method} : {score.only_clip}",
            f"{score.mcnemar_p:.2g}",
            percent(text_alone[name].score.top1),
            percent(visual_alone[name].score.top1),
        ]
    first = next(iter(records.values()))
    columns = ["accuracy", "gain", "only it : only CLIP", "p", "text alone", "visual alone"]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        caption=f"The versions measured: {where(first)}, {first.data.images:,} images. "
        "Only it : only CLIP: images that one of the two alone gets right; p: McNemar's test on them. "
        f"CLIP has {percent(first.score.clip_top1)}, a guess {percent(1 / first.data.classes)}. Gain in points.",
    )


def searches(records: Mapping[str, Record]) -> Table:
    """The same head with weights from different sources.

    Args:
        records: source of the weights -> record; that of an oracle holds its shuffled control.
    """
    rows = {}
    for name, record in records.items():
        score, chosen = record.score, record.choice.values
        control = "" if score.control_gain is None else points(score.control_gain)
        rows[name] = [
            f"{chosen['beta2']:.3g}, {chosen['beta3']:.3g}",
            points(score.gain),
            interval(score.gain_low, score.gain_high),
            control,
        ]
    columns = ["$\\beta_2, \\beta_3$", "gain (points)", "95 % interval", "same, shuffled terms"]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        caption="The released configuration with blend weights from three sources, on the same test images.",
    )
