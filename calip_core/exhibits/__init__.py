"""Exhibits of the chapters: figures, tables and sentences that show themselves, one module per chapter."""

from calip_core.exhibits.exhibit import Interactive, Plot, Table, Text, interval, percent, points, restacked, signed
from calip_core.exhibits.style import (
    BAD,
    DIVERGING,
    GOOD,
    MUTED,
    PALETTE,
    SEQUENTIAL,
    panels,
    style,
)

__all__ = [
    "BAD",
    "DIVERGING",
    "GOOD",
    "MUTED",
    "PALETTE",
    "SEQUENTIAL",
    "Interactive",
    "Plot",
    "Table",
    "Text",
    "interval",
    "panels",
    "percent",
    "points",
    "restacked",
    "signed",
    "style",
]
