"""A grid of measurements: the benchmark notebook run again and again by papermill, what is recorded left out.

A cell of the grid runs in a process of its own, so neither a crash nor Ctrl-C can take finished cells along.
"""

import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm.auto import tqdm

from calip_core.backbones import available_backbones
from calip_core.blend.selection import Protocol
from calip_core.datasets import Projection, resolve_name, task_kind
from calip_core.evaluation.benchmark import CONFIGS
from calip_core.evaluation.record import RunRecord
from calip_core.evaluation.recorded import Present, look
from calip_core.evaluation.store import load
from calip_core.paths import DATA_DIR
from calip_core.pointclouds.views import view_set

INTERRUPTED = 130  # the exit status of a command that Ctrl-C has ended

_REPOSITORY = DATA_DIR.parent
_DEFAULT_CONFIG = "official"
_ERROR_LINES = 3
_SECONDS_TO_STOP = 10
_LONGEST_NAME = 150
Names = Annotated[list[str], Field(min_length=1)]


class Sweep(BaseModel):
    """A grid, as ``sweep.yaml`` describes it: every dataset with every backbone, config, protocol and seed.

    Attributes:
        samples: at most so many test images, or "all"; the notebook's own default when left out.
        root: the folder of the datasets; ``$CALIP_DATA`` or its default when left out.
        views: view sets of the datasets that are point clouds; images have none.
        notebook: what measures one cell of images, and ``cloud_notebook`` one of point clouds, with parameters
            dataset, backbone, protocol and seed (and views), and those of config and samples that the sweep sets. A
            relative path starts at the folder of the YAML file, else at the repository.
        output: folder of the executed notebooks, one a cell, under the folder of the YAML file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    datasets: Names
    backbones: Names
    configs: Names = [_DEFAULT_CONFIG]
    protocols: Annotated[list[Protocol], Field(min_length=1)] = ["fixed"]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    views: Names = [Projection().views]
    samples: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    root: Path | None = None
    notebook: Path = Path("notebooks/05_benchmarks_2d.ipynb")
    cloud_notebook: Path = Path("notebooks/06_point_clouds.ipynb")
    output: Path = Path("sweep-notebooks")

    def cells(self) -> list["Cell"]:
        """Every point of the grid once, in the order of the lists."""
        shown = [(name, views) for name in map(_recorded_name, self.datasets) for views in self._views_of(name)]
        points = product(shown, self.backbones, self.configs, self.protocols, self.seeds)
        cells = (
            Cell(name, views, backbone, config, protocol, seed)
            for (name, views), backbone, config, protocol, seed in points
        )
        return list(dict.fromkeys(cells))

    def _views_of(self, dataset: str) -> list[str] | list[None]:
        try:
            return self.views if task_kind(dataset) == "clouds" else [None]
        except ValueError:  # nobody knows this dataset: its cells will fail and say so, the others go on
            return [None]

    def notebook_of(self, cell: "Cell") -> Path:
        """What measures this cell."""
        return self.cloud_notebook if cell.views else self.notebook


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    dataset: str
    views: str | None
    backbone: str
    config: str
    protocol: str
    seed: int

    def __str__(self) -> str:
        data = f"{self.dataset} ({self.views})" if self.views else self.dataset
        return f"{data} {self.backbone} {self.config} {self.protocol} seed {self.seed}"

    def is_recorded(self, records: Iterable[RunRecord], samples: int | None, present: Present | None = None) -> bool:
        """Whether a record answers this cell.

        Args:
            records: what was measured.
            samples: the limit of images that a record must have; None for no limit.
            present: the data and weights that a record must be of; any when left out.
        """
        projection = str(Projection(self.views)) if self.views else None
        return any(
            (record.dataset, record.backbone, record.config, record.protocol, record.seed)
            == (self.dataset, self.backbone, self.config, self.protocol, self.seed)
            and record.method == "calip"
            and (record.projection, record.view_weighting) == (projection, "uniform" if projection else None)
            and record.limit == samples
            and (present is None or present.agrees(record))
            for record in records
        )


@dataclass(frozen=True)
class Job:
    """A cell, ready to run: on this machine or, with the same files in reach, on another.

    Attributes:
        present: the data and weights that it would measure, by which the records of others are judged.
    """

    cell: Cell
    notebook: Path
    output: Path
    parameters: dict[str, Any]
    results: Path
    root: Path | None = None
    present: Present | None = None

    @property
    def limit(self) -> int | None:
        """The limit of images that its record states."""
        return self.parameters.get("samples") or None

    def run(self, *, unless_recorded: bool = False) -> str | None:
        """Execute the notebook; afterwards there must be a new record of the cell.

        Args:
            unless_recorded: whether to leave it where another sweep has recorded the cell meanwhile.

        Returns:
            None, or what went wrong, which is no reason to leave the other cells.
        """
        try:
            before = load(self.results)
            if unless_recorded and self.cell.is_recorded(before, self.limit, self.present):
                return None
            return self._run(len(before))
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _run(self, known: int) -> str | None:
        self.output.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "papermill", str(self.notebook), str(self.output),
            "--parameters_yaml", json.dumps(self.parameters), "--cwd", str(self.notebook.parent),
            "--kernel", "python3", "--no-progress-bar",
        ]  # fmt: skip
        paths = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
        search = os.pathsep.join(filter(None, paths))
        environment = os.environ | {"CALIP_RESULTS": str(self.results), "PYTHONPATH": search}
        if self.root is not None:
            environment["CALIP_DATA"] = str(self.root)
        status, text = _run_process(command, environment)
        if status != 0:
            return f"{_last_lines(text)} (see {self.output})"
        if not self.cell.is_recorded(load(self.results)[known:], self.limit):
            return f"it ran, but left no record of this cell in {self.results} (see {self.output})"
        return None


def _run_process(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit status and error output. Ctrl-C stops the process, and with it its kernel, before it is passed on."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, text = process.communicate()
    except BaseException:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise
    return process.returncode, text


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_ERROR_LINES:]) or "the notebook's process died without a message"


def read_sweep(path: Path) -> Sweep:
    """Read ``sweep.yaml``; its relative paths are resolved.

    Raises:
        FileNotFoundError: there is no such file, or no such notebook.
        ValueError: it is no YAML, does not describe a sweep, or the notebook lacks a parameter that it sets.
        ImportError: papermill is not installed.
    """
    if find_spec("papermill") is None:
        raise ImportError("sweeps run notebooks through papermill: `pip install calip-core[book]`")
    if not path.is_file():
        raise FileNotFoundError(f"there is no sweep {path} (looked for {path.absolute()}): check the path")
    try:
        sweep = Sweep.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors())
        keys = ", ".join(Sweep.model_fields)
        raise ValueError(f"{path} does not describe a sweep: {faults}. Its keys are {keys}") from error
    unknown = sorted(set(sweep.configs) - set(CONFIGS))
    if unknown:
        raise ValueError(f"{path}: configs has {', '.join(unknown)}, expected some of {', '.join(CONFIGS)}")
    folder = path.absolute().parent
    update: dict[str, Any] = {"output": folder / sweep.output}
    update["datasets"] = [_absolute(name, folder) for name in sweep.datasets]
    update["backbones"] = [_checkpoint(name, folder) for name in sweep.backbones]
    kinds = {"cloud_notebook" if cell.views else "notebook" for cell in _cells(path, sweep)}
    update |= {kind: _notebook(getattr(sweep, kind), folder) for kind in kinds}
    if sweep.root is not None:
        update["root"] = folder / sweep.root.expanduser()
    sweep = sweep.model_copy(update=update)
    for cell in sweep.cells():
        _check_parameters(sweep, cell)
    return sweep


def _recorded_name(dataset: str) -> str:
    """What records call a dataset. One that nobody knows keeps its name: its cells will fail and say so."""
    try:
        return resolve_name(dataset)
    except ValueError:
        return dataset


def _absolute(name: str, folder: Path) -> str:
    """A reader's own folder as it can be found from anywhere: cells do not run where the YAML file lies."""
    kind, separator, path = name.partition(":")
    return f"{kind}:{(folder / Path(path).expanduser()).resolve()}" if separator else name


