"""Names of CALIP's published readings, and of the ways to remove its visual prior, known without torch."""

CONFIG_NAMES = ("official", "paper", "susx")
"""Each is a class method of ``CalipConfig`` and a key of ``methods.CONFIGS``."""

PRIOR_NAMES = ("keep", "constant", "mean")
"""What CALIP does with the class prior of its visual-attended term: see ``methods.calip.Calip.Options``."""
