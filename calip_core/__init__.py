"""CALIP: parameter-free attention between CLIP's spatial image features and its text features.

The way of the data is one straight line:
``Task -> Backbone -> ImageTokens -> Method -> logits -> metrics``.
"""

from calip_core.attention import CalipConfig, calip_logits, parameter_free_attention
from calip_core.backbones import available_backbones, load_backbone
from calip_core.blend.landscape import beta_landscape
from calip_core.datasets import available_tasks, load_task
from calip_core.features import FeatureStore, encode_split
from calip_core.methods import make_method
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
    "load_backbone",
    "load_task",
    "make_method",
    "parameter_free_attention",
    "zero_shot_classifier",
]