def _checkpoint(name: str, folder: Path) -> str:
    """The same for a checkpoint's file; any other backbone has a name."""
    path = (folder / Path(name).expanduser()).resolve()
    return str(path) if name not in available_backbones() and path.is_file() else name


def _cells(path: Path, sweep: Sweep) -> list[Cell]:
    """The cells; their datasets and view sets are known."""
    try:
        for views in sweep.views:
            view_set(views)
        return sweep.cells()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _notebook(notebook: Path, folder: Path) -> Path:
    for candidate in (folder / notebook, _REPOSITORY / notebook):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"there is no notebook {notebook}, neither in {folder} nor in {_REPOSITORY}")


def _parameters(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """What the notebook is told. What the sweep leaves open is left to the notebook."""
    values: dict[str, Any] = {
        "dataset": cell.dataset, "backbone": cell.backbone, "protocol": cell.protocol, "seed": cell.seed
    }  # fmt: skip
    if cell.views is not None:
        values["views"] = cell.views
    if sweep.configs != [_DEFAULT_CONFIG]:
        if cell.views is None:
            values["config"] = cell.config
        else:  # the chapter on clouds has six parameters without it
            values["protocol"] = f"{cell.protocol}, {cell.config}"
    samples = _samples(sweep, cell)
    if samples is not None:
        values["samples"] = samples
    return values


def _samples(sweep: Sweep, cell: Cell) -> int | None:
    """What the notebook is told, where 0 means all images: the sweep's number, or the notebook's own."""
    if sweep.samples is not None:
        return 0 if sweep.samples == "all" else sweep.samples
    default = _notebook_parameters(sweep.notebook_of(cell)).get("samples")
    return default if isinstance(default, int) else None


def describe_samples(sweep: Sweep) -> str:
    """How many test images a cell measures, and by whose word: nobody should take a thousand for all of them."""
    if sweep.samples is not None:
        return "every test image" if sweep.samples == "all" else f"at most {sweep.samples:,} test images"
    limits = {sweep.notebook_of(cell).name: _samples(sweep, cell) for cell in sweep.cells()}
    return ", ".join(
        f"at most {limit:,} test images by the default of {name}" if limit else f"every test image in {name}"
        for name, limit in limits.items()
    ) + " (`samples: all` takes every one)" * any(limits.values())


def _notebook_parameters(path: Path) -> dict[str, Any]:
    """Names and defaults in the notebook's cell tagged 'parameters'."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    found = {}
    for statement in ast.parse("\n".join("".join(cell["source"]) for cell in cells)).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            found[ast.unparse(target)] = statement.value.value
    return found


def _check_parameters(sweep: Sweep, cell: Cell) -> None:
    """papermill would set an unknown parameter, and nothing would read it."""
    notebook = sweep.notebook_of(cell)
    missing = sorted(set(_parameters(sweep, cell)) - set(_notebook_parameters(notebook)))
    if missing:
        raise ValueError(f"{notebook} has no parameter {', '.join(missing)} in its cell tagged 'parameters'")


@dataclass
class Summary:
    """What became of a sweep's cells."""

    skipped: list[Cell] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    interrupted: bool = False
    left: int = 0

    @property
    def exit_status(self) -> int:
        """0 if every cell is recorded, 1 if some failed, 130 after Ctrl-C."""
        return INTERRUPTED if self.interrupted else int(bool(self.failed))

    def __str__(self) -> str:
        lines = [f"{len(self.skipped)} recorded before, {len(self.done)} done now, {len(self.failed)} failed"]
        if self.interrupted:
            lines[0] += f", {self.left} left: interrupted, run the same command again to go on"
        lines += [f"  failed: {cell}: {fault}" for cell, fault in self.failed.items()]
        return "\n".join(lines)


Engine = Callable[[list[Job]], Iterator[tuple[Job, str | None]]]
"""Runs jobs and gives each, when it has ended, with None or what went wrong."""


def run_sweep(sweep: Sweep, results: Path, engine: Engine, *, progress: bool = True) -> Summary:
    """Run every cell that is not recorded yet. A cell that fails is noted, and the others go on.

    Args:
        sweep: the grid, from ``read_sweep``.
        results: the file of records.
        engine: ``run_here``, or ``on_ray(address)``.
        progress: whether to show a bar.
    """
    records, present_of = load(results), look(sweep.root)
    summary = Summary()
    jobs = []
    for cell in sweep.cells():
        job = _job(sweep, cell, results, present_of(cell.dataset, cell.backbone))
        if cell.is_recorded(records, job.limit, job.present):
            summary.skipped.append(cell)
        else:
            jobs.append(job)
    bar: tqdm[NoReturn] = tqdm(
        total=len(jobs) + len(summary.skipped), initial=len(summary.skipped), unit="cell", disable=not progress
    )
    with bar:
        try:
            for job, fault in engine(jobs):
                _note(summary, job.cell, fault, bar)
        except KeyboardInterrupt:
            summary.interrupted = True
    summary.left = len(jobs) - len(summary.done) - len(summary.failed)
    return summary


def _job(sweep: Sweep, cell: Cell, results: Path, present: Present) -> Job:
    parts = (cell.dataset, *filter(None, [cell.views]), cell.backbone, cell.config, cell.protocol, str(cell.seed))
    name = "_".join("".join(c if c.isalnum() or c in "-." else "-" for c in part) for part in parts)
    if len(name) > _LONGEST_NAME:  # paths are among the parts
        name = f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{name[-_LONGEST_NAME:]}"
    output = sweep.output / f"{name}.ipynb"
    return Job(cell, sweep.notebook_of(cell), output, _parameters(sweep, cell), results.absolute(), sweep.root, present)


def _note(summary: Summary, cell: Cell, fault: str | None, bar: "tqdm[NoReturn]") -> None:
    if fault is None:
        summary.done.append(cell)
    else:
        summary.failed[cell] = fault
    bar.update()
    bar.set_postfix_str(f"{len(summary.failed)} failed, last: {cell}")


def run_here(jobs: list[Job]) -> Iterator[tuple[Job, str | None]]:
    """One job after another on this machine. One that another sweep has recorded meanwhile is not run again."""
    for job in jobs:
        yield job, job.run(unless_recorded=True)


def on_ray(address: str | None = None) -> Engine:
    """Jobs on a Ray cluster, which must see the repository, the data and the results under the same paths.

    Args:
        address: of the cluster, such as "auto" or "ray://host:10001"; a cluster on this machine when left out.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine 'ray' needs the package ray: `pip install calip-core[ray]`") from error

    def run(jobs: list[Job]) -> Iterator[tuple[Job, str | None]]:
        started_here = not ray.is_initialized()
        if started_here:
            ray.init(address=address, log_to_driver=False)
        remote = ray.remote(max_retries=0)(Job.run)
        running = {remote.remote(job): job for job in jobs}
        try:
            while running:
                (done, *_), _ = ray.wait(list(running))
                yield running.pop(done), _outcome(ray, done)
        finally:
            for reference in running:
                ray.cancel(reference)
            if running:  # what a cell has started ends with it, if it is given the time
                ray.wait(list(running), num_returns=len(running), timeout=2 * _SECONDS_TO_STOP)
            if started_here:
                ray.shutdown()

    return run


def _outcome(ray: Any, reference: Any) -> str | None:
    try:
        result: str | None = ray.get(reference)
    except ray.exceptions.RayError as error:  # a worker or its machine has died
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return result
