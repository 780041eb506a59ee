"""Tasks by name: class names, prompt templates and labelled images in three splits."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from calip_core.datasets.builtin.digits import load_digits
from calip_core.datasets.builtin.photos import load_photos
from calip_core.datasets.builtin.shapes import load_miniature
from calip_core.datasets.builtin.solids import load_mini_solids
from calip_core.datasets.cards import Card, Kind, disk_datasets, load_card
from calip_core.datasets.clouds.readers import load_cloud_folder, load_clouds
from calip_core.datasets.clouds.task import CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.datasets.readers.coop import load_benchmark, load_with_template_sets
from calip_core.datasets.readers.folder import load_folder
from calip_core.datasets.task import SPLITS, Split, Task

__all__ = [
    "SPLITS",
    "Card",
    "Projection",
    "Split",
    "Task",
    "available_tasks",
    "check_task_name",
    "disk_datasets",
    "load_card",
    "load_task",
    "offline_tasks",
    "resolve_name",
    "split_template_set",
    "task_aliases",
    "task_kind",
]

_OFFLINE: dict[str, Callable[..., Task]] = {
    "photos": load_photos,
    "mini-shapes": partial(load_miniature, "mini-shapes"),
    "mini-pairs": partial(load_miniature, "mini-pairs"),
    "mini-textures": partial(load_miniature, "mini-textures"),
    "digits": load_digits,
}
_OFFLINE_CLOUDS: dict[str, Callable[..., CloudTask]] = {"mini-solids": load_mini_solids}
_FOLDER, _POINTS = "folder:", "points:"
_TEMPLATES = "@"


def offline_tasks() -> tuple[str, ...]:
    """Names of the tasks that need no files of the reader's: they are rendered, or come with installed packages."""
    return (*_OFFLINE, *_OFFLINE_CLOUDS)


@cache
def available_tasks(kind: Kind | None = None) -> tuple[str, ...]:
    """Names that ``load_task`` knows, of images, of point clouds, or all.

    Beside them it takes their aliases, a set of templates behind an @ (``imagenet@80``), and your own images as
    ``folder:PATH`` or clouds as ``points:PATH``.
    """
    offline = {"images": tuple(_OFFLINE), "clouds": tuple(_OFFLINE_CLOUDS), None: offline_tasks()}[kind]
    return (*offline, *disk_datasets(kind))


def task_kind(name: str) -> Kind:
    """Whether a task shows images or point clouds.

    Raises:
        ValueError: the name is unknown; the message lists the choices.
    """
    name = resolve_name(name)
    return "clouds" if name.startswith(_POINTS) or name in available_tasks("clouds") else "images"


@cache
def task_aliases() -> dict[str, str]:
    """Other names of the datasets on disk, each with the dataset's own."""
    return {alias: name for name in disk_datasets() for alias in load_card(name).aliases}


def resolve_name(name: str) -> str:
    """A dataset's own name for any of its names: ``"oxford_flowers"`` for ``"flowers102"``.

    A set of templates stays, unless it is the one that the dataset has anyway: ``imagenet@7`` is ``imagenet``.

    Raises:
        ValueError: the name is neither known nor ``folder:PATH`` or ``points:PATH``; the message lists the choices.
    """
    check_task_name(name)
    base, template_set = split_template_set(name)
    base = task_aliases().get(base, base)
    if template_set is None or load_card(base).choose_templates(template_set) == load_card(base).templates:
        return base
    return f"{base}{_TEMPLATES}{template_set}"


def split_template_set(name: str) -> tuple[str, str | None]:
    """A dataset's name and the set of templates that was asked for: ``("imagenet", "80")`` of ``imagenet@80``.

    A reader's own folder, which may have an @ in its path, is one name.
    """
    base, found, template_set = name.partition(_TEMPLATES)
    return (base, template_set) if found and not name.startswith((_FOLDER, _POINTS)) else (name, None)


