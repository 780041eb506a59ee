"""``calip standin NAME``: write a small procedural stand-in of a dataset."""

import argparse
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_root, dataset_name
from calip_core.commands.datasets import describe

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("standin", help="write a small procedural stand-in in a dataset's exact format")
    parser.add_argument("name", type=dataset_name, help="a dataset, as `calip datasets` lists them")
    add_root(parser)
    parser.add_argument("--classes", type=int, default=None, help="how many classes (default: 10; 1000 of imagenet)")
    parser.add_argument("--images", type=int, default=10, help="images or clouds of every class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--layout", choices=("hdf5", "text", "off"), help="format of point clouds that are published in several"
    )
    parser.add_argument("--own-split", action="store_true", help="without CoOp's split file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write it, and print what it is."""
    from calip_core.datasets.cards import load_card
    from calip_core.datasets.inventory import status
    from calip_core.datasets.standins import write_standin

    folder = write_standin(
        arguments.name,
        arguments.root,
        classes=arguments.classes,
        images=arguments.images,
        seed=arguments.seed,
        split_file=not arguments.own_split,
        layout=arguments.layout,
    )
    made = "solids" if load_card(arguments.name).kind == "clouds" else "pictures"
    print(f"wrote {folder}, procedural {made} and not the dataset: remove it before you fetch the real one")
    print(describe(status(arguments.name, arguments.root)))
    return 0
