"""A grid of evaluations, read from ``sweep.yaml`` and checked before anything starts.

Nothing here needs torch: the cells run in the workers of an engine (``evaluation.engines``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator
from tqdm.auto import tqdm

from calip_core.backbones.names import Precision, TokenSpace, check_backbone_name, check_names_weights
from calip_core.blend.protocols import Protocol
from calip_core.datasets.cards import disk_datasets
from calip_core.datasets.names import OWN, resolve_name, task_kind
from calip_core.evaluation.seeds import Seed
from calip_core.evaluation.shots import Short
from calip_core.methods.configs import CONFIG_NAMES, PRIOR_NAMES
from calip_core.methods.registry import HEADS
from calip_core.paths import data_root, expanded
from calip_core.pointclouds.names import available_view_sets
from calip_core.yaml_model import describe_faults, read_model

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C has ended."""

AVAILABLE = "available"
"""In place of a dataset: all image datasets whose files are here."""

Names = Annotated[list[str], Field(min_length=1)]
_DEFAULT_CONFIG, _DEFAULT_PRIOR, _DEFAULT_VIEWS = "official", "keep", "pointclip"


class Sweep(BaseModel):
    """A grid: every dataset with every backbone, method, protocol, number of shots and seed.

    Attributes:
        datasets: names of tasks; ``folder:PATH``, ``wds:PATH``, ``parquet:PATH`` and ``points:PATH`` for your own,
            relative to the YAML file; ``available`` for every image dataset that is complete below ``root``.
        backbones: names, or paths of checkpoints relative to the YAML file.
        tokens: which spatial tokens: "joint", "value" or "pre_pool".
        methods: heads.
        configs: versions of CALIP; not used by other heads.
        priors: what CALIP does with the class prior of its visual-attended term; not used by other heads.
        protocols: how hyperparameters are chosen.
        shots: images per class for heads that learn. Zero-shot heads always use 0 shots.
        seeds: seeds of all random draws.
        views: view sets for point clouds; not used for images.
        samples: at most this many test images, or "all".
        batch_size: images per batch for heads that see a batch; the whole test split if it is not given.
        precision: of the image encoders.
        short: how to handle a class with fewer images than shots, as for ``support_sets.coop_support``.
        root: the folder of the datasets; ``$CALIP_DATA`` or its default when it is not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    datasets: Names
    backbones: Names
    tokens: Annotated[list[TokenSpace], Field(min_length=1)] = ["joint"]
    methods: Names = ["calip"]
    configs: Names = [_DEFAULT_CONFIG]
    priors: Names = [_DEFAULT_PRIOR]
    protocols: Annotated[list[Protocol], Field(min_length=1)] = ["fixed"]
    shots: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)] = [0]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    views: Names = [_DEFAULT_VIEWS]
    samples: int | Literal["all"] = "all"
    batch_size: Annotated[StrictInt, Field(ge=1)] | None = None
    precision: Precision = "auto"
    short: Short = "error"
    root: Path | None = None

    @field_validator("datasets", mode="before")
    @classmethod
    def _list_of_datasets(cls, value: object) -> object:
        return [AVAILABLE] if value == AVAILABLE else value

    @field_validator("samples", mode="plain")
    @classmethod
    def _check_samples(cls, value: object) -> object:
        if value == "all" or (type(value) is int and value >= 1):
            return value
        raise ValueError(f"{value!r} is not allowed, expected a whole number of at least 1, or all")

    def cells(self) -> list["Cell"]:
        """Every point of the grid once, grouped by dataset and backbone."""
        loaded = product(self._shown(), self.backbones, self.tokens)
        asked = list(product(self._heads(), self.protocols, self.seeds))
        cells = (
            Cell(dataset, views, backbone, tokens, method, config, prior, protocol, shots, seed)
            for (dataset, views), backbone, tokens in loaded
            for (method, config, prior, shots), protocol, seed in asked
        )
        return list(dict.fromkeys(cells))

    def _shown(self) -> list[tuple[str, str | None]]:
        """Datasets, with those of point clouds once for each view set."""
        return [
            (name, views)
            for name in map(resolve_name, self.datasets)
            for views in (self.views if task_kind(name) == "clouds" else [None])
        ]

    def _heads(self) -> list[tuple[str, str | None, str | None, int]]:
        """Methods with the versions, priors and numbers of shots that each can have."""
        versions = list(product(self.configs, self.priors))
        return [
            (method, config, prior, shots)
            for method in self.methods
            for config, prior in (versions if method == "calip" else [(None, None)])
            for shots in ([s for s in self.shots if s] if HEADS[method].learns else [0])
        ]


@dataclass(frozen=True)
class Cell:
    """One point of the grid: what one call of ``evaluate`` measures."""

    dataset: str
    views: str | None
    backbone: str
    tokens: TokenSpace
    method: str
    config: str | None
    prior: str | None
    protocol: Protocol
    shots: int
    seed: int

    @property
    def loads(self) -> tuple[str, str | None, str, TokenSpace]:
        """What has to be loaded for the cell; cells that share it run one after another."""
        return self.dataset, self.views, self.backbone, self.tokens

    @property
    def options(self) -> dict[str, str]:
        """The options of the head that the grid varies."""
        return {k: v for k, v in (("config", self.config), ("prior", self.prior)) if v is not None}

    def __str__(self) -> str:
        data = f"{self.dataset} ({self.views})" if self.views else self.dataset
        tokens = "" if self.tokens == "joint" else f" {self.tokens}"
        version = [] if self.config in (None, _DEFAULT_CONFIG) else [self.config]
        version += [] if self.prior in (None, _DEFAULT_PRIOR) else [f"prior {self.prior}"]
        method = f"{self.method} ({', '.join(map(str, version))})" if version else self.method
        shots = f" {self.shots} shots" if self.shots else ""
        return f"{data} {self.backbone}{tokens} {method} {self.protocol}{shots} seed {self.seed}"


@dataclass(frozen=True)
class Group:
    """Cells of one task and one backbone, which a worker loads once.

    Attributes:
        cells: what to measure.
        limit: at most this many test images; None for all.
        root: the folder of the datasets.
        results: the file of records.
        precision: of the image encoder.
        short: how to handle a class with fewer images than shots.
        batch_size: images per batch for heads that see a batch.
        prompts: a file of class descriptions in place of the task's templates.
        progress: whether to show bars while encoding.
        again: whether to measure cells that are already recorded.
    """

    cells: tuple[Cell, ...]
    limit: int | None
    root: Path
    results: Path
    precision: Precision = "auto"
    short: Short = "error"
    batch_size: int | None = None
    prompts: Path | None = None
    progress: bool = False
    again: bool = False

    def without(self, done: Sequence[Cell]) -> "Group":
        """The group without cells that are done."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell not in done))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell: "recorded" before or "measured" now, with a key, or "failed" with a reason."""

    cell: Cell
    state: Literal["recorded", "measured", "failed"]
    reason: str = ""
    key: str = ""


