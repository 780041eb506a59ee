"""Heads by name."""

import inspect
from collections.abc import Callable
from typing import Any

from calip_core.methods.base import Method
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

_HEADS: tuple[type[Method], ...] = (
    ZeroShot, Calip, LinearProbe, CoOp, ClipAdapter, TipAdapter, TipAdapterF, Gda, Clap, CalipFs,
    InterViewAdapter,
)  # fmt: skip
METHODS: dict[str, Callable[..., Method]] = {head.name: head for head in _HEADS}


def make_method(name: str, **options: Any) -> Method:
    """Build a head by name.

    Args:
        name: one of ``METHODS``.
        options: the head's own keyword arguments.

    Raises:
        ValueError: unknown name.
        TypeError: an option that this head does not have.
    """
    if name not in METHODS:
        raise ValueError(f"method is {name!r}, expected one of {sorted(METHODS)}")
    return METHODS[name](**options)


def accepted_options(name: str) -> set[str]:
    """The keyword arguments that a head can be made with.

    Raises:
        ValueError: unknown name.
    """
    if name not in METHODS:
        raise ValueError(f"method is {name!r}, expected one of {sorted(METHODS)}")
    return set(inspect.signature(METHODS[name]).parameters)
