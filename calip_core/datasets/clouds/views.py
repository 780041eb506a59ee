"""A point-cloud task as an image task: every cloud becomes depth maps from several views."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import get_args

import numpy as np
import scipy
import torch
from jaxtyping import Float32, Int
from PIL import Image
from torch import Tensor

from calip_core import pointclouds
from calip_core.datasets.array_cache import CachedArray, fingerprint
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.task import Preprocess, Split, Task
from calip_core.paths import cache_dir
from calip_core.pointclouds.names import Turn
from calip_core.pointclouds.poses import prepare
from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import ViewSet, view_set

_CLOUDS_KEPT = 64  # more than the prefetching threads access at a time


@dataclass(frozen=True)
class Projection:
    """How clouds become images.

    Attributes:
        views: name of the view set.
        points: points per cloud.
        turn: axis about which each cloud is rotated by a random angle, with y up.
        jitter: standard deviation of the noise on the coordinates, in radii of the cloud.
        seed: seed of rotations and noise, and of the random subset of points for clouds of one's own.

    Raises:
        ValueError: the view set is unknown, or an option is out of range.
    """

    views: str = "pointclip"
    points: int = 1024
    turn: Turn = "none"
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        view_set(self.views)
        if self.points < 2:
            raise ValueError(f"points is {self.points}, expected at least 2: a single point fills no sphere")
        if self.turn not in get_args(Turn):
            raise ValueError(f"turn is {self.turn!r}, expected one of {', '.join(get_args(Turn))}")
        if not 0 <= self.jitter < math.inf:
            raise ValueError(f"jitter is {self.jitter}, expected a standard deviation of at least 0, in radii")

    @classmethod
    def parse(cls, text: str) -> "Projection":
        """Parse a view set, optionally with a number of points, in the notation of records: "pointclip, 512 points".

        Raises:
            ValueError: the text has another form, the view set is unknown, or there are fewer than 2 points.
        """
        found = re.fullmatch(r"(\w+)(?:, (\d+) points)?", text)
        if found is None:
            raise ValueError(f"projection is {text!r}, expected a view set, alone or as in 'pointclip, 512 points'")
        name, points = found.groups()
        return cls(name) if points is None else cls(name, int(points))

    def __str__(self) -> str:
        changes = [f"{self.points} points"]
        if self.turn != "none":
            changes.append(f"turned about {self.turn}, seed {self.seed}")
        if self.jitter:
            changes.append(f"noise {self.jitter:g}, seed {self.seed}")
        return f"{self.views}, {', '.join(changes)}"


class ViewSplit(Split):
    """Depth maps of labelled clouds: image ``i`` is view ``i % views`` of cloud ``i // views``.

    Attributes:
        views: images per cloud.
        clouds: "n p 3", the prepared clouds, y up, in the unit sphere but for noise, which may take points out of it.
        fewest_points: gives the number of stored points of the smallest cloud.
    """

    depth_maps = True

    def __init__(
        self,
        clouds: CachedArray,
        labels: Int[np.ndarray, " n"],
        views: ViewSet,
        made_from: Callable[[], str],
        stored: CloudSplit,
    ) -> None:
        """Join prepared clouds and their labels.

        Args:
            clouds: "n p 3", as they are looked at.
            labels: class number of every cloud.
            views: from where to look, and how.
            made_from: gives a text that changes when any of the prepared clouds would.
            stored: the clouds as their files hold them.
        """
        shown = partial(_identity, made_from, views)
        super().__init__(self._picture, np.repeat(labels, len(views)), views=len(views), identity=shown)
        self.clouds, self.view_set = clouds, views
        self.fewest_points = stored.fewest_points
        self._forget()

    def _forget(self) -> None:
        self._kept: OrderedDict[int, Float32[Tensor, "v h w"]] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, object]:
        """Drop lock and cache: each worker process draws its own maps."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_kept")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def depth_map(self, index: int) -> Float32[Tensor, "h w"]:
        """The projection of one view."""
        cloud, view = divmod(range(len(self))[index], self.views)
        with self._lock:  # prefetching threads ask for other views of the same cloud: one of them draws all views
            if cloud not in self._kept:
                points = torch.from_numpy(self.clouds[cloud].copy())
                self._kept[cloud] = depth_maps(points[None], self.view_set)[0]
                if len(self._kept) > _CLOUDS_KEPT:
                    self._kept.popitem(last=False)
            return self._kept[cloud][view]

    def encoder_input(self, index: int, preprocess: Preprocess, resolution: int) -> Float32[Tensor, "3 h w"]:
        """What the image encoder takes, instead of CLIP's own preprocessing of a picture."""
        depth = self.depth_map(index)[None, None]
        return encoder_input(depth, resolution, standardise=self.view_set.standardise)[0]

    def _picture(self, index: int) -> Image.Image:
        """The map for display: black at 0 and white at the largest value that the view set can produce."""
        grey = self.depth_map(index) / self.view_set.largest_value
        return Image.fromarray((grey.clamp(0, 1) * 255).round().to(torch.uint8).numpy()).convert("RGB")


def view_task(task: CloudTask, projection: Projection, root: Path | None = None) -> Task:
    """Turn a point-cloud task into an image task; clouds are read, sampled and posed once, then cached.

    Args:
        task: labelled clouds.
        projection: how they become images.
        root: folder of the cached ``clouds/<fingerprint>/<split>.npy``; by default, the user's cache.
    """
    views = view_set(projection.views)
    return Task(
        name=task.name,
        title=task.title,
        classnames=task.classnames,
        templates=task.templates,
        splits={name: _view_split(task, name, projection, views, root or cache_dir()) for name in task.splits},
        licence=task.licence,
        source=task.source,
        citation=task.citation,
        split_source=task.split_source,
        standin=task.standin,
        view_set=projection.views,
        projection=str(projection),
    )


def _view_split(task: CloudTask, name: str, projection: Projection, views: ViewSet, root: Path) -> ViewSplit:
    split = task.splits[name]
    made_from = partial(_made_from, task, name, projection)
    clouds = CachedArray(
        partial(_cache_path, root, name, made_from),
        (len(split), projection.points, 3),
        partial(_prepare_rows, task, name, projection),
        dtype=np.float32,
        doing="sampling",
    )
    return ViewSplit(clouds, split.labels, views, made_from, split)


def _made_from(task: CloudTask, name: str, projection: Projection) -> str:
    """What the prepared clouds of a split depend on, as a digest."""
    options = {field: value for field, value in asdict(projection).items() if field != "views"}
    stored = {"clouds": task.splits[name].identity, "up": task.up, "shuffled": task.shuffled}
    rules = {"pointclouds": pointclouds.VERSION, "scipy": scipy.__version__}
    return fingerprint(stored | options | rules)


def _cache_path(root: Path, name: str, made_from: Callable[[], str]) -> Path:
    return root / "clouds" / made_from() / f"{name}.npy"


def _identity(made_from: Callable[[], str], views: ViewSet) -> str:
    """Of the maps: the clouds, and how they are looked at."""
    return f"{made_from()} {views.model_dump_json(exclude={'description', 'source'})}"


def _prepare_rows(
    task: CloudTask, name: str, projection: Projection, start: int, stop: int
) -> Float32[np.ndarray, "_ p 3"]:
    split = task.splits[name]
    rows = [
        prepare(
            split[i][0], projection.points, up=task.up, turn=projection.turn, jitter=projection.jitter,
            seed=(projection.seed, i), shuffle=task.shuffled,
            origin=split.origin(i) or f"{task.name}, {name} cloud {i}",
        )
        for i in range(start, stop)
    ]  # fmt: skip
    return np.stack(rows)
