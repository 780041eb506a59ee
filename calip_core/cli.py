"""The command ``calip``, whose sub-commands are the modules of ``calip_core.commands``."""

import argparse
import sys
from collections.abc import Sequence

from calip_core.commands import datasets, encode, evaluate, fetch, report, standin, sweep

COMMANDS = (evaluate, encode, sweep, report, datasets, fetch, standin)
"""Each module adds its own parser."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command and all its sub-commands."""
    parser = argparse.ArgumentParser(prog="calip", description="Datasets and benchmarks of the CALIP book.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        argv: the arguments; those of the process when left out.

    Returns:
        The exit status: 0, or what the sub-command gives; 1 after an error, which is printed in one line; 130 after
        Ctrl-C.
    """
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError) as error:
        print(f"calip: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("calip: stopped; run the same command to continue", file=sys.stderr)
        return 130