Engine = Callable[[list[Group]], Iterator[Outcome]]
"""Runs groups, and yields the outcome of each cell as soon as it is known."""


def read_sweep(path: Path) -> Sweep:
    """Read and check ``sweep.yaml``; its relative paths become absolute.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it is not YAML, repeats a key, does not describe a sweep, or contains an unknown name.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a YAML file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no sweep {path.absolute()}: check the path")
    sweep = read_model(path, Sweep, "a sweep")
    try:
        return _placed(sweep, path.absolute().parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def make_sweep(**values: object) -> Sweep:
    """A sweep from Python, checked like one from a file; relative paths start at the working folder.

    Raises:
        ValueError: a value is of the wrong type or out of range, or a name is unknown.
    """
    try:
        return _placed(Sweep.model_validate(values), Path.cwd())
    except ValidationError as error:
        raise ValueError(describe_faults(error, Sweep)) from error


def _placed(sweep: Sweep, folder: Path) -> Sweep:
    """The sweep with absolute paths and the datasets that are here, after checking all names in it."""
    root = None if sweep.root is None else folder / expanded(sweep.root)
    datasets = [name for given in sweep.datasets for name in (_available(root) if given == AVAILABLE else [given])]
    placed = sweep.model_copy(
        update={
            "datasets": [_absolute(name, folder) for name in datasets],
            "backbones": [_checkpoint(name, folder) for name in sweep.backbones],
            "root": root,
        }
    )
    _check_names(placed)
    return placed


def available_datasets(root: Path | None = None) -> list[str]:
    """The image datasets that are complete below a root, ``data_root()`` by default; stand-ins are none."""
    from calip_core.datasets.inventory import inventory  # it imports torch

    found = inventory(root or data_root(), list(disk_datasets("images")))
    return [one.name for one in found if one.state == "complete" and not one.standin]


def _available(root: Path | None) -> list[str]:
    if found := available_datasets(root):
        return found
    raise ValueError(
        f"datasets is {AVAILABLE!r}, but no image dataset is complete below {root or data_root()}: `calip datasets` "
        "says what is there, and `calip fetch NAME` gets one"
    )


def _check_names(sweep: Sweep) -> None:
    for name in sweep.datasets:
        resolve_name(name)
    for name in sweep.backbones:
        check_backbone_name(name)
        check_names_weights(name)
    for kind, given, known in (
        ("method", sweep.methods, tuple(HEADS)),
        ("config", sweep.configs, CONFIG_NAMES),
        ("prior", sweep.priors, PRIOR_NAMES),
        ("view set", sweep.views, available_view_sets()),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"unknown {kind} {unknown[0]!r}, expected one of {', '.join(known)}")
    learning = [name for name in sweep.methods if HEADS[name].learns]
    if learning and not any(sweep.shots):
        learn = "learns" if len(learning) == 1 else "learn"
        raise ValueError(f"{', '.join(learning)} {learn} from labelled images: give shots, such as [1, 2, 4, 8, 16]")


def _absolute(name: str, folder: Path) -> str:
    """The absolute path in the name of own files; other names are unchanged."""
    kind, _, path = name.partition(":")
    return f"{kind}:{(folder / expanded(path)).resolve()}" if name.startswith(OWN) and path else name


def _checkpoint(name: str, folder: Path) -> str:
    path = (folder / expanded(name)).resolve()
    return str(path) if path.is_file() else name


def groups_of(
    sweep: Sweep, results: Path, *, shard: tuple[int, int] = (1, 1), prompts: Path | None = None,
    progress: bool = False, again: bool = False,
) -> list[Group]:  # fmt: skip
    """The cells of a sweep, or of one shard of it, in groups of one task and one backbone.

    Args:
        sweep: the grid.
        results: the file of records.
        shard: (i, n) takes the i-th of n equal parts, i from 1; parts keep cells of one group together.
        prompts: a file of class descriptions in place of the tasks' templates.
        progress: whether workers show bars while encoding.
        again: whether to measure cells that are already recorded.
    """
    cells, (i, n) = sweep.cells(), shard
    cells = cells[len(cells) * (i - 1) // n : len(cells) * i // n]
    limit = None if sweep.samples == "all" else sweep.samples
    root = sweep.root or data_root()
    return [
        Group(
            tuple(members), limit, root.absolute(), results.absolute(), sweep.precision, sweep.short,
            sweep.batch_size, prompts, progress, again,
        )
        for _, members in groupby(cells, key=lambda cell: cell.loads)
    ]  # fmt: skip


@dataclass
class Summary:
    """The outcome of a sweep: the keys of the cells' records, or why they failed."""

    recorded: dict[Cell, str] = field(default_factory=dict)
    measured: dict[Cell, str] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    status: int = 0
    left: int = 0

    @property
    def exit_status(self) -> int:
        """0 if every cell is recorded, 1 if some failed, 130 after Ctrl-C, 143 after SIGTERM."""
        return self.status or int(bool(self.failed))

    def add(self, outcome: Outcome) -> None:
        """Count one more cell."""
        if outcome.state == "failed":
            self.failed[outcome.cell] = outcome.reason
        else:
            (self.recorded if outcome.state == "recorded" else self.measured)[outcome.cell] = outcome.key

    def __str__(self) -> str:
        counts = f"{len(self.recorded)} recorded before, {len(self.measured)} measured now, {len(self.failed)} failed"
        if self.status:
            counts += f", {self.left} left: interrupted, run the same command again to continue"
        return "\n".join([counts, *(f"  failed: {cell}: {reason}" for cell, reason in self.failed.items())])


class Interrupted(BaseException):
    """A signal asked the process to end; ``status`` is the exit status to end with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def run_sweep(groups: list[Group], engine: Engine, *, progress: bool = True) -> Summary:
    """Measure every cell that is not recorded yet. A cell that fails is noted, and the others go on.

    Args:
        groups: from ``groups_of``.
        engine: where to run, from ``evaluation.engines``.
        progress: whether to show a bar.
    """
    total, summary = sum(len(group.cells) for group in groups), Summary()
    bar: tqdm[NoReturn] = tqdm(total=total, unit="cell", disable=not progress, position=0)
    outcomes = engine(groups)
    with bar:
        try:
            for outcome in outcomes:
                summary.add(outcome)
                bar.update()
                bar.set_postfix_str(f"{len(summary.failed)} failed, last: {outcome.cell}")
        except KeyboardInterrupt:
            summary.status = INTERRUPTED
        except Interrupted as signal:
            summary.status = signal.status
        finally:
            outcomes.close()  # type: ignore[attr-defined]  # engines are generators: their workers end here
    summary.left = total - len(summary.recorded) - len(summary.measured) - len(summary.failed)
    return summary
