"""Files that this project writes: stores, records, sweeps, cards."""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from pydantic import BaseModel

from calip_core.analysis.speed_records import read_speeds
from calip_core.backbones.base import Backbone
from calip_core.backbones.model_card import ModelCard
from calip_core.evaluation.sent import read_sent
from calip_core.evaluation.store import append, load
from calip_core.evaluation.sweep import read_sweep
from calip_core.features import FeatureStore
from calip_core.paths import DATA_DIR
from calip_core.pointclouds.views import ViewSet
from calip_core.yaml_model import read_model
from tests.backbones.clips import random_clip
from tests.evaluation.sent import sent_file
from tests.evaluation.tasks import noise_task
from tests.fuzz.harness import Target
from tests.records import make_record

_SWEEP = b"""datasets: [mini-shapes, digits]
backbones: [mini-rn]
methods: [calip, tip_adapter]
shots: [1, 4]
seeds: [0, 1]
samples: 500
"""


def _records() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runs.jsonl")
        for seed in range(2):
            append(make_record(seed=seed), path)
        return [path.read_bytes()]


def _sent() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [sent_file(Path(folder, "sent.jsonl")).read_bytes()]


def _load_records(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lines cut short are left out with a warning
        return load(path)


@cache
def _store() -> dict[str, bytes]:
    """The files of a small feature store."""
    backbone = Backbone.from_clip("random", random_clip("vit"), precision="fp32")
    with tempfile.TemporaryDirectory() as root:
        split = noise_task().splits["test"]
        store = FeatureStore.encode(backbone, split, root=Path(root), limit=4, progress=False)
        return {path.name: path.read_bytes() for path in store.folder.glob("*.*")}


def _of_store(name: str) -> Target:
    """A target for one file of a store, whose other files lie beside it."""

    def read(path: Path) -> object:
        for other, content in _store().items():
            if other != name:
                path.with_name(other).write_bytes(content)
        try:
            return list(FeatureStore.open(path.parent).batches())
        except ValueError as error:
            if str(path.parent) in str(error):  # a store is one thing: its folder is its name
                raise ValueError(f"{path}: {error}") from error
            raise

    return Target(f"store's {name}", name, lambda: [_store()[name]], read)


def _card(model: type[BaseModel]) -> Callable[[Path], object]:
    return partial(read_model, model=model, what=f"a {model.__name__}")


def _files(pattern: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [path.read_bytes() for path in sorted(DATA_DIR.glob(pattern))]


TARGETS: list[Target] = [
    Target("records", "runs.jsonl", _records, _load_records),
    Target("sent records", "sent.jsonl", _sent, read_sent),
    Target("sweep", "sweep.yaml", lambda: [_SWEEP], read_sweep),
    *(_of_store(name) for name in ("manifest.json", "00000.safetensors", "00000.sha256")),
    Target("view set", "views.yaml", _files("views/*.yaml"), _card(ViewSet)),
    Target("model card", "card.yaml", _files("miniature/*.yaml"), _card(ModelCard)),
    Target("speeds", "machine.json", _files("benchmarks/*.json"), read_speeds),
]
