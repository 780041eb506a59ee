"""Heads by name. A new head is a file of its own and a line here."""

from typing import Any

from calip_core.methods.base import Head
from calip_core.methods.calip import Calip
from calip_core.methods.calip_fs import CalipFs
from calip_core.methods.clap import Clap
from calip_core.methods.clip_adapter import ClipAdapter
from calip_core.methods.coop import CoOp
from calip_core.methods.gda import Gda
from calip_core.methods.inter_view_adapter import InterViewAdapter
from calip_core.methods.linear_probe import LinearProbe
from calip_core.methods.tip_adapter import TipAdapter
from calip_core.methods.tip_adapter_f import TipAdapterF
from calip_core.methods.zero_shot import ZeroShot

METHODS: dict[str, type[Head]] = {
    "zero_shot": ZeroShot,
    "calip": Calip,
    "linear_probe": LinearProbe,
    "coop": CoOp,
    "clip_adapter": ClipAdapter,
    "tip_adapter": TipAdapter,
    "tip_adapter_f": TipAdapterF,
    "gda": Gda,
    "clap": Clap,
    "calip_fs": CalipFs,
    "inter_view_adapter": InterViewAdapter,
}


def make_method(name: str, **options: Any) -> Head:
    """Build a head by name.

    Args:
        name: one of ``METHODS``.
        options: the head's own keyword arguments, ``METHODS[name].accepts()``.

    Raises:
        ValueError: unknown name, or an option out of range.
        TypeError: an option that this head does not have.
    """
    if name not in METHODS:
        raise ValueError(f"method is {name!r}, expected one of {sorted(METHODS)}")
    return METHODS[name](**options)
