"""``calip cache``: what the cache holds, and removal of features that are no longer needed."""

import argparse
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from calip_core.commands.arguments import whole_number

if TYPE_CHECKING:
    from calip_core.commands import Subparsers
    from calip_core.features.inventory import StoredFeatures


def add_parser(subparsers: "Subparsers") -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "cache", help="list the cache, and remove features",
        description="List what the cache holds. With --prune, remove the feature stores that are named.",
    )  # fmt: skip
    parser.add_argument("stores", nargs="*", metavar="STORE", help="names, such as 'eurosat_*' (default: all)")
    parser.add_argument(
        "--unused", type=whole_number(0), metavar="DAYS", help="only stores that were not used for so many days"
    )
    parser.add_argument("--prune", action="store_true", help="remove the stores that are listed, and say so")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a line per feature store and per other part of the cache; remove stores if asked.

    Raises:
        ValueError: ``--prune`` names nothing, or no store has a name that is given.
    """
    from calip_core.features.inventory import remove, size_of, stored_features
    from calip_core.paths import cache_dir

    if arguments.prune and not arguments.stores and arguments.unused is None:
        raise ValueError("--prune would remove every feature store: name them ('*' for all), or say --unused DAYS")
    named = [store for store in stored_features() if _is_named(store, arguments.stores)]
    if arguments.stores and not named:
        patterns = " or ".join(map(repr, arguments.stores))
        raise ValueError(f"no feature store matches {patterns}: `calip cache` lists them")
    stores = [store for store in named if arguments.unused is None or store.days_unused >= arguments.unused]
    print(f"{cache_dir()}: {len(stores)} feature stores, {_megabytes(sum(store.size for store in stores))}")
    for store in stores:
        note = "" if not arguments.prune else ", removed" if remove(store) else ", in use: kept"
        print(f"{describe(store)}{note}")
    if not arguments.stores and arguments.unused is None:
        for path in _others(cache_dir()):
            print(f"{_megabytes(size_of(path)):>10}  {path.name}")
    return 0


def describe(store: "StoredFeatures") -> str:
    """One line: size, name, content, and when it was used last."""
    line = f"{_megabytes(store.size):>10}  {store.folder.name}"
    if store.manifest is None:
        return f"{line}: its manifest cannot be read"
    what = f"{store.manifest.images} images, {store.manifest.tokens} tokens"
    if not store.complete:
        what += f", {store.files} of {store.manifest.shards} files"
    return f"{line}: {what}, used {store.days_unused:.0f} days ago"


def _is_named(store: "StoredFeatures", patterns: list[str]) -> bool:
    return not patterns or any(fnmatch(store.folder.name, pattern) for pattern in patterns)


def _others(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.name != "features"] if folder.is_dir() else []


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
