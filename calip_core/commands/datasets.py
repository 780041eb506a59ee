"""``calip datasets``: what of each dataset is there."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_root

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.datasets.inventory import Status


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("datasets", help="list the datasets: complete, a part, incomplete or missing")
    parser.add_argument("--hub", action="store_true", help="list CLIP_benchmark's datasets on the Hub instead")
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per dataset, and what is wrong with incomplete ones."""
    if arguments.hub:
        return _list_hub(arguments.root)
    from calip_core.datasets.inventory import inventory

    print(f"under {arguments.root} (train/val/test images or clouds):")
    for status in inventory(arguments.root):
        print(describe(status))
    return 0


def _list_hub(root: Path) -> int:
    from calip_core.datasets.fetch.fetching import UNTRIED
    from calip_core.datasets.hub.catalogue import CATALOGUE, repository_of
    from calip_core.datasets.hub.origin import origin_of
    from calip_core.datasets.hub.parts import FETCHED

    print(f"CLIP_benchmark's datasets on the Hub, each under its own licence: `calip fetch NAME` {UNTRIED}")
    for name, other in CATALOGUE.items():
        origin = None if other else origin_of(root / FETCHED / repository_of(name))
        state = f"refused: it has {other}" if other else f"fetched: {origin}" if origin else "missing"
        print(f"{name:<39} {state}")
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
