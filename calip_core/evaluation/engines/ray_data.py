"""One evaluation on a Ray cluster: actors read, encode and blend images, and what they count is added up.

Tokens never leave an actor and are never stored. What grows with the number of images is the file of margins, some
60 bytes per image, and each worker's list of the images: their files and labels.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from calip_core.evaluation.engines.ray import cluster, import_ray
from calip_core.evaluation.sweep import Cell, Engine, Group, Outcome
from calip_core.paths import atomic_path

if TYPE_CHECKING:
    from calip_core.blend.landscape import BetaLandscape
    from calip_core.evaluation.draft import Draft
    from calip_core.evaluation.record import Record

_CORES = 2
_CHUNK_BATCHES = 16  # batches of one task of an actor, at most: what a dying node costs
_CHUNKS_PER_WORKER = 8  # so that no worker is idle for long at the end of a small set
_MOST_CHUNKS = 4096  # the driver keeps a reference to each
_MOST_HITS = 1 << 20  # up to so many images the record says of each whether it was right; the margins always do


@dataclass(frozen=True)
class Workers:
    """How many actors a cluster has room for, and what each of them holds.

    Attributes:
        count: actors.
        cores: cores of each, the threads that it computes and decodes with.
        gpus: GPUs of each, 0 or 1.
    """

    count: int
    cores: int
    gpus: int

    @classmethod
    def of(cls, nodes: list[dict[str, Any]], cores: int | None) -> "Workers":
        """One actor per GPU with its share of the node's cores; without GPUs, one per two cores.

        Raises:
            ValueError: no node has so many cores.
        """
        found = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = min(1, max(int(node.get("GPU", 0)) for node in found))
        if gpus:
            found = [node for node in found if node.get("GPU", 0) >= 1]
        shares = [int(node.get("CPU", 0)) // int(node["GPU"] if gpus else 1) for node in found]
        wanted = cores or max(1, min(shares) if gpus else min(_CORES, max(shares)))
        count = sum(
            min(int(node.get("CPU", 0)) // wanted, int(node["GPU"]) if gpus else int(node.get("CPU", 0)))
            for node in found
        )
        if not count:
            raise ValueError(f"no node of the cluster has {wanted} cores for a worker: ask for fewer by --cores")
        return cls(count, wanted, gpus)


def ray_data_engine(address: str | None = None, cores: int | None = None) -> Engine:
    """An engine that spreads the images of each cell over a Ray cluster by Ray Data.

    The data and the weights must have the same paths on all machines. What a lost machine was working on is done again
    elsewhere. Beside the file of records lies ``margins/KEY.parquet``: one row per test image.

    Args:
        address: of the cluster; by default, a new one on this machine alone, guarded as for ``ray_engine``.
        cores: cores of each worker; by default two, or a GPU's share of its node's.

    Raises:
        ImportError: Ray or pyarrow is not installed.
    """
    ray = import_ray(address)
    try:
        import_module("ray.data")  # which imports pyarrow
    except ImportError as error:
        raise ImportError("the engine 'ray' needs Ray Data and pyarrow: `pip install 'calip-core[ray]'`") from error

    def run(groups: list[Group]) -> Iterator[Outcome]:
        with cluster(ray, address):
            for group in groups:
                for cell in group.cells:
                    yield _outcome(ray, cell, group, cores)

    return run


def margins_file(results: Path, key: str) -> Path:
    """Where the margins of a record are, beside the file of records."""
    return results.parent / "margins" / f"{key[:16]}.parquet"


def chunks(images: int, batch: int, workers: int) -> list[range]:
    """The tasks of the actors: consecutive whole batches, several per worker, but few enough for the driver to list."""
    batches = -(-images // batch)
    fair = min(_CHUNK_BATCHES, -(-batches // (workers * _CHUNKS_PER_WORKER)))
    size = batch * max(fair, -(-batches // _MOST_CHUNKS))
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def _outcome(ray: Any, cell: Cell, group: Group, cores: int | None) -> Outcome:
    from calip_core.evaluation.store import RecordedKeys, append
    from calip_core.evaluation.worker import lock_file, reason

    try:
        run = _Run.start(ray, cell, group, Workers.of(ray.nodes(), cores))
        with FileLock(lock_file(group.results, run.draft.key)):
            if run.draft.key in RecordedKeys(group.results) and not group.again:
                return Outcome(cell, "recorded", key=run.draft.key)
            append(run.record(), group.results)
            return Outcome(cell, "measured", key=run.draft.key)
    except ray.exceptions.RayTaskError as error:
        return Outcome(cell, "failed", reason(_cause(error)))
    except Exception as error:  # a cell that fails must not stop the others
        return Outcome(cell, "failed", reason(error))


def _cause(error: BaseException) -> Exception:
    """What was raised in a worker, under the wrappings of Ray."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    return error if isinstance(error, Exception) else RuntimeError(str(error))


