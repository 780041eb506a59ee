"""CALIP's idea in one figure."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from calip_core.exhibits.heatmaps import HEAT_COLOURS, Picture, draw_heat, token_grid
from calip_core.exhibits.style import WIDTH


def idea(
    image: Picture, affinity: Float[np.ndarray, "k gh gw"], classnames: Sequence[str], grid: tuple[int, int]
) -> Figure:
    """CALIP's idea in one figure: the parts of an image, and how well each part matches each class name."""
    figure, axes = plt.subplots(1, len(classnames) + 1, figsize=(WIDTH, 2.5), layout="constrained")
    token_grid(axes[0], image, grid)
    axes[0].set_title("parts of the image", fontsize=10)
    limits = float(affinity.min()), float(affinity.max())
    for ax, name, heat in zip(axes[1:], classnames, affinity, strict=True):
        draw_heat(ax, image, heat, limits)
        ax.set_title(f'"{name}"', fontsize=10)
        ax.set(xticks=[], yticks=[])
    colours = plt.cm.ScalarMappable(Normalize(*limits), cmap=HEAT_COLOURS)
    figure.colorbar(colours, ax=axes[1:], label="cosine", shrink=0.8)
    return figure
