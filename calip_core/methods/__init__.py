"""Classifier heads: each turns image tokens into logits, and all share one interface."""

from typing import TYPE_CHECKING

from calip_core import lazy

if TYPE_CHECKING:
    from calip_core.methods.base import Head, Recipe
    from calip_core.methods.calip import CONFIGS, Calip
    from calip_core.methods.calip_fs import CalipFs, CalipFsConfig
    from calip_core.methods.clap import Clap
    from calip_core.methods.clip_adapter import ClipAdapter
    from calip_core.methods.coop import CoOp
    from calip_core.methods.gda import Gda
    from calip_core.methods.inter_view_adapter import InterViewAdapter
    from calip_core.methods.linear_probe import LinearProbe
    from calip_core.methods.registry import METHODS, make_method
    from calip_core.methods.saving import load_method, save_method
    from calip_core.methods.tip_adapter import TipAdapter
    from calip_core.methods.tip_adapter_f import TipAdapterF
    from calip_core.methods.training import TrainingDivergedError, TrainingOptions, TrainingReport
    from calip_core.methods.zero_shot import ZeroShot

__all__ = [
    "CONFIGS",
    "METHODS",
    "Calip",
    "CalipFs",
    "CalipFsConfig",
    "Clap",
    "ClipAdapter",
    "CoOp",
    "Gda",
    "Head",
    "InterViewAdapter",
    "LinearProbe",
    "Recipe",
    "TipAdapter",
    "TipAdapterF",
    "TrainingDivergedError",
    "TrainingOptions",
    "TrainingReport",
    "ZeroShot",
    "load_method",
    "make_method",
    "save_method",
]

_PLACES = {
    "CONFIGS": "calip_core.methods.calip",
    "METHODS": "calip_core.methods.registry",
    "Calip": "calip_core.methods.calip",
    "CalipFs": "calip_core.methods.calip_fs",
    "CalipFsConfig": "calip_core.methods.calip_fs",
    "Clap": "calip_core.methods.clap",
    "ClipAdapter": "calip_core.methods.clip_adapter",
    "CoOp": "calip_core.methods.coop",
    "Gda": "calip_core.methods.gda",
    "Head": "calip_core.methods.base",
    "InterViewAdapter": "calip_core.methods.inter_view_adapter",
    "LinearProbe": "calip_core.methods.linear_probe",
    "Recipe": "calip_core.methods.base",
    "TipAdapter": "calip_core.methods.tip_adapter",
    "TipAdapterF": "calip_core.methods.tip_adapter_f",
    "TrainingDivergedError": "calip_core.methods.training",
    "TrainingOptions": "calip_core.methods.training",
    "TrainingReport": "calip_core.methods.training",
    "ZeroShot": "calip_core.methods.zero_shot",
    "load_method": "calip_core.methods.saving",
    "make_method": "calip_core.methods.registry",
    "save_method": "calip_core.methods.saving",
}
__getattr__, __dir__ = lazy.attach(__name__, _PLACES)
