"""The exhibits of chapter 8: CALIP-FS matrix by matrix, its accuracy over shots, and what its matrices learn."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from textwrap import fill
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from calip_core.evaluation.record import Record
from calip_core.exhibits.exhibit import Plot, Table, Text, percent, points, restacked
from calip_core.exhibits.style import MUTED, PALETTE, PHONE_WIDTH, WIDTH, panels
from calip_core.methods.calip_fs import CalipFs
from calip_core.metrics import mean_interval

_DASHES = ("--", ":", "-.")
LEARNS = "#cfe3f1"
"""Fill colour of a learned matrix; the others are white."""

Shares = Float[np.ndarray, "draws"]
"""Accuracies from 0 to 1, one per draw, in the order of the seeds."""


def draws(records: Sequence[Record], method: str) -> dict[int, Shares]:
    """Shots -> accuracies of a method over the draws; 0 shots for a head that needs none."""
    found: dict[int, list[tuple[int, float]]] = {}
    for record in records:
        if record.head.method == method:
            found.setdefault(record.shots, []).append((record.seed, record.score.top1))
    return {shots: np.array([top1 for _, top1 in sorted(found[shots])]) for shots in sorted(found)}


def references(records: Sequence[Record]) -> dict[str, Shares]:
    """Accuracies over the draws of what needs no shots: zero-shot CLIP, and CALIP if it was measured."""
    by_seed = {record.seed: record.score.clip_top1 for record in records}
    found = {"zero-shot CLIP": np.array([by_seed[seed] for seed in sorted(by_seed)])}
    calip = draws(records, "calip")
    return found | ({"CALIP": calip[0]} if calip else {})


def over_draws(shares: Shares, *, difference: bool = False) -> str:
    """Mean over the draws in per cent, or in points, with half the width of its 95 % t-interval if there is one."""
    mean, half = mean_interval(shares)
    text = points(mean) if difference else f"{100 * mean:.1f}"
    return text if np.isnan(half) else f"{text} ± {100 * half:.1f}"


def draw_curve(ax: Axes, accuracy: Mapping[int, Shares], label: str | None = None) -> None:
    """Accuracy over shots: draws as dots, their mean as a line with 95 % t-intervals. A single draw has none."""
    shots = list(accuracy)
    for count, shares in accuracy.items():
        ax.plot([count] * len(shares), 100 * shares, ".", color=PALETTE[1], markersize=5, zorder=3)
    means, halves = np.array([mean_interval(shares) for shares in accuracy.values()]).T
    ax.plot(shots, 100 * means, color=PALETTE[0], label=label)
    if np.isfinite(halves).all():
        ax.errorbar(shots, 100 * means, 100 * halves, fmt="none", ecolor=PALETTE[0], elinewidth=1, capsize=2)
    ax.set_xscale("log", base=2)
    ax.set_xticks(shots, [str(count) for count in shots])
    ax.minorticks_off()


def draw_references(ax: Axes, means: Mapping[str, float], *, label: bool) -> None:
    """Accuracies that need no shots, as broken lines."""
    for (name, share), dashes in zip(means.items(), _DASHES, strict=False):
        ax.axhline(100 * share, color="black", linestyle=dashes, linewidth=1, label=name if label else None)


def accuracy_over_shots(records: Sequence[Record]) -> Plot:
    """CALIP-FS over shots beside zero-shot CLIP and CALIP.

    Args:
        records: of ``calip_fs`` with shots, and of ``calip``.
    """
    accuracy = draws(records, "calip_fs")
    means = {name: float(shares.mean()) for name, shares in references(records).items()}

    def draw(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
        draw_curve(ax, accuracy, label="CALIP-FS")
        draw_references(ax, means, label=True)
        ax.set(xlabel="shots: labelled images per class", ylabel="accuracy (%)")
        figure.legend(loc="outside lower center", ncols=3)
        return figure

    told = ", ".join(f"{percent(float(shares.mean()))} at {shots_text(count)}" for count, shares in accuracy.items())
    lines = ", ".join(f"{name} {percent(share)}" for name, share in means.items())
    count = len(next(iter(accuracy.values())))
    return restacked(
        draw,
        columns=1,
        alt=f"Accuracy of CALIP-FS over shots: {told}. Without shots: {lines}.",
        caption=f"Orange: {_draws(count)} of the support set. Blue: their mean"
        + (" and its 95 % t-interval." if count > 1 else "."),
    )


def in_short(records: Sequence[Record]) -> Text:
    """The gain of CALIP-FS at the largest number of shots, in one sentence."""
    accuracy, free = draws(records, "calip_fs"), references(records)
    most = max(accuracy)
    gain = over_draws(accuracy[most] - free["zero-shot CLIP"], difference=True)
    return Text(
        f"**In short.** With {shots_text(most)} per class, CALIP-FS differs from zero-shot CLIP by {gain} points; "
        f"CALIP, which learns nothing, by {points(float((free['CALIP'] - free['zero-shot CLIP']).mean()))}."
    )


_NAMES: Mapping[str, str] = {
    "s_q": "$W_q$", "s_k": "$W_k$", "s_v": "$W_v$", "t_q": "$W_q'$", "t_k": "$W_k'$", "t_v": "$W_v'$", "post": "$W_p$",
}  # fmt: skip
"""The seven matrices: their names in a head's state, and in the equations."""
_SMALLEST = 0.001


