"""Heads by name."""

from collections.abc import Callable
from typing import Any

from calip_core.methods.base import Method
from calip_core.methods.calip import Calip
from calip_core.methods.clap import Clap
from calip_core.methods.gda import Gda
from calip_core.methods.linear_probe import LinearProbe
from calip_core.methods.tip_adapter import TipAdapter
from calip_core.methods.zero_shot import ZeroShot

METHODS: dict[str, Callable[..., Method]] = {
    head.name: head
    for head in (
        ZeroShot,
        Calip,
        LinearProbe,
        TipAdapter,
        Gda,
        Clap,
    )
}


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