def check_task_name(name: str) -> None:
    """Refuse what ``load_task`` would not know, without loading anything.

    Raises:
        ValueError: the name is neither known nor ``folder:PATH`` or ``points:PATH``; the message lists the choices.
    """
    own_files = any(name.startswith(prefix) and name != prefix for prefix in (_FOLDER, _POINTS))
    base, template_set = split_template_set(name)
    base = task_aliases().get(base, base)
    if template_set is not None and base in disk_datasets():
        load_card(base).choose_templates(template_set)
    elif template_set is not None or (not own_files and base not in available_tasks()):
        raise ValueError(
            f"unknown dataset {name!r}, expected one of {', '.join(available_tasks())}, or folder:PATH (points:PATH) "
            "for a folder of your own with one sub-folder of images (point clouds) for each class"
        )


def load_task(name: str, root: str | Path | None = None, **options: Any) -> Task:
    """Load a task by name.

    Args:
        name: one of ``available_tasks()`` or an alias, ``imagenet@80`` for another set of templates; ``folder:PATH``
            for images of your own in one sub-folder a class, ``points:PATH`` for meshes and point clouds.
        root: the folder above the datasets' folders (by default ``$CALIP_DATA``, else ``data/datasets``); for generated
            images, where they are kept (by default the user's cache); where a relative ``folder:PATH`` starts (by
            default the working folder).
        options: of that family of tasks: ``unreadable="error"|"skip"`` for ``folder:PATH``, ``sizes={"test": 100}`` for
            the miniature's, ``template_set="1"|"7"|"80"`` for ImageNet and its kin, if the name has none; for point
            clouds, whose images are depth maps, the fields of ``Projection``: ``views``, ``points``, ``turn``,
            ``jitter``, ``seed``, and ``up="y"|"z"`` for ``points:PATH``.

    Raises:
        ValueError: the name is unknown, the images do not make a task, a dataset is only half there.
        TypeError: this task has no such option.
        OSError: files are missing or cannot be read.
    """
    name = resolve_name(name)
    base = None if root is None else Path(root).expanduser()
    load = _load_cloud_views if task_kind(name) == "clouds" else _load_images
    return load(name, base, options)


def _load_images(name: str, base: Path | None, options: dict[str, Any]) -> Task:
    dataset, template_set = split_template_set(name)
    loader = _image_loader(dataset, base)
    accepted = inspect.signature(loader).parameters
    if "root" in accepted:
        loader = partial(loader, root=base)
    _check_options(name, options, accepted)
    if template_set is None:
        return loader(**options)
    if "template_set" in options:
        raise TypeError(f"{name} names a set of templates already: leave the option template_set out")
    return replace(loader(template_set=template_set, **options), name=name)


def _image_loader(name: str, base: Path | None) -> Callable[..., Task]:
    if name.startswith(_FOLDER):
        return partial(load_folder, _own_path(name, _FOLDER, base), name)
    if name in _OFFLINE:
        return _OFFLINE[name]
    return partial(load_with_template_sets if load_card(name).template_sets else load_benchmark, name)


def _load_cloud_views(name: str, base: Path | None, options: dict[str, Any]) -> Task:
    loader = _cloud_loader(name, base)
    ours = inspect.signature(loader).parameters
    fields = inspect.signature(Projection).parameters
    _check_options(name, options, [*fields, *(option for option in ours if option not in fields)])
    projection = Projection(**{key: value for key, value in options.items() if key in fields})
    known = asdict(projection) | options  # both need the number of points and the seed: meshes are sampled
    clouds = loader(**{key: known[key] for key in ours if key in known})
    return view_task(clouds, projection, base if name in _OFFLINE_CLOUDS else None)


def _cloud_loader(name: str, base: Path | None) -> Callable[..., CloudTask]:
    if name in _OFFLINE_CLOUDS:
        return partial(_OFFLINE_CLOUDS[name], base)
    if name.startswith(_POINTS):
        return partial(load_cloud_folder, _own_path(name, _POINTS, base), name)
    return partial(load_clouds, name, base)


def _own_path(name: str, prefix: str, base: Path | None) -> Path:
    path = Path(name.removeprefix(prefix)).expanduser()
    return (base / path) if base else path


def _check_options(name: str, options: dict[str, Any], accepted: Iterable[str]) -> None:
    known = [option for option in accepted if option not in ("root", "name", "path")]
    if unknown := sorted(options.keys() - set(known)):
        raise TypeError(f"dataset {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
