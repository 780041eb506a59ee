"""The exhibits of chapter 4: the gain of CALIP against the quality of the pool, the temperature, and training time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from calip_core.analysis.synthetic import TokenModel, text_lead, weight_on_object
from calip_core.exhibits.exhibit import Plot, Table, Text, interval, listed, percent, points, restacked
from calip_core.exhibits.style import DIVERGING, MUTED, PALETTE, WIDTH, panels
from calip_core.metrics import LEVEL

_COLOURS = {"value": PALETTE[0], "joint": PALETTE[1], "pre_pool": PALETTE[2]}
_PAIR = "paper's pair"


def clear_gains(frame: pd.DataFrame, tests: int | None = None) -> pd.Series:
    """Rows with a gain that McNemar's test accepts after Bonferroni's correction: p < 0.05 / number of tests.

    Args:
        frame: with the columns of ``window.paired_gain``.
        tests: number of tests that are looked at together; the number of rows by default.
    """
    return (frame["gain"] > 0) & (frame["p"] < LEVEL / (tests or len(frame)))


def pool_curves(sweep: pd.DataFrame, tokens: str) -> Plot:
    """CALIP's gain over lambda, one panel per task, with blend weights from validation images and with the paper's.

    Args:
        sweep: from ``window.pool_sweep``.
        tokens: which kind to show.
    """
    shown = sweep[sweep["tokens"] == tokens]
    tasks = list(dict.fromkeys(shown["task"]))

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(tasks), columns, height=2.0, sharey=True)
        for ax, task in zip(axes, tasks, strict=True):
            rows = shown[shown["task"] == task]
            _gain_line(ax, rows[rows["protocol"] == "validation"], "amount", "chosen on validation", _COLOURS[tokens])
            fixed = rows[rows["protocol"] == "fixed"]
            ax.plot(fixed["amount"], 100 * fixed["gain"], "--", color=MUTED, label=_PAIR)
            ticks = [f"{row.amount:g}\n{100 * row.clip:.0f} %" for row in fixed.itertuples()]
            ax.set_xticks(fixed["amount"], ticks, fontsize=9)
            ax.set(title=task)
        figure.supxlabel(r"$\lambda$, how much the pool is spoiled; CLIP's accuracy with this pool", fontsize=11)
        figure.supylabel("gain (points)", fontsize=11)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return figure

    chosen = shown[shown["protocol"] == "validation"]
    said = []
    for task in tasks:
        rows = chosen[chosen["task"] == task]
        gains = ", ".join(f"{points(row.gain)} at {row.amount:g}" for row in rows.itertuples())
        said.append(f"{task}: {gains}")
    images = _span(shown["images"])
    return restacked(
        draw, columns=2,
        alt=f"One panel per task: gain of CALIP with {tokens} tokens over CLIP in points, against lambda. "
        + "; ".join(said) + ".",
        caption=f"Gain of CALIP with {tokens} tokens while its pool is spoiled on purpose ({images} test images per "
        r"task, 95 % intervals). At $\lambda = 0$ the pool is CLIP's own, at 1 the mean value token.",
    )  # fmt: skip


def tokens_table(sweep: pd.DataFrame) -> Table:
    """What each kind of tokens has of its own, per task.

    Args:
        sweep: from ``window.pool_sweep``, with amount 0.
    """
    rows = sweep[(sweep["amount"] == 0) & (sweep["protocol"] == "validation")]
    frame = pd.DataFrame(
        {
            "cosine": rows["cosine"],
            "spread": rows["affinity_spread"],
            "hottest place": rows["hottest"],
            "text term": rows["text_alone"],
            "CLIP": rows["clip"],
            "chance": 1 / rows["classes"],
        }
    )
    frame.index = pd.Index(rows["task"] + ", " + rows["tokens"])
    return Table(
        frame,
        r"Cosine of a token with $F_v$; spread (standard deviation) of the affinities of one class over the tokens of "
        "an image; accuracy of the class whose affinity is largest at any one place; accuracy of the text-attended "
        "term alone; accuracy of CLIP and of chance. Nothing is spoiled here.",
        {"cosine": "{:.2f}", "spread": "{:.3f}"}
        | dict.fromkeys(("hottest place", "text term", "CLIP", "chance"), percent),
    )


def pool_table(sweep: pd.DataFrame, amount: float) -> Table:
    """The paired comparison of CALIP with CLIP at one value of lambda.

    Args:
        sweep: from ``window.pool_sweep``.
        amount: one of its values of lambda.

    Raises:
        ValueError: the sweep has no such amount.
    """
    rows = sweep[(sweep["amount"] == amount) & (sweep["protocol"] == "validation")]
    if rows.empty:
        raise ValueError(f"amount is {amount}, expected one of {', '.join(f'{x:g}' for x in sweep['amount'].unique())}")
    frame = _paired(rows)
    frame.index = pd.Index(rows["task"] + ", " + rows["tokens"])
    return Table(
        frame,
        rf"$\lambda = {amount:g}$, blend weights chosen on validation images. Gain in points with its 95 % interval "
        f"(Tango's); images that only one of the two gets right; McNemar's exact p, with a star where it is below "
        f"{LEVEL:g} divided by the {len(rows)} rows.",
        {"CLIP": percent},
    )


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    stars = np.where((rows["p"] < LEVEL / len(rows)), " *", "")
    return pd.DataFrame(
        {
            "CLIP": rows["clip"],
            "gain": [f"{points(r.gain)} {interval(r.gain_low, r.gain_high)}" for r in rows.itertuples()],
            "only CALIP : only CLIP": [f"{r.only_calip} : {r.only_clip}" for r in rows.itertuples()],
            "p": [f"{p:.2g}{star}" for p, star in zip(rows["p"], stars, strict=True)],
        }
    )


def lead_curves(shares: Sequence[float], model: TokenModel) -> Plot:
    """The closed form of the text-attended term over the temperature: weights on the object, and the lead they give.

    Args:
        shares: values of rho, one curve each; the weights are shown for the second.
        model: its strength and the cosine between its classes.
    """
    alpha = torch.logspace(-2, 1, 200, dtype=torch.float64)
    gap, other, shown = model.strength, model.common * model.strength, shares[1]
    leads = {share: text_lead(share, alpha, strength=gap, common=model.common) for share in shares}

    def draw(columns: int) -> Figure:
        figure, (left, right) = panels(2, columns, height=2.2)
        left.semilogx(alpha, weight_on_object(shown, gap, alpha), color=PALETTE[0], label="right class")
        left.semilogx(alpha, weight_on_object(shown, other, alpha), "--", color=PALETTE[0], label="another class")
        left.axhline(shown, color=MUTED, linewidth=1)
        left.set(title=rf"weight on the object, $\rho = {shown:g}$", ylim=(0, 1.02))
        for (share, lead), colour in zip(leads.items(), PALETTE, strict=False):
            right.semilogx(alpha, lead, color=colour, label=rf"$\rho = {share:g}$")
        right.set(title="lead of the right class", ylim=(0, None))
        for ax in (left, right):
            ax.set_xlabel(r"temperature $\alpha$")
            ax.legend()
        return figure

    peaks = [f"{x.max():.3f} at α = {alpha[x.argmax()]:.2g} for ρ = {share:g}" for share, x in leads.items()]
    return restacked(
        draw, columns=2,
        alt="Two panels over the temperature. The weight on the object falls from 1 to its share, for the right class "
        "at higher temperatures than for another. The lead of the right class is zero at both ends and has one peak: "
        + ", ".join(peaks) + ".",
        caption=rf"The closed form for $a = {gap:g}$ and classes with a cosine of $\kappa = {model.common:g}$. "
        "At low temperatures both classes look at the object alone, at high temperatures both look everywhere.",
    )  # fmt: skip


def phase_diagram(table: pd.DataFrame) -> Plot:
    """Gain over temperature and share of the image that is object, one panel per spread.

    Args:
        table: from ``synthetic.phase_diagram``.
    """
    spreads, shares = sorted(table["spread"].unique()), sorted(table["share"].unique())
    limit = 100 * table["gain"].abs().max()
    norm = TwoSlopeNorm(0, -limit, limit)
    clip = table.groupby("share")["clip"].first()
    clear = clear_gains(table)

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(spreads), columns, height=2.9, sharey=True)
        for ax, spread in zip(axes, spreads, strict=True):
            part = table[table["spread"] == spread]
            gain = 100 * part.pivot(index="share", columns="alpha", values="gain")
            picture = ax.pcolormesh(gain.to_numpy(), cmap=DIVERGING, norm=norm, rasterized=True)
            marked = part.assign(clear=clear).pivot(index="share", columns="alpha", values="clear").to_numpy()
            rows, places = np.nonzero(marked)
            ax.plot(places + 0.5, rows + 0.5, ".", color="black", markersize=5)
            ax.set_xticks(np.arange(gain.shape[1]) + 0.5, [f"{alpha:g}" for alpha in gain.columns], rotation=90)
            ax.set_yticks(np.arange(len(shares)) + 0.5, [f"{s:g} ({100 * clip[s]:.0f} %)" for s in shares])
            ax.set(title=f"spread {spread:g}", xlabel=r"temperature $\alpha$")
        axes[0].set_ylabel(r"share $\rho$ (CLIP's accuracy)")
        figure.colorbar(picture, ax=axes, label="gain (points)", shrink=0.9)
        return figure

    said = []
    for spread in spreads:
        part = table[table["spread"] == spread]
        best = part.loc[part["gain"].idxmax()]
        said.append(f"with spread {spread:g} up to {points(best.gain)} at α = {best.alpha:g}, ρ = {best.share:g}")
    return restacked(
        draw, columns=3,
        alt=f"{len(spreads)} heat-maps of CALIP's gain in points over temperature and share: " + "; ".join(said) + ".",
        caption=f"Gain of CALIP over CLIP in the model, weights chosen on validation images, {_span(table['images'])} "
        f"test images per cell. A dot: McNemar's p is below {LEVEL:g} divided by the {len(table)} cells.",
    )  # fmt: skip


def temperature_curves(swept: Mapping[str, pd.DataFrame], spreads: Mapping[str, float]) -> Plot:
    """Gain against temperature for several kinds of tokens, with the measured spread of their affinities.

    Args:
        swept: kind of tokens -> table from ``window.temperature_sweep``.
        spreads: kind of tokens -> spread of its affinities.
    """

    def draw(columns: int) -> Figure:
        figure, (ax,) = panels(1, 1, width=WIDTH, height=2.6)
        for kind, table in swept.items():
            _gain_line(ax, table, "alpha", f"{kind} tokens", _COLOURS[kind])
            ax.axvline(spreads[kind], color=_COLOURS[kind], linestyle=":", label=f"spread of {kind} affinities")
        ax.set(xscale="log", xlabel=r"temperature $\alpha$", ylabel="gain (points)")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=columns)
        return figure

    said = []
    for kind, table in swept.items():
        best = table.loc[table["gain"].idxmax()]
        said.append(f"{kind} tokens: {points(best.gain)} at most, at α = {best.alpha:g}, spread {spreads[kind]:.3f}")
    return restacked(
        draw, columns=2,
        alt="Gain of CALIP over CLIP in points against the temperature. " + "; ".join(said) + ".",
        caption="Gain against the temperature of both softmaxes, weights chosen on validation images, with 95 % "
        "intervals. Dotted: spread of the affinities over the tokens of an image.",
    )  # fmt: skip


def training_table(gains: pd.DataFrame) -> Table:
    """CALIP's gains along training, weights from validation images: how often they are clear, and the last ones."""
    chosen = gains[gains["protocol"] == "validation"]
    rows = {}
    for task, part in chosen.groupby("task", sort=False):
        losses = clear_gains(part.assign(gain=-part["gain"]), len(chosen))
        last = part.loc[part["samples"].idxmax()]
        rows[str(task)] = {
            "CLIP, first to last": f"{percent(part['clip'].iloc[0], 0)} to {percent(last['clip'], 0)}",
            "gains": f"{clear_gains(part, len(chosen)).sum()} of {len(part)}",
            "losses": f"{losses.sum()} of {len(part)}",
            "largest gain": points(part["gain"].max()),
            "last gain": f"{points(last['gain'])} {interval(last['gain_low'], last['gain_high'])}",
        }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        "CALIP against CLIP at the checkpoints of one training run, joint tokens, weights chosen on validation images, "
        "in points. Gains and losses: checkpoints at which McNemar's p is "
        f"below {LEVEL:g} divided by the {len(chosen)} checkpoints and tasks.",
    )


