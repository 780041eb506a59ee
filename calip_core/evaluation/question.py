"""The setting of an evaluation as given by the caller, checked before anything is encoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from calip_core.backbones.base import Backbone
from calip_core.blend import view_weights
from calip_core.blend.protocols import PROTOCOLS, Protocol
from calip_core.blend.selection import CRITERIA, Grid
from calip_core.datasets.checks import SPLITS
from calip_core.datasets.task import Task
from calip_core.evaluation.record import Asked, ViewWeighting
from calip_core.evaluation.seeds import LARGEST_SEED
from calip_core.evaluation.shots import Short
from calip_core.methods import METHODS, make_method
from calip_core.methods.base import Head, Recipe


@dataclass(frozen=True, kw_only=True)
class Question:
    """A setting to measure; the fields are the arguments of ``evaluate`` with the same names."""

    task: Task
    backbone: Backbone
    method: str
    protocol: Protocol
    shots: int
    seed: int
    limit: int | None
    options: Mapping[str, Any]
    augmentations: int
    nested: bool
    short: Short
    view_weighting: ViewWeighting
    criterion: str
    grid: Grid | None
    batch_size: int | None
    features: Path | None

    @property
    def head_class(self) -> type[Head]:
        """The head's class."""
        return METHODS[self.method]

    @property
    def asked(self) -> Asked:
        """The part of the setting that states how hyperparameters are chosen."""
        return Asked(
            protocol=self.protocol,
            criterion=self.criterion if self.protocol == "label-free" else None,
            grid=None if self.grid is None else str(self.grid),
            view_weighting=self.view_weighting if self.task.view_set else None,
            batch_size=self.batch_size,
        )

    def recipe(self) -> Recipe:
        """The hyperparameters given by the protocol, and their source."""
        if self.protocol == "fixed":
            return self.head_class.fixed(self.shots)
        if self.protocol == "published":
            return self.head_class.published(
                dataset=self.task.name, shots=self.shots,
                backbone=self.backbone.published_name, logit_scale=self.backbone.logit_scale,
            )  # fmt: skip
        return self.head_class.choosing(self.shots)

    def make_head(self, recipe: Recipe) -> Head:
        """The head with the caller's options, the recipe's, and the shared arguments."""
        known = {
            "logit_scale": self.backbone.logit_scale,
            "seed": self.seed,
            "backbone": self.backbone,
            "classnames": self.task.classnames,
            "views": max(1, self.augmentations),
            "cloud_views": self.task.splits["test"].views,
        }
        accepted = self.head_class.accepts()
        known = {name: value for name, value in known.items() if name in accepted}
        return make_method(self.method, **{**known, **recipe.options, **self.options})

    def unlabelled_split(self) -> str:
        """The split whose images a head sees without their labels: "val", or "train" if that has no images.

        Raises:
            ValueError: neither has images. Those of the test split would make the measurement transductive.
        """
        for split in ("val", "train"):
            if len(self.task.splits[split]):
                return split
        raise ValueError(
            f"task {self.task.name} has no validation or training images, which {self.method} needs without their "
            "labels under these options: choose other options, or another task"
        )

    def check(self) -> None:
        """Refuse a setting that cannot be measured.

        Raises:
            TypeError: a task or a backbone is given by its name.
            ValueError: a name is unknown, this head does not support the setting, or a required split has no images.
        """
        for kind, value in (("task", self.task), ("backbone", self.backbone)):
            if isinstance(value, str):
                raise TypeError(f"{kind} is {value!r}, expected an object: load it first by load_{kind}({value!r})")
        self._check_names()
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed is {self.seed}, expected a number from 0 to {LARGEST_SEED}")
        self._check_shots()
        self._check_splits()
        self._check_view_weighting()
        if self.head_class.sees == "views" and self.task.view_set:
            raise ValueError(
                f"{self.method} sees random crops of one image, and {self.task.name} has point clouds: choose a task "
                "of images, or another head"
            )
        if self.batch_size is not None and (self.head_class.sees != "batch" or self.batch_size < 1):
            raise ValueError(
                f"batch_size is {self.batch_size}, expected at least 1, and for a head that sees a batch: "
                f"{self.method} sees {self.head_class.sees}"
            )

    def _check_names(self) -> None:
        for name, value, known in (
            ("method", self.method, METHODS),
            ("protocol", self.protocol, PROTOCOLS),
            ("criterion", self.criterion, CRITERIA),
            ("view_weighting", self.view_weighting, get_args(ViewWeighting)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        if self.protocol == "label-free" and not self.head_class.label_free:
            able = ", ".join(name for name, head in METHODS.items() if head.label_free)
            raise ValueError(f"{self.method} cannot choose without labels; the protocol 'label-free' is for {able}")

    def _check_shots(self) -> None:
        learns = self.head_class.sees == "labels"
        if learns and self.shots < 1:
            raise ValueError(
                f"shots is {self.shots}, but {self.method} learns from a support set: ask for at least 1 shot"
            )
        if not learns and (self.shots or self.augmentations):
            raise ValueError(
                f"shots is {self.shots}, but {self.method} takes no support set: ask for 0 shots and no augmentations"
            )

    def _check_splits(self) -> None:
        needed = ["test"] + ["train"] * bool(self.shots) + ["val"] * (self.protocol == "validation")
        for split in needed:
            if not len(self.task.splits[split]):
                found = " and ".join(other for other in SPLITS if len(self.task.splits[other])) or "none"
                raise ValueError(
                    f"task {self.task.name} has no {split} images (found: {found}): {self._instead_of(split)}"
                )

    def _instead_of(self, split: str) -> str:
        """What to choose where a split is missing."""
        if split == "test":
            return "every evaluation needs them; choose another task"
        if split == "train":
            return "shots are drawn from them; choose a head that takes no shots, or another task"
        unfit = {"validation"} if self.head_class.label_free else {"validation", "label-free"}
        return f"choose another protocol of {', '.join(p for p in PROTOCOLS if p not in unfit)}, or another task"

    def _check_view_weighting(self) -> None:
        task, weighting = self.task, self.asked.view_weighting
        if task.view_set and weighting == "published":
            view_weights.published(task.view_set, task.name, self.backbone.published_name)
        if weighting == "searched" and self.protocol not in ("validation", "oracle"):
            raise ValueError(
                f"view_weighting is 'searched', which needs labels, but protocol {self.protocol!r} sees none: choose "
                "validation or oracle, or view weights that are uniform or published"
            )
