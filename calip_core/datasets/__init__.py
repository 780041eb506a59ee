"""Tasks by name: class names, prompt templates and labelled images in three splits."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from calip_core.datasets.cards import Card, disk_datasets, load_card
from calip_core.datasets.coop import load_benchmark, load_with_template_sets
from calip_core.datasets.digits import load_digits
from calip_core.datasets.folder import load_folder
from calip_core.datasets.miniature import load_miniature
from calip_core.datasets.photos import load_photos
from calip_core.datasets.task import SPLITS, Split, Task

__all__ = [
    "SPLITS",
    "Card",
    "Split",
    "Task",
    "available_tasks",
    "check_task_name",
    "disk_datasets",
    "load_card",
    "load_task",
    "offline_tasks",
    "resolve_name",
]

_OFFLINE: dict[str, Callable[..., Task]] = {
    "photos": load_photos,
    "mini-shapes": partial(load_miniature, "mini-shapes"),
    "mini-pairs": partial(load_miniature, "mini-pairs"),
    "mini-textures": partial(load_miniature, "mini-textures"),
    "digits": load_digits,
}
_FOLDER = "folder:"


def offline_tasks() -> tuple[str, ...]:
    """Names of the tasks that need no files of the reader's: they are rendered, or come with installed packages."""
    return tuple(_OFFLINE)


@cache
def available_tasks() -> tuple[str, ...]:
    """Names that ``load_task`` knows; beside them it takes their aliases and ``folder:PATH``, your own images."""
    return (*_OFFLINE, *disk_datasets(kind="images"))


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name in disk_datasets() for alias in load_card(name).aliases}


def resolve_name(name: str) -> str:
    """A dataset's own name for any of its names: ``"oxford_flowers"`` for ``"flowers102"``.

    Raises:
        ValueError: the name is neither known nor ``folder:PATH``; the message lists the choices.
    """
    check_task_name(name)
    return _aliases().get(name, name)


def check_task_name(name: str) -> None:
    """Refuse what ``load_task`` would not know, without loading anything.

    Raises:
        ValueError: the name is neither known nor ``folder:PATH``; the message lists the choices.
    """
    own_folder = name.startswith(_FOLDER) and name != _FOLDER
    if not own_folder and name not in (*available_tasks(), *disk_datasets(), *_aliases()):
        raise ValueError(
            f"unknown dataset {name!r}, expected one of {', '.join(available_tasks())}, or folder:PATH for a folder "
            "of your own with one sub-folder of images for each class"
        )


def load_task(name: str, root: str | Path | None = None, **options: Any) -> Task:
    """Load a task by name.

    Args:
        name: one of ``available_tasks()`` or an alias, or ``folder:PATH`` for images of your own in one sub-folder a
            class.
        root: the folder above the datasets' folders (by default ``$CALIP_DATA``, else ``data/datasets``); for generated
            images, where they are kept (by default the user's cache); where a relative ``folder:PATH`` starts (by
            default the working folder).
        options: of that family of tasks: ``unreadable="error"|"skip"`` for ``folder:PATH``, ``sizes={"test": 100}`` for
            the miniature's, ``template_set="1"|"7"|"80"`` for ImageNet and its kin.

    Raises:
        ValueError: the name is unknown, the images do not make a task, a dataset is only half there.
        TypeError: this task has no such option.
        OSError: files are missing or cannot be read.
    """
    name = resolve_name(name)
    base = None if root is None else Path(root).expanduser()
    if name.startswith(_FOLDER):
        path = Path(name.removeprefix(_FOLDER)).expanduser()
        loader: Callable[..., Task] = partial(load_folder, (base / path) if base else path, name)
    else:
        loader = _OFFLINE.get(name) or _disk_loader(name)
    accepted = inspect.signature(loader).parameters
    if "root" in accepted:
        loader = partial(loader, root=base)
    if unknown := sorted(options.keys() - (accepted.keys() - {"root"})):
        raise TypeError(f"dataset {name!r} has no option {', '.join(unknown)}; it has: {_options(accepted)}")
    return loader(**options)


def _disk_loader(name: str) -> Callable[..., Task]:
    return partial(load_with_template_sets if load_card(name).template_sets else load_benchmark, name)


def _options(accepted: Any) -> str:
    return ", ".join(option for option in accepted if option not in ("root", "name", "path")) or "none"
