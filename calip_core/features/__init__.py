"""Run a backbone over a split: into memory (``encode_split``), or once onto the disk (``FeatureStore``)."""

from calip_core.features.encode import choose_images, encode_split
from calip_core.features.fill import EncodingReport
from calip_core.features.manifest import Manifest
from calip_core.features.store import FeatureStore, PlannedStore
from calip_core.features.texts import text_features

__all__ = [
    "EncodingReport",
    "FeatureStore",
    "Manifest",
    "PlannedStore",
    "choose_images",
    "encode_split",
    "text_features",
]
