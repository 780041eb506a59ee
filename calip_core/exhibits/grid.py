"""The exhibits of chapter 2: heat-maps over an image, the pool as an attention, and what spatial tokens are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import cosine_similarity

from calip_core.analysis.token_geometry import mean_token_cosines, off_diagonal_mean, variance_shares
from calip_core.backbones.names import backbone_label
from calip_core.exhibits.exhibit import Plot, Table, interval, percent, restacked
from calip_core.exhibits.pictures import HEAT_COLOURS, Heat, Picture, bare, draw_heat, heat_bar
from calip_core.exhibits.style import MUTED, PALETTE, PHONE_WIDTH, WIDTH, panels
from calip_core.metrics import accuracy_interval, correct_predictions, wilson_interval
from calip_core.tokens import ImageTokens

Hits = Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class HeatRow:
    """One image and the heat-maps drawn over it, in the order of the columns.

    Attributes:
        image: red, green and blue in [0, 1].
        heats: one map per column, with one number per token.
        title: label at the left of the row.
    """

    image: Picture
    heats: Sequence[Heat]
    title: str = ""


def heat_map_table(rows: Sequence[HeatRow], columns: Sequence[str], *, width: float = WIDTH) -> Figure:
    """One image per row, one heat-map per column; the maps of a row share one colour scale, drawn beside them.

    Rows do not share scales: tokens differ more between images than within one, so a common scale would hide the
    structure of each.

    Args:
        rows: images with their maps.
        columns: titles of the maps.
        width: of the figure, in inches.

    Raises:
        ValueError: the number of maps in a row differs from the number of columns.
    """
    for row in rows:
        if len(row.heats) != len(columns):
            raise ValueError(f"{len(row.heats)} maps for {len(columns)} columns: give as many")
    side = min(1.75, (width - 0.9) / (len(columns) + 1))
    figure, axes = plt.subplots(
        len(rows), len(columns) + 1, squeeze=False, layout="constrained",
        figsize=(side * (len(columns) + 1) + 0.9, side * len(rows) + 0.4),
    )  # fmt: skip
    for row, line in zip(rows, axes, strict=True):
        limits = min(float(heat.min()) for heat in row.heats), max(float(heat.max()) for heat in row.heats)
        line[0].imshow(row.image)
        line[0].set_ylabel("\n".join(wrap(row.title, 18)), fontsize=9)
        for ax, heat in zip(line[1:], row.heats, strict=True):
            draw_heat(ax, row.image, heat, limits)
        for ax in line:
            bare(ax)
        bar = heat_bar(figure, list(line), limits, aspect=12, fraction=0.05, pad=0.01)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        bar.ax.tick_params(labelsize=9)
    for ax, title in zip(axes[0], ["image", *columns], strict=True):
        ax.set_title(title, fontsize=10)
    return figure


def token_maps(
    pictures: Sequence[Picture],
    heats: Mapping[str, Float[Tensor, "n m"]],
    grid: tuple[int, int],
    titles: Sequence[str],
    *,
    backbone: str,
) -> Plot:
    """Heat-maps of several kinds of tokens over the same images.

    Args:
        pictures: the images as the backbone sees them (``picture_seen``).
        heats: kind of tokens -> for each image, the cosine of each token with the text of the image's class.
        grid: rows and columns of the tokens.
        titles: names of the images' classes.
        backbone: its name.
    """
    rows = [
        HeatRow(
            picture,
            [heat[i].unflatten(0, grid).double().cpu().numpy() for heat in heats.values()],
            titles[i],
        )
        for i, picture in enumerate(pictures)
    ]
    columns = [kind.replace("_", "-") for kind in heats]
    spans = {kind: float((heat.amax(dim=1) - heat.amin(dim=1)).mean()) for kind, heat in heats.items()}
    within = ", ".join(f"{span:.3f} ({kind})" for kind, span in spans.items())
    name = backbone_label(backbone)
    return Plot(
        heat_map_table(rows, columns),
        narrow=heat_map_table(rows, columns, width=PHONE_WIDTH),
        alt=f"Images with heat-maps of their class ({', '.join(titles)}) from the {' and '.join(columns)} tokens of "
        f"{name}, a grid of {grid[0]} by {grid[1]}. Within an image, the cosines span on average {within}.",
        caption=f"Cosine of each token of {name} with the text of the image's class. The maps of a row share one "
        f"colour scale; a cross marks the hottest token. Within an image, the cosines span on average {within}.",
    )


def pool_attention(weights: Float[Tensor, "n heads q m"], *, backbone: str) -> Plot:
    """Where each query of CLIP's attention pool looks, on average over images and heads.

    Args:
        weights: softmax weights of every query over all tokens; query and token 0 are the mean of all places.
        backbone: its name.
    """
    looks = weights.mean(dim=(0, 1)).double().cpu().numpy()
    # Compared head by head: heads with equal averages need not be equal
    shared = torch.minimum(weights[:, :, :1], weights[:, :, 1:]).sum(dim=-1).mean().item()
    name, places = backbone_label(backbone), looks.shape[0] - 1
    return Plot(
        _draw_pool_attention(looks, (4.0, 2.6)),
        narrow=_draw_pool_attention(looks, (3.7, 2.9)),
        alt=f"Matrix of the pool's attention weights with {places + 1} rows that look alike: a query of a place shares "
        f"{percent(shared, 0)} of its attention with the query of the mean.",
        caption=f"Attention weights of {name}'s pool, mean over {len(weights)} images and {weights.shape[1]} heads. "
        f"Row $i$ shows where token $i$ looks. On average a place spends {percent(shared, 0)} of its attention as "
        "the mean token does, head by head; with 100 % all joint tokens would equal the pooled vector.",
    )


def _draw_pool_attention(looks: Float[np.ndarray, "q m"], size: tuple[float, float]) -> Figure:
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    image = ax.imshow(looks, cmap=HEAT_COLOURS, vmin=0)
    ax.set(xlabel="attended token $j$ (0: the mean)", ylabel="asking token $i$ (0: the mean)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    figure.colorbar(image, ax=ax, label="mean weight $a_{ij}$")
    return figure


def pool_table(
    outputs: Mapping[str, Float[Tensor, "n c"]],
    text: Float[Tensor, "k c"],
    labels: Int[np.ndarray, " n"],
    *,
    backbone: str,
) -> Table:
    """How near other ways to pool come to CLIP's: cosine with its output, and zero-shot accuracy.

    Args:
        outputs: way to pool -> one vector per image; the first is CLIP's own.
        text: class vectors.
        labels: class numbers.
        backbone: its name.
    """
    own = next(iter(outputs.values()))
    rows = {}
    for way, output in outputs.items():
        hits = correct_predictions(output @ text.T, labels)
        cosine = float(cosine_similarity(output, own).mean())
        rows[way] = [f"{cosine:.3f}", *_share(hits)]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index", columns=["cosine with the pool", "accuracy", "95 % interval"]),
        caption=f"The pool of {backbone_label(backbone)} beside simpler ones on {len(labels)} images. Accuracy is "
        "zero-shot.",
    )


def token_table(tokens: Mapping[tuple[str, str], ImageTokens], *, task: str) -> Table:
    """How alike the tokens of one image are, and where their variance lies.

    Args:
        tokens: (backbone, kind of tokens) -> the tokens of the same images.
        task: title of the task.
    """
    rows = {}
    for (backbone, kind), found in tokens.items():
        pooled = float((found.spatial @ found.pooled.unsqueeze(2)).mean())
        within = off_diagonal_mean(mean_token_cosines(found.spatial))
        shares = variance_shares(found.spatial)
        rows[f"{backbone_label(backbone)}, {kind}"] = [pooled, within, shares.image, shares.place, shares.rest]
    columns = ["cosine with pooled", "cosine with each other", "image", "place", "own"]
    return Table(
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        caption=f"Spatial tokens on {len(next(iter(tokens.values())))} images of {task}: mean cosines, and the shares "
        "of the tokens' variance.",
        formats=dict.fromkeys(columns[:2], "{:.3f}") | dict.fromkeys(columns[2:], percent),
    )


def pointing_game(hits: Mapping[str, Mapping[str, Hits]], on_object: Mapping[str, Bool[np.ndarray, "n m"]]) -> Plot:
    """Fractions of scenes whose hottest token lies on the object, beside two players that never look.

    Args:
        hits: backbone -> kind of tokens -> whether each scene was hit.
        on_object: backbone -> which tokens of each scene count as hits.
    """
    groups = {}
    for backbone, kinds in hits.items():
        cells = on_object[backbone]
        seen = [Estimate(f"{kind} tokens", int(hit.sum()), len(hit)) for kind, hit in kinds.items()]
        fixed = Estimate("best fixed cell", int(cells.sum(axis=0).max()), len(cells))
        groups[backbone_label(backbone)] = [
            *seen,
            fixed,
            Estimate("random cell", float(cells.mean() * len(cells)), len(cells)),
        ]
    scenes = len(next(iter(on_object.values())))
    summary = "; ".join(
        f"{name}: " + ", ".join(f"{e.label} {percent(e.share, 0)}" for e in estimates)
        for name, estimates in groups.items()
    )
    return restacked(
        lambda columns: _estimates_chart(groups, columns), columns=2,
        alt=f"Fractions of {scenes} scenes in which the hottest token lies on the object. {summary}.",
        caption=f"The pointing game on {scenes} scenes, with 95 % intervals. {summary}. The best fixed cell is chosen "
        "with hindsight on these scenes.",
    )  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A count of successes, drawn as a fraction with its 95 % interval.

    Attributes:
        label: what was counted.
        hits: successes.
        total: trials.
    """

    label: str
    hits: float
    total: int

    @property
    def share(self) -> float:
        """The fraction of successes."""
        return self.hits / self.total


