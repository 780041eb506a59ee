"""What the landing page's panel shows."""

from typing import Any


def data() -> dict[str, Any]:
    """Nothing yet."""
    return {}