def conclusion(
    sweep: pd.DataFrame, tokens: str, temperatures: pd.DataFrame, spread: float, gains: pd.DataFrame
) -> Text:
    """What has to hold for CALIP to pay, and whether it held here.

    Args:
        sweep: from ``window.pool_sweep``.
        tokens: the kind of tokens in question.
        temperatures: from ``window.temperature_sweep``, with these tokens and a spoiled pool.
        spread: of the affinities of these tokens.
        gains: from ``training_gains.shipped_gains``.
    """
    shown = sweep[(sweep["tokens"] == tokens) & (sweep["protocol"] == "validation")]
    lines = [
        f"1. **Tokens that differ.** {tokens_sentence(sweep, tokens)}",
        f"2. **A pool that is imperfect but not broken.** {pool_sentence(shown)}",
        f"3. **A temperature near the spread of the affinities.** {temperature_sentence(temperatures, spread)}",
        f"4. **Training in place of spoiling.** {training_sentence(gains)}",
        "",
        verdict(shown),
    ]
    return Text("\n".join(lines))


def tokens_sentence(sweep: pd.DataFrame, tokens: str) -> str:
    """Whether the text-attended term of these tokens knows the class, where that of joint tokens does not."""
    rows = sweep[(sweep["amount"] == 0) & (sweep["protocol"] == "validation")].set_index(["tokens", "task"])
    if tokens == "joint":
        cosine = rows.loc["joint", "cosine"].mean()
        return f"Joint tokens have a mean cosine of {cosine:.2f} with the pooled feature: at 1 there is nothing new."
    own, copies = rows.loc[tokens], rows.loc["joint"]
    better = own["text_alone"] > copies["text_alone"]
    said = f"The text-attended term alone is right on {_range(own['text_alone'])} of the images with {tokens} tokens, "
    said += f"and on {_range(copies['text_alone'])} with joint tokens (mean cosine {copies['cosine'].mean():.2f})."
    if better.all():
        return said + " So there is something to attend to."
    if better.any():
        return said + f" Joint tokens do better on {listed(better.index[~better])}."
    return said + f" Here {tokens} tokens know no more than joint tokens."


