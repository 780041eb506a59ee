"""``calip datasets``: what of each dataset is there."""

import argparse
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_root

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.datasets.inventory import Status


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("datasets", help="list the datasets: complete, a part, incomplete or missing")
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per dataset, and what is wrong with incomplete ones."""
    from calip_core.datasets.inventory import inventory

    print(f"under {arguments.root} (train/val/test images or clouds):")
    for status in inventory(arguments.root):
        print(describe(status))
    return 0


def describe(status: "Status") -> str:
    """One line; a second one if a dataset is incomplete."""
    state = "stand-in" if status.standin and status.state == "complete" else status.state
    found = _counts(status.found) if status.found else "-"
    line = f"{status.name:<22} {state:<11} {found:>21} of {_counts(status.expected):<22}"
    if status.state in ("part", "complete"):
        return f"{line} {status.note}"
    return line.rstrip() if status.state == "missing" else f"{line.rstrip()}\n  {status.note}"


def _counts(sizes: dict[str, int]) -> str:
    from calip_core.datasets.checks import SPLITS

    return "/".join(str(sizes[split]) for split in SPLITS)
