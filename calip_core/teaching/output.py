"""Sentences of a chapter with computed numbers."""

from IPython.display import Markdown, display


def prose(markdown: str) -> None:
    """Show a paragraph with computed numbers; Markdown with ``$...$`` mathematics."""
    display(Markdown(markdown))
