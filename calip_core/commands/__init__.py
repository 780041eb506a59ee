"""Sub-commands of ``calip``, one module each with ``add_parser(subparsers)``."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    """What ``ArgumentParser.add_subparsers`` gives; argparse has no public name for it."""
