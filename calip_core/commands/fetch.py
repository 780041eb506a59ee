"""``calip fetch NAME``: download a dataset, or say what to do by hand."""

import argparse
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_root, dataset_name
from calip_core.commands.datasets import describe

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("fetch", help="download a dataset, and say which files to get by hand")
    parser.add_argument("name", type=dataset_name, help="a dataset, as `calip datasets` lists them")
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was fetched, what failed and what is to do; 1 if something failed or the dataset is not complete."""
    from calip_core.datasets.fetch.fetching import fetch

    fetched = fetch(arguments.name, arguments.root)
    for line in fetched.done:
        print(f"fetched {line}")
    for line in fetched.failed:
        print(f"failed: {line}\n")
    for line in fetched.by_hand:
        print(f"by hand: {line}\n")
    print(describe(fetched.status))
    return 0 if fetched.status.state == "complete" and not fetched.failed else 1