def moves(heads: Mapping[str, Sequence[CalipFs]]) -> Plot:
    """One panel per setting, one bar per matrix: how far training turned it from its start.

    Args:
        heads: setting -> fitted heads with separate projections and no hidden layers, one per draw.
    """
    moved = {
        setting: {name: 100 * float(np.mean([head.moved()[role] for head in fitted])) for role, name in _NAMES.items()}
        for setting, fitted in heads.items()
    }

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(moved), columns, height=2.6, layout="constrained", sharex=True, sharey=True)
        for ax, (setting, by_name) in zip(axes, moved.items(), strict=True):
            colours = [PALETTE[1] if name == "$W_p$" else PALETTE[0] for name in by_name]
            ax.barh(list(by_name), [max(value, _SMALLEST) for value in by_name.values()], color=colours)
            ax.set(xscale="log", xlim=(_SMALLEST, 30))
            ax.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"], fontsize=9)
            ax.set_title(setting, fontsize=10)
        axes[0].invert_yaxis()  # shared by all panels
        figure.supxlabel("turned, in % of the identity's norm", fontsize=11)
        return figure

    count = max(len(fitted) for fitted in heads.values())
    fewer = [f"{setting}: {_draws(len(fitted))}" for setting, fitted in heads.items() if len(fitted) < count]
    more = f" ({'; '.join(fewer)})" if fewer else ""
    told = "; ".join(
        f"{setting}: " + ", ".join(f"{_plain(name)} {value:.3f} %" for name, value in by_name.items())
        for setting, by_name in moved.items()
    )
    return restacked(
        draw, columns=min(4, len(moved)), narrow=2,
        alt=f"How far training turned each of the seven matrices from its start. {told}.",
        caption=f"Mean over {_draws(count)}{more}. Orange: the matrix behind the attention; blue: the six in front. "
        f"The axis is logarithmic and starts at {_SMALLEST} %. Shrinkage by weight decay is taken out.",
    )  # fmt: skip


def gradients(norms: Mapping[str, Mapping[str, float]]) -> Table:
    """Norm of the loss's gradient with respect to each matrix.

    Args:
        norms: start -> role ("s_q", ..., "post") -> norm.
    """
    frame = pd.DataFrame({start: {_NAMES[role]: by_role[role] for role in _NAMES} for start, by_role in norms.items()})
    return Table(
        frame,
        "Norm of the gradient of the loss with respect to each matrix, on the support set, before the first step.",
        dict.fromkeys(frame.columns, lambda norm: f"{norm:.1e}" if norm else "0"),
    )


def bias_share(scores: pd.DataFrame, clip: float) -> Text:
    """How much of the gain over zero-shot CLIP the class bias alone reaches.

    Args:
        scores: one row per draw with the columns "CALIP-FS" and "class bias alone".
        clip: accuracy of zero-shot CLIP.
    """
    gain, alone = (float(scores[column].mean()) - clip for column in ("CALIP-FS", "class bias alone"))
    told = f"CALIP-FS is {points(gain)} points from zero-shot CLIP, the class bias alone {points(alone)}"
    if gain <= 0:
        return Text(f"{told}. Here there is no gain to explain.")
    if alone <= 0:
        return Text(f"{told}. The class bias explains none of the gain.")
    return Text(f"{told}. So {percent(min(alone / gain, 1), 0)} of the gain needs no attention at all.")


