"""Tasks by name: class names, prompt templates and labelled images in three splits."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from calip_core.datasets.cards import Card, load_card
from calip_core.datasets.digits import load_digits
from calip_core.datasets.folder import load_folder
from calip_core.datasets.miniature import load_miniature
from calip_core.datasets.photos import load_photos
from calip_core.datasets.task import SPLITS, Split, Task

__all__ = ["SPLITS", "Card", "Split", "Task", "available_tasks", "check_task_name", "load_card", "load_task"]

_LOADERS: dict[str, Callable[..., Task]] = {
    "photos": load_photos,
    "mini-shapes": partial(load_miniature, "mini-shapes"),
    "mini-pairs": partial(load_miniature, "mini-pairs"),
    "mini-textures": partial(load_miniature, "mini-textures"),
    "digits": load_digits,
}
_FOLDER = "folder:"


def available_tasks() -> tuple[str, ...]:
    """Names that ``load_task`` knows; beside them it takes ``folder:PATH``, your own images."""
    return tuple(_LOADERS)


def check_task_name(name: str) -> None:
    """Refuse what ``load_task`` would not know, without loading anything.

    Raises:
        ValueError: the name is neither known nor ``folder:PATH``; the message lists the choices.
    """
    if name not in _LOADERS and not (name.startswith(_FOLDER) and name != _FOLDER):
        raise ValueError(
            f"unknown dataset {name!r}, expected one of {', '.join(available_tasks())}, or folder:PATH for a folder "
            "of your own with one sub-folder of images for each class"
        )


def load_task(name: str, root: str | Path | None = None, **options: Any) -> Task:
    """Load a task by name.

    Args:
        name: one of ``available_tasks()``, or ``folder:PATH`` for images of your own in one sub-folder a class.
        root: where generated images are kept (by default the user's cache), or where a relative ``folder:PATH`` starts
            (by default the working folder).
        options: of that family of tasks: ``unreadable="error"|"skip"`` for ``folder:PATH``, ``sizes={"test": 100}`` for
            the miniature's.

    Raises:
        ValueError: the name is unknown, the images do not make a task.
        TypeError: this task has no such option.
        OSError: files are missing or cannot be read.
    """
    check_task_name(name)
    base = None if root is None else Path(root).expanduser()
    if name.startswith(_FOLDER):
        path = Path(name.removeprefix(_FOLDER)).expanduser()
        loader: Callable[..., Task] = partial(load_folder, (base / path) if base else path, name)
    else:
        loader = _LOADERS[name]
    accepted = inspect.signature(loader).parameters
    if "root" in accepted:
        loader = partial(loader, root=base)
    if unknown := sorted(options.keys() - (accepted.keys() - {"root"})):
        raise TypeError(f"dataset {name!r} has no option {', '.join(unknown)}; it has: {_options(accepted)}")
    return loader(**options)


def _options(accepted: Any) -> str:
    return ", ".join(option for option in accepted if option not in ("root", "name", "path")) or "none"
