"""Protocols: how blend weights may be chosen, and which labels that looks at."""

from typing import Literal

LabelsSeen = Literal["none", "validation", "unknown", "test"]
"""Which labels a choice has seen, from the most to the least trustworthy: of "unknown" it may be those of the test."""
Protocol = Literal["fixed", "published", "validation", "oracle", "label-free"]
PROTOCOLS: tuple[Protocol, ...] = ("fixed", "published", "validation", "oracle", "label-free")
