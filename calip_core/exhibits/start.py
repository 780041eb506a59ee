"""The exhibits of chapter 0: one image for CLIP and CALIP, the three terms, and the window in which CALIP pays."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import shorten

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from calip_core.exhibits.exhibit import Plot, Table, interval, percent, points, restacked, signed
from calip_core.exhibits.pictures import Heat, Picture, bare, draw_heat, heat_bar
from calip_core.exhibits.style import MUTED, PALETTE, PHONE_WIDTH, WIDTH, panels
from calip_core.metrics import accuracy_interval, correct_predictions, mcnemar, paired_interval
from calip_core.tokens import CalipLogits, ImageTokens

Hits = Bool[np.ndarray, " n"]
_TERMS = {"clip": "CLIP", "text_attended": "text attended", "visual_attended": "visual attended"}


def one_image(
    picture: Picture,
    tokens: Mapping[str, ImageTokens],
    logits: Mapping[str, CalipLogits],
    text: Float[Tensor, "k c"],
    classnames: Sequence[str],
    truth: int,
    example: int,
) -> Plot:
    """An image, how well each of its places fits CLIP's answer, and the three logits of its likeliest classes.

    Args:
        picture: the image as the backbone sees it.
        tokens: kind of spatial tokens -> tokens of all images.
        logits: kind of spatial tokens -> logits of all images.
        text: one vector per class.
        classnames: one per class.
        truth: the image's class.
        example: the image's row in ``tokens`` and ``logits``.
    """
    scores = next(iter(logits.values())).clip[example]
    likely = scores.topk(min(4, len(classnames))).indices.tolist()
    heats = {kind: _heat(part, text[likely[0]], example) for kind, part in tokens.items()}
    rows = [shorten(classnames[k], 20, placeholder=" …") + " (true)" * (k == truth) for k in likely]
    bars = _contrasts(logits, likely, example)

    named = classnames[likely[0]]
    spans = "; ".join(f"{kind} tokens {heat.min():.2f} to {heat.max():.2f}" for kind, heat in heats.items())
    leads = "; ".join(
        f"{title}, {kind} {signed(values[0])}" if kind else f"{title} {signed(values[0])}"
        for title, series in bars.items()
        for kind, values in series.items()
    )
    return restacked(
        partial(_draw_one_image, picture, heats, bars, rows),
        columns=1 + len(heats),
        alt=f"An image of class {classnames[truth]}; maps of how well each of its places fits “{named}”, CLIP's answer "
        f"({spans.replace('-', '−')}); and three bar charts of logits. Logit of {named} above the mean of all "
        f"classes: {leads}.",
        caption=f"Top: the cosine of each place with “{named}”, CLIP's answer, on one colour scale; the cross marks "
        "the best place. Bottom: the logits of CLIP's likeliest classes above the mean of all classes, for CLIP's "
        "pooled vector and for CALIP's two attended terms.",
    )


def terms(logits: Mapping[str, CalipLogits], labels: Sequence[int], blend: tuple[float, float], about: str) -> Table:
    """Accuracy of CLIP, of each attended term alone, and of the blend, for each kind of tokens.

    Args:
        logits: kind of spatial tokens -> logits.
        labels: one per image.
        blend: beta2 and beta3, fixed beforehand.
        about: what was measured, for the caption.
    """
    clip = correct_predictions(next(iter(logits.values())).clip, labels)
    rows = {"CLIP": _share(clip)}
    for kind, part in logits.items():
        rows[f"{kind}: text attended, alone"] = _share(correct_predictions(part.text_attended, labels))
        rows[f"{kind}: visual attended, alone"] = _share(correct_predictions(part.visual_attended, labels))
        both = correct_predictions(part.combine(beta2=blend[0], beta3=blend[1]), labels)
        rows[f"{kind}: CALIP, all three"] = _share(both) | _against(both, clip)
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}. CALIP: β₂ = {blend[0]:g}, β₃ = {blend[1]:g}, fixed beforehand. Last column: images that only this "
        "line or only CLIP gets right, and McNemar's p.",
        {"accuracy": percent},
    )


def window(clip: Mapping[float, Hits], calip: Mapping[str, Mapping[float, Hits]], about: str) -> Plot:
    """CLIP and CALIP while the pooled vector gets worse: accuracies, and gains with their 95 % intervals.

    Args:
        clip: λ -> which images CLIP gets right.
        calip: kind of tokens -> λ -> which images CALIP gets right.
        about: what was measured, for the caption.
    """
    amounts = list(clip)
    gains = {kind: [_gain(found[a], clip[a]) for a in amounts] for kind, found in calip.items()}

    curves = ". ".join(f"CALIP with {kind} tokens: {_summary(amounts, found)}" for kind, found in gains.items())
    return restacked(
        partial(_draw_window, clip, calip, gains),
        columns=2,
        alt=f"Accuracy and gain over CLIP against λ from {amounts[0]:g} to {amounts[-1]:g}. CLIP falls from "
        f"{percent(clip[amounts[0]].mean())} to {percent(clip[amounts[-1]].mean())}. {curves}.",
        caption=f"{about}. First: accuracy while the pooled vector is spoiled on purpose. Then: CALIP's gain on the "
        "same images, with 95 % intervals.",
    )


def _heat(tokens: ImageTokens, row: Float[Tensor, " c"], example: int) -> Heat:
    return np.asarray((tokens.spatial[example] @ row).double().cpu().unflatten(0, tokens.grid).numpy())


def _contrasts(
    logits: Mapping[str, CalipLogits], classes: Sequence[int], example: int
) -> dict[str, dict[str, list[float]]]:
    """Term -> kind of tokens -> logit of each class above the mean of all classes; CLIP's has no kind."""
    found: dict[str, dict[str, list[float]]] = {title: {} for title in _TERMS.values()}
    for kind, part in logits.items():
        for name, title in _TERMS.items():
            values = getattr(part, name)[example].double()
            found[title]["" if name == "clip" else kind] = (values - values.mean())[list(classes)].tolist()
    return found


