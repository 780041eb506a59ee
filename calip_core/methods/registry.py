"""Heads by name. A new head is one file and one line here."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calip_core.methods.base import Head

    METHODS: dict[str, type[Head]]
    """The classes of the heads by name. First access loads them all, and torch."""


@dataclass(frozen=True)
class Entry:
    """Facts about a head that are known without loading it.

    Attributes:
        module: its module in ``calip_core.methods``.
        class_name: its class in that module.
        learns: whether it needs labelled images, consistent with its ``sees``.
    """

    module: str
    class_name: str
    learns: bool = True

    def load(self) -> "type[Head]":
        """The class."""
        loaded: type[Head] = getattr(import_module(f"calip_core.methods.{self.module}"), self.class_name)
        return loaded


HEADS = {
    "zero_shot": Entry("zero_shot", "ZeroShot", learns=False),
    "calip": Entry("calip", "Calip", learns=False),
    "distribution_normalization": Entry("distribution_normalization", "DistributionNormalization", learns=False),
    "inmap": Entry("inmap", "InMap", learns=False),
    "transclip": Entry("transclip", "TransClip", learns=False),
    "stata": Entry("stata", "StatA", learns=False),
    "tda": Entry("tda", "Tda", learns=False),
    "dmn": Entry("dmn", "Dmn", learns=False),
    "zlap": Entry("zlap", "Zlap", learns=False),
    "mta": Entry("mta", "Mta", learns=False),
    "linear_probe": Entry("linear_probe", "LinearProbe"),
    "coop": Entry("coop", "CoOp"),
    "clip_adapter": Entry("clip_adapter", "ClipAdapter"),
    "tip_adapter": Entry("tip_adapter", "TipAdapter"),
    "tip_adapter_f": Entry("tip_adapter_f", "TipAdapterF"),
    "gda": Entry("gda", "Gda"),
    "clap": Entry("clap", "Clap"),
    "calip_fs": Entry("calip_fs", "CalipFs"),
    "inter_view_adapter": Entry("inter_view_adapter", "InterViewAdapter"),
}
"""The heads by name, not loaded."""


@cache
def _methods() -> "dict[str, type[Head]]":
    return {name: entry.load() for name, entry in HEADS.items()}


def __getattr__(name: str) -> Any:
    if name == "METHODS":
        return _methods()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_method(name: str, **options: Any) -> "Head":
    """Build a head by name.

    Args:
        name: one of ``METHODS``.
        options: the head's own keyword arguments, ``METHODS[name].accepts()``.

    Raises:
        ValueError: the name is unknown, or an option is out of range.
        TypeError: an option that this head does not have.
    """
    if name not in _methods():
        raise ValueError(f"method is {name!r}, expected one of {sorted(_methods())}")
    return _methods()[name](**options)