def pool_sentence(shown: pd.DataFrame) -> str:
    """On which tasks the gain has a window in lambda: clear inside, and smaller at CLIP's own pool."""
    tasks = list(dict.fromkeys(shown["task"]))
    inside = {task: _window(shown[shown["task"] == task]) for task in tasks}
    with_window = [task for task in tasks if inside[task] is not None]
    without = [task for task in tasks if inside[task] is None]
    if not with_window:
        return r"No value of $\lambda$ makes a clear gain that CLIP's own pool does not make: there is no window here."
    best = "; ".join(f"{points(inside[t].gain)} points at {inside[t].amount:g} on {t}" for t in with_window)
    said = rf"The gain is clear at a middle $\lambda$ and smaller at $\lambda = 0$ and 1: {best}."
    return said if not without else f"{said} There is no such window on {listed(without)}."


def _window(rows: pd.DataFrame) -> Any:
    """The row of the largest gain strictly between the ends of lambda, if it is clear and above both ends."""
    ordered = rows.sort_values("amount")
    inner = ordered.iloc[1:-1]
    best = inner.loc[inner["gain"].idxmax()]
    ends = ordered["gain"].iloc[[0, -1]].max()
    return best if clear_gains(ordered)[best.name] and best.gain > ends else None


def temperature_sentence(temperatures: pd.DataFrame, spread: float) -> str:
    """Where on the axis of temperatures the gain has its peak."""
    ordered = temperatures.sort_values("alpha")
    best = ordered.loc[ordered["gain"].idxmax()]
    if not clear_gains(ordered)[best.name]:
        return "At no temperature is there a clear gain with the spoiled pool, so there is no peak to find."
    said = (
        f"The largest gain, {points(best.gain)} points, is at α = {best.alpha:g}, {best.alpha / spread:.1f} times the "
    )
    said += f"spread of {spread:.2f}; "
    ends = ordered["gain"].iloc[[0, -1]]
    said += f"at α = {ordered['alpha'].iloc[0]:g} and {ordered['alpha'].iloc[-1]:g} it is {points(ends.iloc[0])} and "
    said += f"{points(ends.iloc[1])}."
    if best.name in ends.index:
        return said + " The peak is at the end of what was tried."
    return said