def _plain(name: str) -> str:
    return name.strip("$")


def shots_text(count: int) -> str:
    """A number of shots in words: "1 shot", "4 shots"."""
    return f"{count} shot{'s' * (count > 1)}"


def _draws(count: int) -> str:
    return f"{count} draw{'s' * (count > 1)}"


Side = Literal["M", "K", "C", "1"]
_SIDES: Mapping[Side, float] = {"1": 0.16, "M": 0.62, "K": 0.9, "C": 0.74}
_Sign = tuple[str, float]
"""Text between matrices, and its width."""
_Matrix = tuple[str, Side, Side, bool]
"""Name, rows, columns, and whether it is learned."""


def _fixed(name: str, rows: Side, columns: Side) -> _Matrix:
    return name, rows, columns, False


def _learned(name: str) -> _Matrix:
    return name, "C", "C", True


_DOT, _ARROW, _IS, _CLOSE, _THEN = (r"$\cdot$", 0.3), (r"$\rightarrow$", 0.5), ("=", 0.3), (") =", 0.4), ("", 0.2)
_F_V, _F_T = _fixed("$F_v$", "1", "C"), _fixed("$F_t^\\top$", "C", "K")
_STEPS: tuple[tuple[str, tuple[_Sign | _Matrix, ...]], ...] = (
    ("1  Project the image's tokens, once for each role", (
        _fixed("$F_s$", "M", "C"), _DOT, _learned("$W_q^\\top$"), _learned("$W_k^\\top$"), _learned("$W_v^\\top$"),
        _ARROW, _fixed("$Q_s$", "M", "C"), _fixed("$K_s$", "M", "C"), _fixed("$V_s$", "M", "C"),
    )),
    ("2  Project the class texts, once for each role", (
        _fixed("$F_t$", "K", "C"), _DOT, _learned("$W_q'^\\top$"), _learned("$W_k'^\\top$"), _learned("$W_v'^\\top$"),
        _ARROW, _fixed("$Q_t$", "K", "C"), _fixed("$K_t$", "K", "C"), _fixed("$V_t$", "K", "C"),
    )),
    ("3  The text looks at the image, and what it saw is projected once more", (
        (r"softmax$_M$( c", 1.2), _fixed("$Q_t$", "K", "C"), _fixed("$K_s^\\top$", "C", "M"), _CLOSE,
        _fixed("$S_t$", "K", "M"), _THEN, _fixed("$S_t$", "K", "M"), _fixed("$V_s$", "M", "C"),
        _learned("$W_p^\\top$"), _IS, _fixed("$F_t^a$", "K", "C"),
    )),
    ("4  The image looks at the text, and what it saw is projected by the same matrix", (
        (r"softmax$_K$( c", 1.2), _fixed("$Q_s$", "M", "C"), _fixed("$K_t^\\top$", "C", "K"), _CLOSE,
        _fixed("$S_s$", "M", "K"), _THEN, _fixed("$S_s$", "M", "K"), _fixed("$V_t$", "K", "C"),
        _learned("$W_p^\\top$"), _IS, _fixed("$F_s^a$", "M", "C"),
    )),
    ("5  Pool the tokens into one feature", (
        ("mean", 0.66), _fixed("$F_s^a$", "M", "C"), ("+ max", 0.76), _fixed("$F_s^a$", "M", "C"), _IS,
        _fixed("$F_v^a$", "1", "C"),
    )),
    ("6  Blend three logits", (
        (r"s ( $\beta_1$", 0.55), _F_V, _F_T, (r"+ $\beta_2$", 0.5), _F_V, _fixed("$F_t^{a\\top}$", "C", "K"),
        (r"+ $\beta_3$", 0.5), _fixed("$F_v^a$", "1", "C"), _F_T, _CLOSE, _fixed("logits", "1", "K"),
    )),
)  # fmt: skip


