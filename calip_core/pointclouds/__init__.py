"""Point clouds: reading them, normalising their pose, and projecting them to depth maps for an image encoder."""

from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import ViewSet, available_view_sets, view_set

__all__ = ["ViewSet", "available_view_sets", "depth_maps", "encoder_input", "view_set"]
