"""Point clouds: reading them, normalising their pose, and projecting them to depth maps for an image encoder."""

from typing import TYPE_CHECKING

from calip_core import lazy

if TYPE_CHECKING:
    from calip_core.pointclouds.names import available_view_sets
    from calip_core.pointclouds.projection import depth_maps, encoder_input
    from calip_core.pointclouds.views import ViewSet, view_set

VERSION = 2
"""Version of the rules from a stored cloud to an encoder's input: increment it when points or pixels change."""

__all__ = [
    "VERSION",
    "ViewSet",
    "available_view_sets",
    "depth_maps",
    "encoder_input",
    "view_set",
]

_PLACES = {
    "ViewSet": "calip_core.pointclouds.views",
    "available_view_sets": "calip_core.pointclouds.names",
    "depth_maps": "calip_core.pointclouds.projection",
    "encoder_input": "calip_core.pointclouds.projection",
    "view_set": "calip_core.pointclouds.views",
}
__getattr__, __dir__ = lazy.attach(__name__, _PLACES)
