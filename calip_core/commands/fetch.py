"""``calip fetch NAME``: download a dataset, or say what to do by hand."""

import argparse
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_root, fetchable_name
from calip_core.commands.datasets import describe

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("fetch", help="download a dataset, and say which files to get by hand")
    parser.add_argument(
        "name",
        type=fetchable_name,
        help="a dataset, as `calip datasets` lists them; wds/NAME, as `calip datasets --hub` does; or hub:OWNER/NAME",
    )
    parser.add_argument(
        "--revision",
        help="of a dataset on the Hub: a branch, a tag or a commit (default: the one fetched before, else the newest)",
    )
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was fetched, what failed and what is to do; 1 if something failed or the dataset is not complete."""
    from calip_core.datasets.hub.catalogue import PREFIX, REPOSITORY

    if arguments.name.startswith((PREFIX, REPOSITORY)):
        return _from_hub(arguments)
    if arguments.revision is not None:
        raise ValueError(f"--revision is for wds/NAME and hub:OWNER/NAME, not for {arguments.name}: leave it out")
    return _from_card(arguments)


def _from_hub(arguments: argparse.Namespace) -> int:
    from calip_core.datasets.fetch.fetching import UNTRIED
    from calip_core.datasets.fetch.hub import fetch_repository
    from calip_core.datasets.hub.catalogue import repository_of
    from calip_core.datasets.hub.parts import FETCHED

    repository = repository_of(arguments.name)
    brought = fetch_repository(repository, arguments.root / FETCHED / repository, arguments.revision)
    print(f"fetched {brought} {UNTRIED}" if brought.new else f"already there, and unchanged: {brought}")
    print(f"read it by load_task({brought.task!r}), or by `calip evaluate {brought.task} mini-rn`")
    return 0


def _from_card(arguments: argparse.Namespace) -> int:
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
