"""Names of view sets, axes and turns, which can be checked without computing anything."""

from typing import Literal

from calip_core.paths import DATA_DIR

VIEW_DIR = DATA_DIR / "views"

Turn = Literal["none", "x", "y", "z", "any"]
"""The axis about which each cloud is rotated by a random angle; "any" is a random rotation. Clouds have y up."""
UpAxis = Literal["y", "z"]


def available_view_sets() -> list[str]:
    """Names of all view sets in the repository, sorted."""
    return sorted(path.stem for path in VIEW_DIR.glob("*.yaml"))