def _estimates_chart(groups: Mapping[str, Sequence[Estimate]], columns: int) -> Figure:
    """One panel per group; fractions that come from no map are grey diamonds."""
    height = 0.3 * max(map(len, groups.values())) + 1.0
    figure, axes = panels(
        len(groups), columns, width=min(WIDTH, 3.7 * columns + 0.5), height=height, layout="constrained", sharey=True
    )
    for ax, (title, estimates) in zip(axes, groups.items(), strict=True):
        for row, estimate in enumerate(estimates):
            _draw_estimate(ax, row, estimate)
        ax.set_yticks(range(len(estimates)), [estimate.label for estimate in estimates])
        ax.set(title=title, xlabel="hottest token on the object (%)", xlim=(0, 100))
        ax.set_ylim(len(estimates) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", alpha=0.3)
    return figure


def _draw_estimate(ax: Axes, row: int, estimate: Estimate) -> None:
    if not estimate.label.endswith("tokens"):
        ax.plot(100 * estimate.share, row, "D", color=MUTED, markersize=6, fillstyle="none")
        return
    found = wilson_interval(int(estimate.hits), estimate.total)
    ax.plot([100 * found.low, 100 * found.high], [row, row], color=PALETTE[0], linewidth=2.5, solid_capstyle="butt")
    ax.plot(100 * estimate.share, row, "o", color=PALETTE[0], markersize=6)


def _share(hits: Hits) -> tuple[str, str]:
    found = accuracy_interval(hits)
    return percent(float(hits.mean())), interval(found.low, found.high)