def diagram(tokens: int, classes: int, width: int) -> Plot:
    """CALIP-FS step by step, with each matrix as a rectangle; learned matrices are coloured.

    Heights stand for rows and widths for columns, in the fixed order M < C < K; shapes are written below.

    Args:
        tokens: M, for the caption.
        classes: K, likewise.
        width: C, likewise.
    """
    return restacked(
        _draw_diagram,
        columns=2,
        alt=_DESCRIBED,
        caption=f"Blue: what learns. White: frozen features and what follows from them. Here M = {tokens} tokens, "
        f"K = {classes} classes, C = {width}; the drawing is not to scale.",
    )


_DESCRIBED = (
    "CALIP-FS in six rows of matrices. One: the image's tokens, M by C, times three C by C matrices give queries, keys "
    "and values, M by C each. Two: the same for the class texts, K by C. Three: the softmax of text queries times "
    "image keys is K by M; times the image's values and W_p it is the attended text, K by C. Four: the softmax of "
    "image queries times text keys is M by K; times the text's values and the same W_p it is the attended tokens, M by "
    "C. Five: their mean plus their maximum is one row of width C. Six: three products of a row 1 by C and a matrix C "
    "by K, weighted by three betas, give the logits, 1 by K. The seven C by C matrices are coloured."
)


def _draw_diagram(columns: int) -> Figure:
    """All steps below each other; with a single column, for phones, long ones take two lines."""
    room, inches = (8.7, WIDTH) if columns > 1 else (5.2, PHONE_WIDTH)
    figure, ax = plt.subplots(layout="constrained")
    ax.axis("off")
    y = 0.0
    for title, cells in _STEPS:
        heading = fill(title, 44 * columns)
        ax.text(0, y, heading, fontsize=10, fontweight="bold", va="top")
        y -= 0.28 * (1 + heading.count("\n"))
        for line in _lines(cells, room):
            _draw_step(ax, line, y - 0.55)
            y -= 1.3
    ax.set(xlim=(-0.05, room), ylim=(y + 0.1, 0.1), aspect="equal")
    figure.set_size_inches(inches, inches * (0.2 - y) / room)
    return figure


def _lines(cells: Sequence[_Sign | _Matrix], room: float) -> list[list[_Sign | _Matrix]]:
    """Break a step before a sign wherever the next line would have no room."""
    lines: list[list[_Sign | _Matrix]] = [[]]
    for number, cell in enumerate(cells):
        following = list(takewhile(lambda other: len(other) > 2, cells[number + 1 :]))
        if len(cell) == 2 and sum(map(_width, [*lines[-1], cell, *following])) > room:
            lines.append([])
        lines[-1].append(cell)
    return lines


def _width(cell: _Sign | _Matrix) -> float:
    return cell[1] if len(cell) == 2 else _SIDES[cell[2]] + 0.12


def _draw_step(ax: Axes, cells: Sequence[_Sign | _Matrix], middle: float) -> None:
    """Draw matrices and signs from left to right, centred vertically."""
    x = 0.0
    for cell in cells:
        if len(cell) == 2:
            sign, width = cell
            ax.text(x + width / 2, middle, sign, ha="center", va="center", fontsize=10)
            x += width
        else:
            x += _draw_matrix(ax, cell, x, middle) + 0.12


def _draw_matrix(ax: Axes, matrix: _Matrix, x: float, y: float) -> float:
    """Draw one rectangle with its name and shape; return its width."""
    name, rows, columns, learns = matrix
    height, width = _SIDES[rows], _SIDES[columns]
    edge, face = (PALETTE[0], LEARNS) if learns else (MUTED, "white")
    ax.add_patch(Rectangle((x, y - height / 2), width, height, facecolor=face, edgecolor=edge, linewidth=1.4))
    # A single row is too low to contain its name.
    name_y, anchor = (y + height / 2 + 0.05, "bottom") if rows == "1" else (y, "center")
    ax.text(x + width / 2, name_y, name, ha="center", va=anchor, fontsize=10)
    ax.text(x + width / 2, y - height / 2 - 0.05, rf"{rows}$\times${columns}", ha="center", va="top", fontsize=9)
    return width
