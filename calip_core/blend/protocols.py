"""Protocols: how blend weights may be chosen, and which labels a choice uses."""

from typing import Literal

LabelsSeen = Literal["none", "validation", "unknown", "test"]
"""The labels that a choice has seen, from the most to the least trustworthy; "unknown" may include test labels."""
Protocol = Literal["fixed", "published", "validation", "oracle", "label-free"]
PROTOCOLS: tuple[Protocol, ...] = ("fixed", "published", "validation", "oracle", "label-free")
