"""The exhibits of chapter 9: all few-shot heads on the same images, their costs, and the published numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from calip_core.analysis.leader import leader
from calip_core.datasets import load_card
from calip_core.evaluation.record import Record
from calip_core.exhibits.calip_fs import Shares, draw_curve, draw_references, draws, references, shots_text
from calip_core.exhibits.exhibit import Plot, Table, Text, listed, percent, points, restacked
from calip_core.exhibits.results import mean_over_seeds
from calip_core.exhibits.style import MUTED, PALETTE, panels
from calip_core.methods.base import Head
from calip_core.metrics import mean_interval
from calip_core.published import PublishedFewShot, published_few_shot

_TITLES = {
    "linear_probe": "linear probe", "clap": "CLAP", "tip_adapter": "Tip-Adapter", "tip_adapter_f": "Tip-Adapter-F",
    "gda": "GDA", "clip_adapter": "CLIP-Adapter", "coop": "CoOp", "calip_fs": "CALIP-FS",
}  # fmt: skip
_IDEAS = {
    "linear_probe": "borders", "clap": "borders from texts", "tip_adapter": "memory", "tip_adapter_f": "learned memory",
    "gda": "one Gaussian per class", "clip_adapter": "bent features", "coop": "prompt", "calip_fs": "attention",
}  # fmt: skip


def _measured(records: Sequence[Record]) -> dict[str, dict[int, Shares]]:
    """Title -> shots -> accuracies over the draws, of the heads that take shots."""
    return {title: draws(records, method) for method, title in _TITLES.items() if draws(records, method)}


def _reference_means(records: Sequence[Record]) -> dict[str, float]:
    return {name: float(shares.mean()) for name, shares in references(records).items()}


def accuracy_over_shots(records: Sequence[Record]) -> Plot:
    """One panel per head: accuracy over shots, with the means of the other heads in grey.

    Args:
        records: of all heads at all shots and draws, and of ``calip``.
    """
    accuracy, means = _measured(records), _reference_means(records)

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(accuracy), columns, height=1.7, layout="constrained", sharex=True, sharey=True)
        for ax, (title, by_shots) in zip(axes, accuracy.items(), strict=True):
            for other in accuracy.values():
                shares = [100 * shares.mean() for shares in other.values()]
                ax.plot(list(other), shares, color=MUTED, linewidth=0.8, alpha=0.4)
            draw_curve(ax, by_shots)
            draw_references(ax, means, label=ax is axes[0])
            ax.set_title(title, fontsize=10)
        for ax in axes[-columns:]:  # the lowest panel of each column, even if the last row is not full
            ax.tick_params(labelbottom=True)
        figure.legend(loc="outside upper center", ncols=2)
        figure.supxlabel("shots: labelled images per class", fontsize=11)
        figure.supylabel("accuracy (%)", fontsize=11)
        return figure

    told = "; ".join(
        f"{title} " + ", ".join(f"{percent(float(shares.mean()))} at {shots}" for shots, shares in by_shots.items())
        for title, by_shots in accuracy.items()
    )
    lines = ", ".join(f"{name} {percent(share)}" for name, share in means.items())
    return restacked(
        draw, columns=4, narrow=2, alt=f"Accuracy over shots, one panel per head. {lines}. {told}.",
        caption="Orange: draws of the support set. Blue: their mean, with a 95 % t-interval if there are several. "
        "Grey: the other heads' means. Hyperparameters are fixed beforehand for all heads.",
    )  # fmt: skip


def in_short(records: Sequence[Record]) -> Text:
    """Which head leads with the most shots, and which fall below zero-shot CLIP with the fewest."""
    accuracy, clip = _measured(records), _reference_means(records)["zero-shot CLIP"]
    fewest, most = min(next(iter(accuracy.values()))), max(next(iter(accuracy.values())))
    best = leader({title: by_shots[most] for title, by_shots in accuracy.items()})
    below = [title for title, by_shots in accuracy.items() if by_shots[fewest].mean() < clip]
    text = f"**In short.** With {shots_text(most)} per class {_the(best.name)} comes first: {percent(best.mean)}, "
    text += f"zero-shot CLIP {percent(clip)}."
    if best.runner_up:
        text += f" Its lead over {_the(best.runner_up)} is {100 * best.lead:.1f} points, "
        text += f"{'more' if best.clear else 'no more'} than the draws explain."
    falls = f"{listed(map(_the, below))} {'fall' if len(below) > 1 else 'falls'}" if below else "no head falls"
    return Text(f"{text} With {shots_text(fewest)}, {falls} below zero-shot CLIP, which has seen no label.")


def ledger(records: Sequence[Record], heads: Mapping[str, Head], shots: int) -> Table:
    """What each head is, what it learns and keeps, and how long a fit takes.

    Args:
        records: of the heads at several numbers of shots.
        heads: method -> a head that was fitted with ``shots`` images per class.
        shots: images per class.
    """
    frame = pd.DataFrame(
        {
            _TITLES[method]: {
                "idea": _IDEAS[method],
                "numbers learned": sum(head.state_dict()[name].numel() for name in head.learned()),
                "numbers kept": head.parameter_count(),
                "fit (ms)": 1000 * _seconds(records, method, shots),
            }
            for method, head in heads.items()
        }
    ).T
    return Table(
        frame,
        f"With {shots_text(shots)}. Numbers learned: by gradients or L-BFGS. Numbers kept: all that a fitted head "
        "holds beside the text features. The duration of a fit does not include the features.",
        {"numbers learned": "{:,}", "numbers kept": "{:,}", "fit (ms)": "{:,.1f}"},
    )


def _seconds(records: Sequence[Record], method: str, shots: int) -> float:
    """Mean duration of a fit over the draws."""
    own = [record for record in records if record.head.method == method and record.shots == shots]
    return float(np.mean([record.head.fit_seconds for record in own]))


def shift(leads: Mapping[str, Mapping[str, Float[np.ndarray, "draws"]]]) -> Plot:
    """One panel per kind of test images, one row per head: its lead over zero-shot CLIP on the same images.

    Args:
        leads: kind of images -> method -> differences of accuracy from -1 to 1, one per draw. All kinds have the same
            methods.
    """
    methods = list(next(iter(leads.values())))
    rows = np.arange(len(methods))[::-1]

    def draw(columns: int) -> Figure:
        height = 1.1 + 0.26 * len(methods)
        figure, axes = panels(len(leads), columns, height=height, layout="constrained", sharex=True, sharey=True)
        for ax, (kind, by_method) in zip(axes, leads.items(), strict=True):
            for row, method in zip(rows, methods, strict=True):
                own = 100 * by_method[method]
                mean, half = mean_interval(own)
                ax.plot(own, np.full(len(own), row + 0.25), ".", color=PALETTE[1], markersize=5)
                ax.errorbar(mean, row, xerr=None if np.isnan(half) else half, fmt="|", color=PALETTE[0], capsize=2)
            ax.axvline(0, color="black", linestyle="--", linewidth=1)
            ax.set_title(kind, fontsize=10)
            ax.set_yticks(rows, [_TITLES[method] for method in methods])
        figure.supxlabel("lead over zero-shot CLIP (points)", fontsize=11)
        return figure

    told = "; ".join(
        f"{kind}: " + ", ".join(f"{_TITLES[method]} {points(float(own.mean()))}" for method, own in by_method.items())
        for kind, by_method in leads.items()
    )
    return restacked(
        draw, columns=4, narrow=2,
        alt=f"Lead over zero-shot CLIP in points, one panel per kind of test images. {told}.",
        caption="Orange: draws. Blue: their mean, with a 95 % t-interval if there are several. Dashed: zero-shot CLIP "
        "on the same images.",
    )  # fmt: skip


def published_means() -> Table:
    """One row per head: its mean published accuracy over all datasets at every number of shots, and how it was made."""
    of_head: dict[str, list[PublishedFewShot]] = {}
    for p in published_few_shot():
        of_head.setdefault(_TITLES[p.method], []).append(p)
    shots = sorted({p.shots for p in published_few_shot()})
    frame = pd.DataFrame(
        {
            title: {n: float(np.mean([p.top1 for p in own if p.shots == n])) for n in shots}
            | {
                "support sets": _of_most({p.dataset: p.draws for p in own}),
                "chosen": _of_most({p.dataset: p.choices for p in own}),
                "source": own[0].source,
            }
            for title, own in of_head.items()
        }
    ).T.rename(columns=str)
    count = len({p.dataset for p in published_few_shot()})
    return Table(
        frame,
        f"Mean published accuracy (%) over {count} datasets with RN50, by shots per class. How support sets are drawn, "
        "and what is chosen on which labels, is read from the code of the source.",
        {str(n): lambda share: f"{100 * share:.2f}" for n in shots},
    )


def _of_most(of_dataset: Mapping[str, str]) -> str:
    """What holds for most datasets, then what holds for others behind their names."""
    most, *others = (text for text, _ in Counter(of_dataset.values()).most_common())
    names = {text: [load_card(name).title for name, own in of_dataset.items() if own == text] for text in others}
    return "; ".join([most, *(f"{listed(names[text])}: {text}" for text in others)])


def published_accuracy(records: Iterable[Record], shots: int) -> Table:
    """Published accuracies at a number of shots, each beside the mean of the records of real data, if there are any.

    Raises:
        ValueError: nothing is published for this number of shots.
    """
    asked = [p for p in published_few_shot() if p.shots == shots]
    if not asked:
        known = sorted({p.shots for p in published_few_shot()})
        raise ValueError(f"shots is {shots}, expected one of {known}, for which there are published numbers")
    own = [record for record in records if record.choice.protocol != "oracle"]
    cells: dict[str, dict[str, str]] = {}
    notes: dict[str, None] = {}
    for p in asked:
        cell = f"{100 * p.top1:.2f}"
        if here := mean_over_seeds(own, p.dataset, p.backbone, p.method, p.shots):
            mean, note = here.split(" ", 1)
            cell += f"; here {mean}"
            notes[note.strip("()")] = None
        cells.setdefault(load_card(p.dataset).title, {})[_TITLES[p.method]] = cell
    measured = f"Measured here with: {' or '.join(notes)}." if notes else "Nothing of this was measured here."
    return Table(
        pd.DataFrame.from_dict(cells, orient="index"),
        f"Published accuracy (%) with RN50 and {shots_text(shots)} per class. {measured}",
    )


def _the(title: str) -> str:
    return f"the {title}" if title == "linear probe" else title
