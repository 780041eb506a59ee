"""Run a backbone over a split: into memory (``encode_split``), or once for all onto the disk (``FeatureStore``)."""

from calip_core.features.encode import LabelledImages, choose_images, encode_split
from calip_core.features.fill import EncodingReport
from calip_core.features.manifest import Manifest
from calip_core.features.store import FeatureStore

__all__ = ["EncodingReport", "FeatureStore", "LabelledImages", "Manifest", "choose_images", "encode_split"]
