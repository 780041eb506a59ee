"""Try many mutated files on every reader: `python -m tests.fuzz [--count N] [--seed N] [TARGET ...]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.harness import attack
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; by default all")
    parser.add_argument("--count", type=int, default=10_000, help="files per reader, 10000 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations; the tests take 0")
    arguments = parser.parse_args()
    folder, failed = Path(tempfile.mkdtemp(prefix="fuzz-")), 0
    for name in arguments.target or TARGETS:
        print(f"{name} ... ", end="", flush=True)
        faults = attack(TARGETS[name], folder, arguments.count, arguments.seed)
        print("\n  ".join([f"{len(faults)} faults", *faults]) if faults else "good", flush=True)
        failed += len(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