@dataclass
class _Run:
    """One evaluation, as the driver sees it."""

    ray: Any
    cell: Cell
    group: Group
    workers: Workers
    draft: "Draft"
    began: float

    @classmethod
    def start(cls, ray: Any, cell: Cell, group: Group, workers: Workers) -> "_Run":
        from calip_core.evaluation.engines.ray_actors import make_draft

        began = time.perf_counter()
        remote = ray.remote(num_cpus=workers.cores, num_gpus=workers.gpus)(make_draft)
        draft = ray.get(remote.remote(cell, group, workers))
        return cls(ray, cell, group, workers, draft, began)

    def record(self) -> "Record":
        """Choose the blend if that is asked for, classify the test images, and write their margins."""
        if self.draft.judge:
            self.draft = self.draft.choosing(self._landscape())
        path = margins_file(self.group.results, self.draft.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            return self._scored(temporary)

    def _landscape(self) -> "BetaLandscape":
        from calip_core.blend.landscape import BetaLandscape
        from calip_core.blend.selection import Grid
        from calip_core.evaluation.engines.ray_actors import Judge

        grid, images = Grid.released(), self.draft.judge_images
        correct = np.zeros(grid.shape, np.int64)
        for table in self._tables(Judge, str(self.draft.judge), images):
            correct += table["correct"].combine_chunks().flatten().to_numpy().reshape(-1, *grid.shape).sum(axis=0)
        return BetaLandscape(grid.beta2, grid.beta3, correct, images)

    def _scored(self, path: Path) -> "Record":
        """The record; the margins go to a file as they come, in the order of the images."""
        from pyarrow import parquet

        from calip_core.evaluation.counts import Counts, score_part
        from calip_core.evaluation.engines.ray_actors import Classifier, margins_schema
        from calip_core.evaluation.record import SpreadPart, pack_hits
        from calip_core.evaluation.streams import BATCH

        draft, images = self.draft, self.draft.data.images
        classes, rounding = draft.data.classes, 0.0
        counts = Counts.none(classes)
        hits: list[np.ndarray] = []
        with parquet.ParquetWriter(path, margins_schema()) as writer:
            for table in self._tables(Classifier, "test", images):
                own, clip, labels = (table[name].to_numpy() for name in ("correct", "clip_correct", "label"))
                counts += Counts.of(own, clip, labels, classes=classes)
                rounding = max(rounding, float(table["rounding"].to_numpy().max()))
                writer.write_table(table.drop_columns(["images", "rounding"]))
                hits += [np.stack([own, clip])] * (images <= _MOST_HITS)
        names = ("hits", "clip_hits")
        kept = dict(zip(names, map(pack_hits, np.concatenate(hits, axis=1)), strict=True)) if hits else {}
        doubtful = _doubtful(path, 2 * rounding)
        spread = SpreadPart(
            workers=self.workers.count, threads=self.workers.cores, batch=BATCH, rounding=rounding, doubtful=doubtful
        )
        score = score_part(counts, draft.head_part.method, **kept)
        return draft.record(score, time.perf_counter() - self.began, spread)

    def _tables(self, actor: type, split: str, images: int) -> Iterator[Any]:
        """What actors make of all images of a split, in the split's order.

        Raises:
            RuntimeError: images are missing, or came twice; nothing of that is recorded.
        """
        from calip_core.evaluation.streams import BATCH

        items = [{"start": part.start, "stop": part.stop} for part in chunks(images, BATCH, self.workers.count)]
        context = self.ray.data.DataContext.get_current().copy()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False  # ours counts images
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        at = 0
        bar: tqdm[NoReturn] = tqdm(total=images, desc=split, unit="image", disable=not self.group.progress, leave=False)
        with bar, self.ray.data.DataContext.current(context):
            data = self.ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                actor,
                fn_constructor_args=(self.cell, self.group, self.workers, self.ray.put(self.draft), split),
                batch_size=None, batch_format="pyarrow", num_cpus=self.workers.cores, num_gpus=self.workers.gpus,
                compute=self.ray.data.ActorPoolStrategy(size=min(self.workers.count, len(items))),
            )  # fmt: skip
            for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
                firsts, counts = table["image"].to_numpy(), table["images"].to_numpy()
                if not np.array_equal(firsts, at + np.cumsum(counts) - counts):
                    raise RuntimeError(f"the workers gave images {firsts[:1]} after {at} of {images}: measure again")
                at += int(counts.sum())
                bar.update(at - bar.n)
                yield table
        if at != images:
            raise RuntimeError(f"{at} of {images} images came back from the workers: measure again")


def _doubtful(path: Path, slack: float) -> int:
    """How many images of a file of margins have one below ``slack``, for the head or for CLIP."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    found = 0
    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(columns=["margin", "clip_margin"]):
            close = (pc.less(pc.abs(part[name]), slack) for name in ("margin", "clip_margin"))
            found += pc.sum(pc.or_(*close)).as_py() or 0
    return found
