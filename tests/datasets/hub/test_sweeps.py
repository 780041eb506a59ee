"""Sweeps and few shots over both formats: what is measured is what the same pictures without files give."""

from calip_core.backbones import load_backbone
from calip_core.evaluation.engines.local import local_engine
from calip_core.evaluation.evaluate import evaluate
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import groups_of, read_sweep, run_sweep
from tests.datasets.hub.written import plain_task, write_shards, write_tables


def test_a_sweep_takes_both_formats(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "shards")
    write_tables(tmp_path / "tables")
    (tmp_path / "sweep.yaml").write_text(
        "datasets: ['wds:shards', 'parquet:tables']\nbackbones: [mini-rn]\nmethods: [calip, gda]\n"
        "shots: [2]\nseeds: [1]\n"
    )
    results = tmp_path / "runs.jsonl"
    summary = run_sweep(groups_of(read_sweep(tmp_path / "sweep.yaml"), results), local_engine(), progress=False)
    assert str(summary) == "0 recorded before, 4 measured now, 0 failed"
    backbone = load_backbone("mini-rn", device="cpu")
    for record in load(results):
        kind, _, path = record.data.task.partition(":")
        assert path == str(tmp_path / {"wds": "shards", "parquet": "tables"}[kind])
        plain = evaluate(
            plain_task("plain", record.data.templates), backbone, record.head.method, shots=record.shots, seed=1,
            features=tmp_path / "features", progress=False,
        )  # fmt: skip
        assert record.score == plain.score