def training_sentence(gains: pd.DataFrame) -> str:
    """How often CALIP gained clearly along the training run, and whether it does at its end."""
    chosen = gains[gains["protocol"] == "validation"]
    clear = clear_gains(chosen)
    last = chosen["samples"] == chosen["samples"].max()
    count = f"{clear.sum()} of {len(chosen)} checkpoints and tasks"
    if not clear.any():
        return (
            f"Along the training of mini-vit there is no clear gain at any of {len(chosen)} checkpoints and tasks. A "
            "network that is poorly trained is not a good network with a spoiled pool."
        )
    when = ", ".join(f"{row.task} after {row.samples:,} pictures" for row in chosen[clear].itertuples())
    said = f"Along the training of mini-vit the gain is clear at {count} ({when})"
    return said + (", also at the end." if (clear & last).any() else ", and at none when training ends.")


def verdict(shown: pd.DataFrame) -> str:
    """On which tasks CALIP pays with the pool as it is."""
    untouched = shown[shown["amount"] == 0]
    clear = clear_gains(untouched)
    if not clear.any():
        return (
            "**Verdict.** With CLIP's own pool CALIP has a clear gain on none of these tasks: this network leaves a "
            "second attention little to do."
        )
    names = listed(untouched.loc[clear, "task"])
    if clear.all():
        return f"**Verdict.** Even with CLIP's own pool CALIP pays on every task: {names}."
    return f"**Verdict.** With CLIP's own pool CALIP pays on {names}, and on none of the others."


def _gain_line(ax: Axes, rows: pd.DataFrame, along: str, name: str, colour: str) -> None:
    """Gains in points with their intervals, and the line of no gain."""
    gain = 100 * rows["gain"]
    ends = np.stack([gain - 100 * rows["gain_low"], 100 * rows["gain_high"] - gain])
    ax.axhline(0, color=MUTED, linewidth=1)
    ax.errorbar(
        rows[along], gain, yerr=ends.clip(min=0), marker="o", markersize=5, color=colour, label=name, linewidth=1.8
    )


def _span(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _range(shares: pd.Series) -> str:
    low, high = percent(shares.min()), percent(shares.max())
    return low if low == high else f"{low} to {high}"
