"""Print every speed that the book claims, measured here and now: ``make bench``, or ``python -m tests.benchmarks``."""

import argparse

import torch

from calip_core.speed import machine
from tests.benchmarks import (
    attention,
    encoding,
    few_shots,
    landscape,
    projection,
    rendering,
    streaming,
    tip_adapter,
    trained_heads,
    view_weights,
)

BENCHMARKS = {
    "attention": attention.run,
    "encoding": encoding.run,
    "few_shots": few_shots.run,
    "landscape": landscape.run,
    "projection": projection.run,
    "rendering": rendering.run,
    "streaming": streaming.run,
    "tip_adapter": tip_adapter.run,
    "trained_heads": trained_heads.run,
    "view_weights": view_weights.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHMARKS), help=f"which: {', '.join(BENCHMARKS)}")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {unknown}, expected some of {list(BENCHMARKS)}")
    torch.set_num_threads(arguments.threads)
    print(f"machine: {machine()}")
    for name in arguments.names:
        print(f"\n{name}")
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
