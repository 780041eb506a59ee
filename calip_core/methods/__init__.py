"""Classifier heads: each turns image tokens into logits, and all answer to one interface."""

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
