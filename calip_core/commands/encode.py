"""``calip encode TASK BACKBONE``: encode the images of a task, so that later evaluations only read features."""

import argparse
import multiprocessing
import sys
from typing import TYPE_CHECKING

from calip_core.commands.arguments import add_encoding, add_root, check_cache

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.features import FeatureStore


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "encode", help="encode a task's images once",
        description="Encode a task's images into the feature store. Several processes, also of several machines that "
        "share the cache's folder, share the work.",
    )  # fmt: skip
    add_encoding(parser, "images of each split")
    splits = ("train", "val", "test")
    parser.add_argument("--splits", nargs="+", choices=splits, default=["test"], help="(default: test)")
    parser.add_argument(
        "--devices", nargs="+", default=["auto"], metavar="DEVICE",
        help="one process on each: 'all' GPUs, or such as cuda:0 cuda:1, or cpu cpu (default: auto, one process)",
    )  # fmt: skip
    add_root(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Encode each split and print the folder of its features."""
    from calip_core.backbones.names import check_names_weights

    check_names_weights(arguments.backbone)
    check_cache()
    devices = _all_gpus() if arguments.devices == ["all"] else arguments.devices
    others = [_start(arguments, device) for device in devices[1:]]
    try:
        stores = _encode(arguments, devices[0])
    except BaseException:
        for process in others:
            process.terminate()
        raise
    finally:
        for process in others:
            process.join()
    for split, store in stores.items():
        share = "" if others else f" ({store.report})"  # a report is of one process
        print(f"{split}: {len(store)} images in {store.folder}{share}")
    failed = [device for device, process in zip(devices[1:], others, strict=True) if process.exitcode]
    if failed:  # nothing is missing: this process has done what they left
        print(f"the process on {', '.join(failed)} failed; see above")
    return 1 if failed else 0


def _encode(arguments: argparse.Namespace, device: str, progress: bool = True) -> "dict[str, FeatureStore]":
    from calip_core.backbones import load_backbone
    from calip_core.datasets import load_task
    from calip_core.datasets.names import root_of
    from calip_core.evaluation.evaluate import store_name
    from calip_core.features import FeatureStore

    task = load_task(arguments.task, root_of(arguments.task, arguments.root))
    for split in arguments.splits:
        if not len(task.splits[split]):
            raise ValueError(f"{task.name} has no {split} images: leave {split} out of --splits")
    backbone = load_backbone(arguments.backbone, device=device, tokens=arguments.tokens, precision=arguments.precision)
    options = {"limit": arguments.limit, "seed": arguments.seed, "progress": progress}
    return {
        split: FeatureStore.encode(backbone, task.splits[split], name=store_name(task, split), **options)
        for split in arguments.splits
    }


def _all_gpus() -> list[str]:
    """One device per GPU; the processor if there is none, which is said."""
    import torch

    if gpus := [f"cuda:{number}" for number in range(torch.cuda.device_count())]:
        return gpus
    print("no GPU here: the processor encodes", file=sys.stderr)
    return ["cpu"]


def _start(arguments: argparse.Namespace, device: str) -> multiprocessing.process.BaseProcess:
    """A further process that takes its share; it shows nothing but errors."""
    wanted = vars(arguments) | {"run": None}
    process = multiprocessing.get_context("spawn").Process(  # a forked process cannot use a GPU
        target=_encode_quietly, args=(argparse.Namespace(**wanted), device), daemon=True
    )
    process.start()
    return process


def _encode_quietly(arguments: argparse.Namespace, device: str) -> None:
    _encode(arguments, device, progress=False)
