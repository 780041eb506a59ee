"""``calip records``: pack records to send them, and check those that readers sent."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from calip_core.commands.sweep import add_results, results_path

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command and its own two."""
    parser = subparsers.add_parser(
        "records",
        help="pack records to send them, or check those that were sent",
        description="Records of the datasets of the literature with OpenAI's weights, for others to see beside the "
        "published numbers.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    packing = actions.add_parser("pack", help="write yours into a file that can be sent")
    packing.add_argument("--who", required=True, help="your name, as it should be shown")
    packing.add_argument("--where", required=True, help="place and machine, such as 'a laboratory, one A100'")
    packing.add_argument("file", type=Path, help="the file to write, such as data/records/your_name.jsonl")
    add_results(packing)
    packing.set_defaults(run=_pack)
    checking = actions.add_parser("check", help="check files, or the folder of those that were sent")
    checking.add_argument("files", nargs="*", type=Path, help="(default: all of data/records)")
    checking.set_defaults(run=_check)


def _pack(arguments: argparse.Namespace) -> int:
    from calip_core.evaluation.sent import pack
    from calip_core.evaluation.store import latest, load

    sent = pack(latest(load(results_path(arguments))), arguments.file, arguments.who, arguments.where)
    print(f"{len(sent.records)} records in {sent.path}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from calip_core.evaluation.sent import all_sent, read_sent

    found = [read_sent(path) for path in arguments.files] if arguments.files else all_sent()
    for one in found:
        print(f"{one.path}: {len(one.records)} records by {one.header}")
    print(f"{len(found)} files, nothing wrong")
    return 0
