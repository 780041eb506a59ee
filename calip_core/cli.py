"""The command ``calip``, whose sub-commands are the modules of ``calip_core.commands``."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from calip_core.commands import cache, datasets, encode, evaluate, export, fetch, records, report, standin, sweep
from calip_core.commands.interrupts import wait_for_imports
from calip_core.errors import in_words

COMMANDS = (evaluate, encode, sweep, report, records, datasets, fetch, standin, export, cache)
"""Each module adds its own parser."""

_CLOSED_PIPE = 141  # 128 + SIGPIPE, as programs in a pipe end


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
        argv: the arguments; by default, those of the process.

    Returns:
        The exit status: 0, or that of the sub-command; 1 after an error, which is printed in one line; 130 after
        Ctrl-C; 141 if its output was closed early.
    """
    wait_for_imports()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no error for what the terminal cannot show
    try:
        arguments = build_parser().parse_args(argv)
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader closed the output, as in `calip datasets | head -1`. Python flushes again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    except (ValueError, OSError, ImportError) as error:
        print(f"calip: {in_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("calip: stopped; run the same command to continue", file=sys.stderr)
        return 130
