"""CALIP: parameter-free attention between CLIP's spatial image features and its text features.

Data flows in one direction: ``Task -> Backbone -> ImageTokens -> Method -> logits -> Record``.
"""

from typing import TYPE_CHECKING

from calip_core import lazy

if TYPE_CHECKING:
    from calip_core.attention import CalipConfig, calip_logits, parameter_free_attention
    from calip_core.backbones.loading import load_backbone
    from calip_core.backbones.names import available_backbones
    from calip_core.blend.landscape import beta_landscape
    from calip_core.datasets.names import available_tasks
    from calip_core.datasets.registry import load_task
    from calip_core.evaluation.evaluate import evaluate
    from calip_core.features.encode import encode_split
    from calip_core.features.store import FeatureStore
    from calip_core.methods.registry import make_method
    from calip_core.prompts import zero_shot_classifier
    from calip_core.tokens import CalipLogits, ImageTokens

__all__ = [
    "CalipConfig",
    "CalipLogits",
    "FeatureStore",
    "ImageTokens",
    "available_backbones",
    "available_tasks",
    "beta_landscape",
    "calip_logits",
    "encode_split",
    "evaluate",
    "load_backbone",
    "load_task",
    "make_method",
    "parameter_free_attention",
    "zero_shot_classifier",
]

_PLACES = {
    "CalipConfig": "calip_core.attention",
    "CalipLogits": "calip_core.tokens",
    "FeatureStore": "calip_core.features.store",
    "ImageTokens": "calip_core.tokens",
    "available_backbones": "calip_core.backbones.names",
    "available_tasks": "calip_core.datasets.names",
    "beta_landscape": "calip_core.blend.landscape",
    "calip_logits": "calip_core.attention",
    "encode_split": "calip_core.features.encode",
    "evaluate": "calip_core.evaluation.evaluate",
    "load_backbone": "calip_core.backbones.loading",
    "load_task": "calip_core.datasets.registry",
    "make_method": "calip_core.methods.registry",
    "parameter_free_attention": "calip_core.attention",
    "zero_shot_classifier": "calip_core.prompts",
}
__getattr__, __dir__ = lazy.attach(__name__, _PLACES)
