"""The book's figures: one style for all chapters, one module of figures per chapter."""

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

__all__ = ["BAD", "DIVERGING", "GOOD", "MUTED", "PALETTE", "SEQUENTIAL", "panels", "style"]
