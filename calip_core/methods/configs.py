"""Names of CALIP's published readings, known without torch."""

CONFIG_NAMES = ("official", "paper", "susx")
"""Each is a class method of ``CalipConfig`` and a key of ``methods.CONFIGS``."""
