"""What large sets of images cost: bytes from the shapes and from cited sizes, hours from measured speeds."""

from collections.abc import Iterable
from dataclasses import dataclass

from calip_core.analysis.speed_records import MachineSpeeds

SIZES = (10**6, 10**7, 10**8, 10**9)
"""Numbers of images."""

_TOKENS = {
    "RN50": (50, 1024), "RN101": (50, 512), "ViT-B/32": (50, 512), "ViT-B/16": (197, 512), "ViT-L/14": (257, 768),
}  # fmt: skip
"""Backbone -> tokens per image with the pooled one, and their width in the joint space."""
_STORED_BYTES = 2  # half precision
_IMAGENET_BYTES, _IMAGENET_IMAGES = 138e9, 1_281_167  # image-net.org: the training images of ILSVRC 2012
_IMAGENET_21K = 14_197_122  # image-net.org: the whole of ImageNet
# Columns of a margins file: two whole numbers, two bits, two margins, five best classes and their logits.
_MARGIN_BYTES = 8 + 4 + 0.25 + 2 * 4 + 5 * (4 + 4)

INPUTS = (
    "`calip evaluate TASK BACKBONE --engine ray` reads each image once, sends its margins to one machine, and keeps no "
    "tokens. An image is taken as large as ImageNet's: 138 GB for 1,281,167 images (image-net.org). Tokens are counted "
    "in half precision, with the pooled one. Margins are counted without Parquet's compression."
)
WORKERS = (
    "These are hours of one worker. Times the price of an hour, they are the cost. Several workers divide the hours, "
    "as long as the images reach them as fast. Two workers of one core each against one are measured above where "
    "`make bench` has run `spreading`."
)


def moved() -> dict[str, tuple[float, float, float]]:
    """Backbone -> bytes per image that are read, that its tokens would take, and that are kept."""
    read = _IMAGENET_BYTES / _IMAGENET_IMAGES
    return {
        name: (read, float(tokens * width * _STORED_BYTES), _MARGIN_BYTES) for name, (tokens, width) in _TOKENS.items()
    }


def storage_sentence() -> str:
    """What storing the tokens of all of ImageNet would take, and what its margins take."""
    tokens = {name: _IMAGENET_21K * sizes[1] / 1e12 for name, sizes in moved().items()}
    listed = ", ".join(f"{value:.2f} TB for {name}" for name, value in tokens.items())
    margins = _IMAGENET_21K * _MARGIN_BYTES / 1e9
    first = f"The tokens of all of ImageNet, {_IMAGENET_21K:,} images, would take {listed}."
    return f"{first} Its margins take {margins:.1f} GB."


@dataclass(frozen=True)
class Hours:
    """A measured speed, and the hours that it means.

    Attributes:
        what: the machine, and what was measured on it.
        speed: images per second.
    """

    what: str
    speed: float

    def cells(self) -> list[str]:
        """The speed, and the hours for each of ``SIZES``."""
        return [f"{self.speed:.1f}", *(_hours_text(size / self.speed / 3600) for size in SIZES)]


def hours(records: Iterable[MachineSpeeds]) -> list[Hours]:
    """Every measured speed of an encoder, in images per second."""
    return [
        Hours(f"{record.machine}, {measurement.what}", measurement.value)
        for record in records
        for run in record.runs.values()
        for measurement in run.measurements
        if measurement.unit == "images/s"
    ]


def size_text(size: float) -> str:
    """A number of bytes: "52 B", "102.4 kB"."""
    return f"{size:.0f} B" if size < 1000 else f"{size / 1000:.1f} kB"


def _hours_text(value: float) -> str:
    return f"{value:,.0f} h" if value >= 100 else f"{value:.3g} h"
