"""Tasks by name: class names, prompt templates and labelled images in three splits."""

from typing import TYPE_CHECKING

from calip_core import lazy

if TYPE_CHECKING:
    from calip_core.datasets.cards import Card, disk_datasets, load_card
    from calip_core.datasets.checks import SPLITS
    from calip_core.datasets.clouds.views import Projection
    from calip_core.datasets.names import (
        available_tasks,
        check_task_name,
        offline_tasks,
        resolve_name,
        split_template_set,
        task_aliases,
        task_kind,
    )
    from calip_core.datasets.registry import load_task
    from calip_core.datasets.task import Split, Task

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

_PLACES = {
    "SPLITS": "calip_core.datasets.checks",
    "Card": "calip_core.datasets.cards",
    "Projection": "calip_core.datasets.clouds.views",
    "Split": "calip_core.datasets.task",
    "Task": "calip_core.datasets.task",
    "available_tasks": "calip_core.datasets.names",
    "check_task_name": "calip_core.datasets.names",
    "disk_datasets": "calip_core.datasets.cards",
    "load_card": "calip_core.datasets.cards",
    "load_task": "calip_core.datasets.registry",
    "offline_tasks": "calip_core.datasets.names",
    "resolve_name": "calip_core.datasets.names",
    "split_template_set": "calip_core.datasets.names",
    "task_aliases": "calip_core.datasets.names",
    "task_kind": "calip_core.datasets.names",
}
__getattr__, __dir__ = lazy.attach(__name__, _PLACES)
