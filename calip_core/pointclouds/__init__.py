"""Point clouds: reading them, normalising their pose, and projecting them to depth maps for an image encoder."""

from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import ViewSet, available_view_sets, view_set

VERSION = 1
"""Of the rules from a stored cloud to what an encoder takes: a change that moves a point or a pixel raises it."""

__all__ = ["VERSION", "ViewSet", "available_view_sets", "depth_maps", "encoder_input", "view_set"]
