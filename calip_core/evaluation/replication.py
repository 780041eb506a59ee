"""The replication kit: a sweep with everything fixed in advance, run where its weights and datasets are."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from calip_core.backbones.names import OPENAI
from calip_core.backbones.openai import weights_file
from calip_core.evaluation.engines.local import local_engine
from calip_core.evaluation.sweep import Cell, Summary, Sweep, available_datasets, groups_of, run_sweep
from calip_core.paths import DATA_DIR, results_file
from calip_core.published import published
from calip_core.yaml_model import read_model

KIT = DATA_DIR / "sweeps" / "replication.yaml"


@dataclass(frozen=True)
class Replication:
    """What the kit measures, and what is here of it.

    Attributes:
        sweep: the kit's grid, with the datasets that are here.
        datasets: the image datasets that are complete.
        missing_datasets: those of CALIP's published accuracies that are not; of accuracies whose backbone is stated.
        missing_weights: backbones whose checkpoint is not on this machine.
    """

    sweep: Sweep
    datasets: tuple[str, ...]
    missing_datasets: tuple[str, ...]
    missing_weights: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether all weights and at least one dataset are here."""
        return bool(self.datasets) and not self.missing_weights

    @cached_property
    def cells(self) -> list[Cell]:
        """What is measured; empty without datasets."""
        return self.sweep.cells() if self.datasets else []

    def run(self, results: Path | None = None) -> Summary:
        """Measure what is not recorded yet, here; nothing if the kit is not ready.

        Args:
            results: the file of records; ``results_file()`` by default.
        """
        if not self.ready:
            return Summary()
        return run_sweep(groups_of(self.sweep, results or results_file()), local_engine())


def replication(kit: Path = KIT, weights: Path | None = None) -> Replication:
    """The kit as it stands on this machine; nothing is fetched.

    Args:
        kit: its sweep.
        weights: the folder of OpenAI's checkpoints; clip's own by default.

    Raises:
        ValueError: the file does not describe a sweep.
    """
    sweep = read_model(kit, Sweep, "a sweep")
    here = available_datasets(sweep.root)
    asked = dict.fromkeys(row.dataset for row in published() if row.method == "calip" and row.backbone)
    missing = [name for name in sweep.backbones if name in OPENAI and not weights_file(name, weights).is_file()]
    return Replication(
        sweep.model_copy(update={"datasets": here or sweep.datasets}),
        tuple(here), tuple(name for name in asked if name not in here), tuple(missing),
    )  # fmt: skip