def _draw_one_image(
    picture: Picture,
    heats: Mapping[str, Heat],
    bars: Mapping[str, Mapping[str, list[float]]],
    rows: Sequence[str],
    columns: int,
) -> Figure:
    wide, places = columns > 1, 1 + len(heats)
    figure, axes = panels(places + len(bars), columns, width=WIDTH if wide else PHONE_WIDTH, height=2.3)
    axes[0].imshow(picture)
    axes[0].set_title("the image")
    limits = min(map(np.min, heats.values())), max(map(np.max, heats.values()))
    for ax, (kind, heat) in zip(axes[1:], heats.items(), strict=False):
        draw_heat(ax, picture, heat, limits)
        ax.set_title(f"{kind} tokens")
    for ax in axes[:places]:
        bare(ax)
    heat_bar(figure, axes[len(heats)], limits, label="cosine", fraction=0.046)
    for place, (ax, (title, values)) in enumerate(zip(axes[places:], bars.items(), strict=True)):
        _draw_bars(ax, title, values, rows if place == 0 or not wide else None)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=len(heats))
    return figure


def _draw_bars(ax: Axes, title: str, series: Mapping[str, Sequence[float]], names: Sequence[str] | None) -> None:
    thick = 0.8 / len(series)
    for place, (kind, values) in enumerate(series.items()):
        where = np.arange(len(values)) + thick * (place - (len(series) - 1) / 2)
        ax.barh(where, values, thick, color=PALETTE[place] if kind else MUTED, label=f"{kind} tokens")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(names)) if names else [], names or [])
    ax.invert_yaxis()
    ax.spines["left"].set_visible(False)  # the line at zero takes its place
    ax.tick_params(axis="y", length=0)
    ax.set(title=title, xlabel="logit above mean")


def _draw_window(
    clip: Mapping[float, Hits],
    calip: Mapping[str, Mapping[float, Hits]],
    gains: Mapping[str, Sequence[tuple[float, float, float]]],
    columns: int,
) -> Figure:
    figure, (left, right) = panels(2, columns, width=WIDTH if columns > 1 else PHONE_WIDTH, height=3.2)
    amounts = np.array(list(clip))
    left.plot(amounts, [100 * hits.mean() for hits in clip.values()], "s-", color=MUTED, label="CLIP")
    for place, (kind, found) in enumerate(calip.items()):
        colour, label = PALETTE[place], f"CALIP, {kind} tokens"
        left.plot(amounts, [100 * hits.mean() for hits in found.values()], "o-", color=colour, label=label)
        middle, low, high = (100 * np.array(part) for part in zip(*gains[kind], strict=True))
        apart = amounts + 0.012 * (place - (len(calip) - 1) / 2)  # so that intervals do not hide one another
        right.errorbar(apart, middle, np.array([middle - low, high - middle]), fmt="o-", color=colour, capsize=3)
    right.axhline(0, color=MUTED, linestyle="--", linewidth=1)
    left.set(xlabel="λ: share of the spoiled pool", ylabel="accuracy (%)")
    right.set(xlabel="λ: share of the spoiled pool", ylabel="gain over CLIP (points)")
    left.legend(loc="lower left")
    return figure


def _share(found: Hits) -> dict[str, str | float]:
    share = accuracy_interval(found)
    return {"accuracy": float(found.mean()), "95 % interval": interval(share.low, share.high)}


def _against(found: Hits, clip: Hits) -> dict[str, str | float]:
    test = mcnemar(found, clip)
    return {
        "gain, points": points((test.only_a - test.only_b) / len(clip)),
        "only it : only CLIP (p)": f"{test.only_a} : {test.only_b} ({test.p_value:.1g})",
    }


def _gain(found: Hits, clip: Hits) -> tuple[float, float, float]:
    test = mcnemar(found, clip)
    span = paired_interval(test.only_a, test.only_b, len(clip))
    return (test.only_a - test.only_b) / len(clip), span.low, span.high


def _summary(amounts: Sequence[float], gains: Sequence[tuple[float, float, float]]) -> str:
    values = [gain for gain, _, _ in gains]
    best = int(np.argmax(values))
    return (
        f"{points(values[0])} points at λ = {amounts[0]:g}, at most {points(values[best])} at λ = {amounts[best]:g}, "
        f"{points(values[-1])} at λ = {amounts[-1]:g}"
    )
