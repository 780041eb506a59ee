"""Backbones: CLIP models that return one pooled and many spatial tokens per image, loaded by ``load_backbone``."""

from typing import TYPE_CHECKING

from calip_core import lazy

if TYPE_CHECKING:
    from calip_core.backbones.base import Backbone
    from calip_core.backbones.loading import load_backbone, published_model
    from calip_core.backbones.names import Precision, TokenSpace, available_backbones

__all__ = [
    "Backbone",
    "Precision",
    "TokenSpace",
    "available_backbones",
    "load_backbone",
    "published_model",
]

_PLACES = {
    "Backbone": "calip_core.backbones.base",
    "Precision": "calip_core.backbones.names",
    "TokenSpace": "calip_core.backbones.names",
    "available_backbones": "calip_core.backbones.names",
    "load_backbone": "calip_core.backbones.loading",
    "published_model": "calip_core.backbones.loading",
}
__getattr__, __dir__ = lazy.attach(__name__, _PLACES)
