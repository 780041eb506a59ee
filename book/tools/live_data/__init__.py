"""What the panels of the live pages show without running a network: one module per panel, each with ``data()``."""
