"""Arguments that several sub-commands share."""

import argparse
from collections.abc import Callable, Sequence
from typing import get_args

from calip_core.paths import cache_dir, data_root, expanded


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``."""
    parser.add_argument(
        "--root",
        type=expanded,
        default=data_root(),
        help="folder above the datasets' folders (default: $CALIP_DATA, else data/datasets here: %(default)s)",
    )


def add_encoding(parser: argparse.ArgumentParser, images: str) -> None:
    """Add the task, the backbone, and what says which images it encodes and how.

    Args:
        parser: of a sub-command.
        images: which images ``--limit`` counts, for its help.
    """
    from calip_core.backbones.names import Precision, TokenSpace

    parser.add_argument("task", metavar="TASK", help="such as mini-shapes, eurosat, folder:PATH or wds:PATH")
    parser.add_argument("backbone", metavar="BACKBONE", help="such as mini-rn, RN50 or a checkpoint's path")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help=f"at most this many {images} (default: all)")
    add_choice(parser, "--tokens", get_args(TokenSpace), "joint", "spatial tokens")
    add_choice(parser, "--precision", get_args(Precision), "auto", "number format of the image encoder")


def add_choice(parser: argparse.ArgumentParser, flag: str, choices: Sequence[str], default: str, what: str) -> None:
    """Add a flag with a few possible values, which its help lists."""
    text = f"{what}: {', '.join(choices)} (default: %(default)s)"
    parser.add_argument(flag, choices=choices, default=default, metavar=flag[2:].upper(), help=text)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an argument that is a whole number in a range."""
    wanted = f"at least {least}" if most is None else f"a number from {least} to {most}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"is {text!r}, expected a whole number") from None
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"is {number}, expected {wanted}")
        return number

    return parse


def _seed(text: str) -> int:
    from calip_core.evaluation.seeds import LARGEST_SEED

    return whole_number(0, LARGEST_SEED)(text)


def check_cache() -> None:
    """Refuse a cache that is no folder, before anything is computed.

    Raises:
        OSError: the folder cannot be made; the message names the variable that says where it is.
    """
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the cache {folder} cannot be made ({error.strerror}): set $CALIP_CACHE to a folder that can be written"
        ) from error


def fetchable_name(text: str) -> str:
    """The name of a dataset that can be fetched, from a card or from the Hub: the type of an argument.

    Raises:
        argparse.ArgumentTypeError: there is no such dataset, or it cannot be evaluated here.
    """
    from calip_core.datasets.hub.catalogue import CATALOGUE, PREFIX, REPOSITORY, repository_of

    if not text.startswith((PREFIX, REPOSITORY)):
        more = (f"{REPOSITORY}{text}",) if text.count("/") == 1 else ()
        return dataset_name(text, (*CATALOGUE, *more), ", wds/NAME of `calip datasets --hub`, or hub:OWNER/NAME")
    try:
        repository_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def dataset_name(text: str, others: Sequence[str] = (), more: str = "") -> str:
    """The name of a downloadable dataset, aliases resolved: the type of an argument.

    Args:
        text: what was given.
        others: further names that may be meant.
        more: what else is accepted, for the message.

    Raises:
        argparse.ArgumentTypeError: no dataset has this name or alias.
    """
    from calip_core.datasets.cards import disk_datasets
    from calip_core.datasets.names import resolve_name
    from calip_core.errors import did_you_mean

    try:
        name = resolve_name(text)
    except ValueError:
        name = ""
    if name not in disk_datasets():
        close = did_you_mean(text, [*disk_datasets(), *others])
        raise argparse.ArgumentTypeError(
            f"unknown dataset {text!r}{close}, expected one of {', '.join(disk_datasets())}{more}"
        )
    return name
