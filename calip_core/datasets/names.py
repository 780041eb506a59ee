"""Names of tasks, known without loading one, without torch and without images."""

import os
from functools import cache
from pathlib import Path

from calip_core.datasets.cards import Kind, disk_datasets, load_card
from calip_core.datasets.hub.catalogue import PREFIX, REPOSITORY, repository_of
from calip_core.errors import did_you_mean

OFFLINE: dict[str, Kind] = {
    "photos": "images",
    "mini-shapes": "images",
    "mini-pairs": "images",
    "mini-textures": "images",
    "digits": "images",
    "mini-solids": "clouds",
}
"""Tasks that need no files from the user, and what they show; the registry has their loaders."""

FOLDER, POINTS, SHARDS, TABLES = OWN = ("folder:", "points:", "wds:", "parquet:")
"""Prefixes of the names of the user's own files: folders of images and of point clouds, shards, and tables."""
_CONTENT = {FOLDER: "images", SHARDS: "shards", TABLES: "tables"}
_TEMPLATES, _DESCRIPTIONS = "@", ".json"


def offline_tasks() -> tuple[str, ...]:
    """Names of the tasks that need no files from the user: they are rendered or part of installed packages."""
    return tuple(OFFLINE)


@cache
def available_tasks(kind: Kind | None = None) -> tuple[str, ...]:
    """Names that ``load_task`` knows, for images, for point clouds, or both.

    It also accepts their aliases, a set of templates after an @ (``imagenet@80``), and your own images as
    ``folder:PATH``, ``wds:PATH`` or ``parquet:PATH``, or clouds as ``points:PATH``.
    """
    offline = (name for name, shows in OFFLINE.items() if kind in (None, shows))
    return (*offline, *disk_datasets(kind))


def task_kind(name: str) -> Kind:
    """Whether a task shows images or point clouds.

    Raises:
        ValueError: the name is unknown; the message lists the choices.
    """
    name, _ = split_template_set(resolve_name(name))
    return "clouds" if name.startswith(POINTS) or name in available_tasks("clouds") else "images"


@cache
def task_aliases() -> dict[str, str]:
    """Other names of the datasets on disk -> the dataset's own name."""
    return {alias: name for name in disk_datasets() for alias in load_card(name).aliases}


@cache
def _by_spelling() -> dict[str, str]:
    names = {name: name for name in available_tasks()} | task_aliases()
    return {spelling.lower(): name for spelling, name in names.items()}


def own_name(name: str) -> str:
    """A task's own name for its name or alias in any case; other texts stay."""
    return _by_spelling().get(name.lower(), name)


def resolve_name(name: str) -> str:
    """A dataset's own name for any of its names: ``"oxford_flowers"`` for ``"flowers102"``.

    A set of templates is kept, unless it is the dataset's default: ``imagenet@7`` is ``imagenet``.

    Raises:
        ValueError: the name is neither known nor that of own files (``folder:PATH``); the message lists the choices.
    """
    check_task_name(name)
    base, template_set = split_template_set(name)
    base = own_name(base)
    if template_set is None or load_card(base).choose_templates(template_set) == load_card(base).templates:
        return base
    return f"{base}{_TEMPLATES}{template_set}"


def split_template_set(name: str) -> tuple[str, str | None]:
    """A dataset's name and the requested set of templates: ``("imagenet", "80")`` for ``imagenet@80``.

    The name of a user's own files, which may have an @ in their path, is split only before a file of class
    descriptions: ``("folder:a@b", "birds.json")`` for ``folder:a@b@birds.json``.
    """
    own = name.startswith(OWN)
    base, found, template_set = name.rpartition(_TEMPLATES) if own else name.partition(_TEMPLATES)
    if not found or (own and ("/" in template_set or not template_set.endswith(_DESCRIPTIONS))):
        return name, None
    return base, template_set


def check_task_name(name: str) -> None:
    """Refuse a name that ``load_task`` does not know, without loading anything.

    Raises:
        ValueError: the name is neither known nor that of own files (``folder:PATH``); the message lists the choices.
    """
    text = name if isinstance(name, str) else ""  # None is as unknown as no name
    own_files = any(text.startswith(prefix) and text != prefix for prefix in OWN)
    base, template_set = split_template_set(text)
    if template_set is not None and template_set.endswith(_DESCRIPTIONS):
        raise ValueError(
            f"{name!r} names a file of class descriptions: give {base!r} and, as prompts (`calip evaluate --prompts`), "
            "the path of that file"
        )
    base = own_name(base)
    if template_set is not None and base in disk_datasets():
        load_card(base).choose_templates(template_set)
    elif template_set is not None or (not own_files and base not in available_tasks()):
        raise ValueError(f"unknown dataset {name!r}{_hint(text)}")


def _hint(text: str) -> str:
    """What to write instead of an unknown name."""
    if os.path.isdir(text):
        prefix = own_prefix(Path(text))
        return f": for the {_CONTENT[prefix]} in this folder, write {prefix}{text}"
    if text.startswith((PREFIX, REPOSITORY)):
        repository_of(text)  # refuses what cannot be fetched either
        return f": run `calip fetch {text}`, then use the name that it prints, wds:PATH or parquet:PATH"
    close = did_you_mean(text.lower(), _by_spelling())
    return (
        f"{close}, expected one of {', '.join(available_tasks())}, or folder:PATH "
        "(points:PATH) for a folder of your own with one sub-folder of images (point clouds) for each class, "
        "wds:PATH for webdataset shards, or parquet:PATH for tables with a column of images"
    )


def root_of(name: str, root: Path) -> Path | None:
    """The root for ``load_task`` where ``root`` is the folder of the datasets, for the commands.

    None for own files, whose relative path starts at the working folder, and where there is no such folder.
    """
    return None if ":" in name or not root.is_dir() else root


def own_prefix(path: Path) -> str:
    """The prefix that reads what lies in a folder of the user: shards, tables, or else images."""
    for prefix, files in ((SHARDS, ("*.tar", "*/*.tar")), (TABLES, ("*.parquet", "*/*.parquet", "*/*/*.parquet"))):
        if any(next(path.glob(pattern), None) for pattern in files):
            return prefix
    return FOLDER
