"""Arguments that several sub-commands share."""

import argparse

from calip_core.paths import data_root, expanded


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``."""
    parser.add_argument(
        "--root",
        type=expanded,
        default=data_root(),
        help="folder above the datasets' folders (default: $CALIP_DATA, else data/datasets here: %(default)s)",
    )


def dataset_name(text: str) -> str:
    """The name of a downloadable dataset, aliases resolved: the type of an argument.

    Raises:
        argparse.ArgumentTypeError: no dataset has this name or alias.
    """
    from calip_core.datasets.cards import disk_datasets
    from calip_core.datasets.names import resolve_name

    try:
        name = resolve_name(text)
    except ValueError:
        name = ""
    if name not in disk_datasets():
        raise argparse.ArgumentTypeError(f"unknown dataset {text!r}, expected one of {', '.join(disk_datasets())}")
    return name
