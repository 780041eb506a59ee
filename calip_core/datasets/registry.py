"""Loaders of all tasks, by name."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from calip_core.datasets.builtin.digits import load_digits
from calip_core.datasets.builtin.photos import load_photos
from calip_core.datasets.builtin.shapes import load_miniature
from calip_core.datasets.builtin.solids import load_mini_solids
from calip_core.datasets.cards import load_card
from calip_core.datasets.clouds.readers import load_cloud_folder, load_clouds
from calip_core.datasets.clouds.task import CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.datasets.hub.shards import load_shards
from calip_core.datasets.hub.tables import load_tables
from calip_core.datasets.names import FOLDER, POINTS, SHARDS, TABLES, resolve_name, split_template_set, task_kind
from calip_core.datasets.readers.coop import load_benchmark, load_with_template_sets
from calip_core.datasets.readers.folder import load_folder
from calip_core.datasets.task import Task
from calip_core.errors import did_you_mean
from calip_core.paths import expanded
from calip_core.templates import read_descriptions

_OFFLINE: dict[str, Callable[..., Task]] = {
    "photos": load_photos,
    "mini-shapes": partial(load_miniature, "mini-shapes"),
    "mini-pairs": partial(load_miniature, "mini-pairs"),
    "mini-textures": partial(load_miniature, "mini-textures"),
    "digits": load_digits,
}
_OWN_IMAGES: dict[str, Callable[..., Task]] = {FOLDER: load_folder, SHARDS: load_shards, TABLES: load_tables}
_OFFLINE_CLOUDS: dict[str, Callable[..., CloudTask]] = {"mini-solids": load_mini_solids}


def load_task(
    name: str, root: str | Path | None = None, *, prompts: str | Path | None = None, **options: Any
) -> Task:
    """Load a task by name.

    Args:
        name: one of ``available_tasks()`` or an alias, ``imagenet@80`` or ``modelnet40@fewshot`` for another set of
            templates; ``folder:PATH`` for your own images in one sub-folder per class, ``points:PATH`` for meshes and
            point clouds, ``wds:PATH`` for webdataset shards and ``parquet:PATH`` for tables, as hubs hold them.
        root: the folder above the datasets' folders (by default ``$CALIP_DATA``, else ``data/datasets``); for generated
            images, the folder that caches them (by default in the user's cache); for a relative ``folder:PATH``, the
            folder that it starts from (by default the working folder).
        prompts: a JSON file of class descriptions in place of the task's templates, as ``read_descriptions`` takes
            them. The task's name then ends in the file's, as in ``dtd@descriptions.json``.
        options: options of that family of tasks: ``unreadable="error"|"skip"`` for ``folder:PATH``, ``image`` and
            ``label``, names of columns, for ``parquet:PATH``, ``sizes={"test": 100}`` for the miniature's,
            ``template_set`` if the dataset's card has such sets and the name states none; for point clouds, whose
            images are depth maps, the fields of ``Projection``: ``views``, ``points``, ``turn``, ``jitter``, ``seed``,
            and ``up="y"|"z"`` for ``points:PATH``.

    Raises:
        ValueError: the name is unknown, the images do not form a task or are damaged, a dataset is incomplete, or the
            class descriptions are damaged or not exactly of the task's classes.
        TypeError: this task has no such option, or two of the name, an option and ``prompts`` state the prompts.
        OSError: files are missing or cannot be opened.
    """
    name = resolve_name(name)
    base = None if root is None else expanded(root)
    dataset, template_set = split_template_set(name)
    load = _load_cloud_views if task_kind(dataset) == "clouds" else _load_images
    if prompts is not None:
        if template_set is not None or "template_set" in options:
            raise TypeError(f"{name} is asked for with a set of templates and with class descriptions: leave one out")
        if not isinstance(prompts, str | Path):
            raise TypeError(f"prompts is a {type(prompts).__name__}, expected the path of a JSON file of descriptions")
        path = expanded(prompts)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of class descriptions {path}: check the path")
        descriptions = read_descriptions(path)  # before the images, whose check may take minutes
        return replace(load(dataset, base, options), name=f"{name}@{path.name}", templates=descriptions)
    if template_set is None:
        return load(dataset, base, options)
    if "template_set" in options:
        raise TypeError(f"{name} names a set of templates already: leave the option template_set out")
    return replace(load(dataset, base, options | {"template_set": template_set}), name=name)


def _load_images(name: str, base: Path | None, options: dict[str, Any]) -> Task:
    loader = _image_loader(name, base)
    accepted = inspect.signature(loader).parameters
    if "root" in accepted:
        loader = partial(loader, root=base)
    _check_options(name, options, accepted)
    return loader(**options)


def _image_loader(name: str, base: Path | None) -> Callable[..., Task]:
    for prefix, load in _OWN_IMAGES.items():
        if name.startswith(prefix):
            return partial(load, _own_path(name, prefix, base), name)
    if name in _OFFLINE:
        return _OFFLINE[name]
    return partial(load_with_template_sets if load_card(name).template_sets else load_benchmark, name)


def _load_cloud_views(name: str, base: Path | None, options: dict[str, Any]) -> Task:
    loader = _cloud_loader(name, base)
    ours = inspect.signature(loader).parameters
    fields = inspect.signature(Projection).parameters
    _check_options(name, options, [*fields, *(option for option in ours if option not in fields)])
    projection = Projection(**{key: value for key, value in options.items() if key in fields})
    known = asdict(projection) | options  # both need the number of points and the seed, because meshes are sampled
    clouds = loader(**{key: known[key] for key in ours if key in known})
    return view_task(clouds, projection, base if name in _OFFLINE_CLOUDS else None)


def _cloud_loader(name: str, base: Path | None) -> Callable[..., CloudTask]:
    if name in _OFFLINE_CLOUDS:
        return partial(_OFFLINE_CLOUDS[name], base)
    if name.startswith(POINTS):
        return partial(load_cloud_folder, _own_path(name, POINTS, base), name)
    return partial(load_clouds, name, base)


def _own_path(name: str, prefix: str, base: Path | None) -> Path:
    path = expanded(name.removeprefix(prefix))
    return (base / path) if base else path


def _check_options(name: str, options: dict[str, Any], accepted: Iterable[str]) -> None:
    known = ["prompts", *(option for option in accepted if option not in ("root", "name", "path"))]
    if unknown := sorted(options.keys() - set(known)):
        meant = did_you_mean(unknown[0], known)
        raise TypeError(f"dataset {name!r} has no option {', '.join(unknown)}{meant}; it has: {', '.join(known)}")
