"""Pictures in figures, for every chapter: heat-maps over an image, and grids of images with a few words under each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import Compose
from torchvision.transforms import Normalize as Standardise

from calip_core.exhibits.style import BAD, GOOD, MUTED, PHONE_WIDTH, WIDTH, panels

# Designed for colour-blind readers; its uniform lightness stays legible over a grey image.
HEAT_COLOURS = "cividis"
_OPACITY = 0.55  # of a heat-map over its image
_THUMBNAIL = 192  # pixels along the longer side of a picture in a grid

Picture = Float[np.ndarray, "h w 3"]
Heat = Float[np.ndarray, "gh gw"]


def picture_seen(image: Image.Image, preprocess: Compose) -> Picture:
    """The image as a backbone sees it: cropped and resized, but not standardised.

    Args:
        image: the original.
        preprocess: the backbone's chain of transforms, ``backbone.preprocess``.
    """
    for step in preprocess.transforms:
        if not isinstance(step, Standardise):
            image = step(image)
    return np.asarray(torch.as_tensor(image).permute(1, 2, 0), dtype=float)


def upsample(heat: Heat, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Interpolate a map of tokens bilinearly to ``size`` pixels, with each token's value at the centre of its cell."""
    values = torch.from_numpy(np.ascontiguousarray(heat)).double()[None, None]
    return interpolate(values, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def draw_heat(ax: Axes, image: Picture, heat: Heat, limits: tuple[float, float]) -> None:
    """Overlay a heat-map on the image in grey, and mark the centre of the hottest token's cell with a cross."""
    height, width = image.shape[:2]
    ax.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=1)
    ax.imshow(upsample(heat, (height, width)), cmap=HEAT_COLOURS, vmin=limits[0], vmax=limits[1], alpha=_OPACITY)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    x, y = (column + 0.5) * width / heat.shape[1] - 0.5, (row + 0.5) * height / heat.shape[0] - 0.5
    ax.plot(x, y, marker="P", markersize=9, color="white", markeredgecolor="black")


def heat_bar(figure: Figure, axes: Axes | Sequence[Axes], limits: tuple[float, float], **options: Any) -> Colorbar:
    """The opaque colour bar of heat-maps, which are drawn with less opacity."""
    return figure.colorbar(ScalarMappable(Normalize(*limits), HEAT_COLOURS), ax=axes, **options)


def bare(ax: Axes) -> None:
    """Remove ticks and frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def first_of_each(labels: Int[np.ndarray, "n"], classnames: Sequence[str], most: int) -> dict[str, int]:
    """Class name -> number of its first image, for up to ``most`` classes that have one."""
    numbers = {name: np.flatnonzero(labels == label) for label, name in enumerate(classnames)}
    return dict([(name, int(found[0])) for name, found in numbers.items() if len(found)][:most])


def picture_grid(
    pictures: Sequence[Image.Image], titles: Sequence[str], right: Sequence[bool] | None, columns: int
) -> Figure:
    """Pictures with a few lines of text under each; if ``right`` is given, each has a blue or vermilion frame.

    Args:
        pictures: in the order of the rows.
        titles: one per picture.
        right: whether each picture's answer is right.
        columns: pictures per row; up to two are drawn for a phone.
    """
    lines = max(title.count("\n") + 1 for title in titles)
    width = WIDTH if columns > 2 else PHONE_WIDTH
    side = width / min(columns, len(pictures))
    figure, axes = panels(len(pictures), columns, width=width, height=min(1.75, side) + 0.19 * lines)
    for place, (ax, picture, title) in enumerate(zip(axes, pictures, titles, strict=True)):
        ax.imshow(_thumbnail(picture))
        ax.set(xticks=[], yticks=[])
        ax.set_xlabel(title, fontsize=9)
        for spine in ax.spines.values():
            spine.set_visible(right is not None)
            spine.set(color=(GOOD if right[place] else BAD) if right is not None else MUTED, linewidth=3)
    return figure


def _thumbnail(picture: Image.Image) -> Image.Image:
    small = picture.convert("RGB")
    enlarge = max(1, _THUMBNAIL // max(small.size))  # tiny pictures, such as digits, keep crisp pixels
    small = small.resize((small.width * enlarge, small.height * enlarge), Image.Resampling.NEAREST)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return small
