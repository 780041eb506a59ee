"""The exhibits of chapter 3: affinities, the parts of the text term, the visual prior, and the temperature."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from calip_core.evaluation.record import Record
from calip_core.exhibits.exhibit import Plot, Table, percent, points, restacked
from calip_core.exhibits.pictures import Heat, Picture, bare, draw_heat, heat_bar
from calip_core.exhibits.results import where
from calip_core.exhibits.slider import Slider
from calip_core.exhibits.style import PHONE_WIDTH, WIDTH, panels
from calip_core.metrics import accuracy

Logits = Float[Tensor, "n k"]
Labels = Int[np.ndarray, " n"]
_VISUAL_PRIORS = {"keep": "kept, as released", "constant": "constant removed", "mean": "mean removed"}


def affinities(picture: Picture, maps: Mapping[str, Sequence[Heat]], classnames: Sequence[str], truth: str) -> Plot:
    """How well every place of an image fits a few classes, one row per kind of tokens.

    Args:
        picture: the image as the backbone sees it.
        maps: kind of tokens -> one map of cosines per class.
        classnames: the classes, one per map.
        truth: the name of the image's class.
    """
    spans = {kind: (float(np.min(heats)), float(np.max(heats))) for kind, heats in maps.items()}
    said = "; ".join(f"{kind} tokens from {low:.2f} to {high:.2f}" for kind, (low, high) in spans.items())
    said = said.replace("-", "−")
    return restacked(
        partial(_draw_affinities, picture, maps, classnames, spans),
        columns=1 + len(classnames),
        narrow=2,
        alt=f"An image of class {truth}, and maps of the cosines of its tokens with {', '.join(classnames)}. Cosines "
        f"run, for {said}.",
        caption="Affinity of an image's tokens with the classes that CLIP likes best. A row has one colour scale; the "
        "cross marks the hottest token.",
    )


def _draw_affinities(
    picture: Picture,
    maps: Mapping[str, Sequence[Heat]],
    classnames: Sequence[str],
    spans: Mapping[str, tuple[float, float]],
    columns: int,
) -> Figure:
    rows = len(maps) * -(-(1 + len(classnames)) // columns)
    width = WIDTH if columns > 2 else PHONE_WIDTH
    figure, grid = plt.subplots(
        rows, columns, figsize=(width, ((width - 0.9) / columns + 0.25) * rows), squeeze=False, layout="constrained"
    )
    per_kind = rows // len(maps)
    for i, (kind, heats) in enumerate(maps.items()):
        axes = list(grid[i * per_kind : (i + 1) * per_kind].flat)
        axes[0].imshow(picture)
        axes[0].set_ylabel(f"{kind} tokens", fontsize=10)
        axes[0].set_title("image", fontsize=10)
        for ax, name, heat in zip(axes[1:], classnames, heats, strict=False):
            draw_heat(ax, picture, heat, spans[kind])
            ax.set_title(shorten(name, 16, placeholder=" …"), fontsize=10)
        for spare in axes[1 + len(classnames) :]:
            spare.remove()
        axes = axes[: 1 + len(classnames)]
        bar = heat_bar(figure, axes, spans[kind], aspect=12 * per_kind)
        bar.set_label("cosine", fontsize=9)
        bar.ax.tick_params(labelsize=9)
    for ax in grid.flat:
        bare(ax)
    return figure


def between_classes(values: Logits) -> Logits:
    """What is left when the part that all classes share is removed: it alone decides."""
    return values - values.mean(dim=1, keepdim=True)


def parts(named: Mapping[str, Logits], labels: Labels, about: str) -> Table:
    """The summands of a term: how large each is between classes, and where it puts the true class.

    Args:
        named: name -> summand.
        labels: the classes of the images.
        about: what was measured, for the caption.
    """
    rows = {}
    for name, values in named.items():
        rows[name] = {
            "size between classes": f"{float(between_classes(values).square().mean().sqrt()):.1e}",
            "true class first": accuracy(values, labels),
            "true class last": accuracy(-values, labels),
        }
    chance = 1 / next(iter(named.values())).shape[1]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{about}. Size: root mean square after the mean over classes is removed. A guess would put the true class "
        f"first in {percent(chance)}, and last as often.",
        {"true class first": percent, "true class last": percent},
    )


def prior(alone: Mapping[tuple[str, float], Record], blended: Mapping[str, Record]) -> Table:
    """The visual-attended term before and after its prior is removed, and the blend of which it is a part.

    Args:
        alone: (prior, temperature) -> the record of the term alone.
        blended: prior -> the record of CALIP with all three terms.
    """
    rows: dict[str, dict[str, str]] = {}
    for (kind, alpha), record in alone.items():
        row = rows.setdefault(_VISUAL_PRIORS[kind], {"sees": record.head.sees})
        row[f"alone, α = {alpha:g}"] = percent(record.score.top1)
    for kind, record in blended.items():
        score = record.score
        rows[_VISUAL_PRIORS[kind]] |= {
            "β₂, β₃": f"{record.choice.values['beta2']:.2f}, {record.choice.values['beta3']:.2f}",
            "CALIP": percent(score.top1),
            "gain": f"{points(score.gain)} ({score.only_method} : {score.only_clip})",
        }
    record = next(iter(blended.values()))
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{where(record)}, {record.encoder.tokens} tokens, {record.data.images} test images."
        " Alone: accuracy of the visual-attended term. CALIP: all three terms, weights by the protocol "
        f"{record.choice.protocol}; gain in points over CLIP ({percent(record.score.clip_top1)}), with the images that "
        "only CALIP and only CLIP get right.",
    )


def temperature_slider(picture: Picture, maps: Mapping[str, Heat], alphas: Sequence[float], classname: str) -> Slider:
    """Where one class looks, with a slider for the temperature; all maps and frames have one colour scale.

    Args:
        picture: the image as the backbone sees it.
        maps: kind of tokens -> their cosines with the class.
        alphas: the temperatures.
        classname: the class.
    """
    frames = {alpha: {kind: _attention(heat, alpha) for kind, heat in maps.items()} for alpha in alphas}
    top = max(float(heat.max()) for heats in frames.values() for heat in heats.values())
    places = next(iter(maps.values())).size
    plots = []
    for alpha, heats in frames.items():
        said = "; ".join(f"{kind} tokens {heat.min():.3f} to {heat.max():.3f}" for kind, heat in heats.items())
        plots.append(
            restacked(
                partial(_draw_frame, picture, heats, top),
                columns=1 + len(heats),
                narrow=2,
                alt=f"Attention of {classname} over the image at temperature {alpha:g}: {said}. Even weights would be "
                f"{1 / places:.3f}.",
                caption=f"Where “{classname}” looks at α = {alpha:g}. All maps share one colour scale. The order of "
                "the tokens is the same at every temperature; only the contrast changes.",
            )
        )
    return Slider("temperature α", [f"{alpha:g}" for alpha in alphas], plots)


def _attention(cosines: Heat, alpha: float) -> Heat:
    """A softmax over all places."""
    weights = np.exp((cosines - cosines.max()) / alpha)
    return np.asarray(weights / weights.sum())


def _draw_frame(picture: Picture, heats: Mapping[str, Heat], top: float, columns: int) -> Figure:
    width = min(WIDTH if columns > 2 else PHONE_WIDTH, 2.2 * columns + 0.8)
    figure, axes = panels(
        1 + len(heats), columns, width=width, height=(width - 0.8) / columns + 0.3, layout="constrained"
    )
    axes[0].imshow(picture)
    axes[0].set_title("image", fontsize=10)
    for ax, (kind, heat) in zip(axes[1:], heats.items(), strict=True):
        draw_heat(ax, picture, heat, (0.0, top))
        ax.set_title(f"{kind} tokens", fontsize=10)
    for ax in axes:
        bare(ax)
    heat_bar(figure, axes, (0.0, top), label="weight", shrink=0.85)
    return figure
