"""``calip encode TASK BACKBONE``: encode the images of a task, so that later evaluations only read features."""

import argparse
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_encoding, add_root, check_cache

if TYPE_CHECKING:
    from calip_core.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "encode", help="encode a task's images once", description="Encode a task's images into the feature store."
    )
    add_encoding(parser, "images of each split")
    splits = ("train", "val", "test")
    parser.add_argument("--splits", nargs="+", choices=splits, default=["test"], help="(default: test)")
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Encode each split and print the folder of its features."""
    from calip_core.backbones import load_backbone
    from calip_core.datasets import load_task
    from calip_core.evaluation.evaluate import store_name
    from calip_core.features import FeatureStore

    check_cache()
    backbone = load_backbone(arguments.backbone, tokens=arguments.tokens, precision=arguments.precision)
    task = load_task(arguments.task, arguments.root if arguments.root.is_dir() else None)
    for split in arguments.splits:
        if not len(task.splits[split]):
            raise ValueError(f"{task.name} has no {split} images: leave {split} out of --splits")
        store = FeatureStore.encode(
            backbone, task.splits[split], name=store_name(task, split), limit=arguments.limit, seed=arguments.seed
        )
        print(f"{split}: {len(store)} images in {store.folder} ({store.report})")
    return 0
