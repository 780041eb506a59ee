"""``calip export BACKBONE --to onnx --out FOLDER``: a backbone as files for programs without PyTorch."""

import argparse
from typing import TYPE_CHECKING, get_args

from calip_core.commands.arguments import add_choice
from calip_core.paths import expanded

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    from calip_core.backbones.names import TokenSpace

    parser = subparsers.add_parser(
        "export",
        help="write a backbone as ONNX files",
        description="Write a backbone's image tower (pooled and spatial features) and its text tower as ONNX files, "
        "and check them against PyTorch. Needs the extra onnx.",
    )
    parser.add_argument("backbone", metavar="BACKBONE", help="such as mini-rn, RN50 or a checkpoint's path")
    add_choice(parser, "--to", ("onnx",), "onnx", "format")
    add_choice(parser, "--tokens", get_args(TokenSpace), "joint", "spatial tokens")
    parser.add_argument("--out", type=expanded, required=True, metavar="FOLDER", help="a folder that is new or empty")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, and print how far its features are from PyTorch's."""
    from calip_core.backbones import load_backbone
    from calip_core.backbones.names import check_names_weights
    from calip_core.backbones.onnx import TOLERANCE, check_export, export_onnx

    check_names_weights(arguments.backbone)
    check_export(arguments.out)
    backbone = load_backbone(arguments.backbone, device="cpu", precision="fp32", tokens=arguments.tokens)
    differences = export_onnx(backbone, arguments.out)
    found = ", ".join(f"{name} {difference:.1g}" for name, difference in differences.items())
    print(f"wrote {arguments.out}; largest difference from PyTorch: {found} (at most {TOLERANCE:g} is accepted)")
    return 0
