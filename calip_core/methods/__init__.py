"""Classifier heads: each turns image tokens into logits, and all answer to one interface."""

from calip_core.methods.base import Method
from calip_core.methods.calip import Calip
from calip_core.methods.clap import Clap
from calip_core.methods.gda import Gda
from calip_core.methods.linear_probe import LinearProbe
from calip_core.methods.registry import METHODS, make_method
from calip_core.methods.saving import load_method, save_method
from calip_core.methods.tip_adapter import TipAdapter
from calip_core.methods.zero_shot import ZeroShot

__all__ = [
    "METHODS",
    "Calip",
    "Clap",
    "Gda",
    "LinearProbe",
    "Method",
    "TipAdapter",
    "ZeroShot",
    "load_method",
    "make_method",
    "save_method",
]
