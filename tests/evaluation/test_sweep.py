"""Sweeps: what is refused before anything starts, what is shared, and what ends when a sweep is stopped."""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from calip_core.commands import evaluate
from calip_core.evaluation import worker
from calip_core.evaluation.engines.local import local_engine
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import Outcome, Summary, groups_of, make_sweep, read_sweep, run_sweep
from calip_core.methods import METHODS
from calip_core.methods.registry import HEADS
from tests.processes import CALIP, descendants

GRID = """
datasets: [digits]
backbones: [mini-rn]
protocols: [fixed, validation]
samples: 40
"""


def write(folder, text=GRID):
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_cells_are_the_product_and_those_of_one_backbone_stand_together():
    sweep = make_sweep(
        datasets=["digits", "mini-solids"], backbones=["mini-rn", "mini-vit"], methods=["calip", "gda"],
        configs=["official", "paper"], shots=[0, 1, 4], seeds=[1, 2], views=["pointclip", "pointclip_v2"],
        priors=["keep", "mean"],
    )  # fmt: skip
    cells = sweep.cells()
    assert len(cells) == len(set(cells)) == (1 + 2) * 2 * (2 * 2 + 2) * 2  # data, backbones, versions and shots, seeds
    assert {cell.shots for cell in cells if cell.method == "calip"} == {0}
    assert {cell.shots for cell in cells if cell.method == "gda"} == {1, 4}
    by_name = {str(cell): cell.options for cell in cells}
    assert by_name["digits mini-rn calip fixed seed 1"] == {"config": "official", "prior": "keep"}
    assert by_name["digits mini-rn calip (paper, prior mean) fixed seed 1"] == {"config": "paper", "prior": "mean"}
    assert by_name["digits mini-rn gda fixed 1 shots seed 1"] == {}
    results = Path("runs.jsonl")
    groups = groups_of(sweep, results)
    assert len(groups) == 3 * 2 and all(len({cell.loads for cell in group.cells}) == 1 for group in groups)
    shards = [groups_of(sweep, results, shard=(i, 5)) for i in range(1, 6)]
    assert [cell for shard in shards for group in shard for cell in group.cells] == cells


def test_the_rule_for_short_classes_reaches_the_record():
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    asked = ["evaluate", "digits", "mini-rn", "--method", "gda", "--shots", "4", "--short", "dassl"]
    sweep = evaluate._sweep(parser.parse_args(asked))
    (group,) = groups_of(sweep, Path("runs.jsonl"))
    planned = worker.plan_cell(group.cells[0], group, *worker.load(group, "cpu"))
    assert planned.data.support.short == "dassl"
    assert make_sweep(datasets=["digits"], backbones=["mini-rn"]).short == "error"


def test_what_is_known_of_heads_without_loading_them_is_true():
    assert {name: entry.learns for name, entry in HEADS.items()} == {
        name: head.sees == "labels" for name, head in METHODS.items()
    }


def test_only_the_paths_of_own_files_become_absolute(tmp_path):
    with pytest.raises(ValueError, match="unknown dataset 'hub:ethz/food101'"):
        make_sweep(datasets=["hub:ethz/food101"], backbones=["mini-rn"])
    names = [f"{prefix}x" for prefix in ("folder:", "points:", "wds:", "parquet:")]
    placed = make_sweep(datasets=names, backbones=["mini-rn"]).datasets
    assert placed == [name.replace(":", f":{Path.cwd()}/") for name in names]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[digits]", "[digitz]"), "unknown dataset 'digitz' .did you mean 'digits'"),
        (("[mini-rn]", "[mini-rm]"), "unknown backbone 'mini-rm'"),
        (("samples: 40", "seeds: [010]"), "seeds has '010', expected a whole number"),
        (("samples: 40", "seeds: [true]"), "seeds has True, expected a whole number"),
        (("samples: 40", "seeds: [-1]"), "seeds has -1, expected at least 0"),
        (("samples: 40", "samples: 0"), "samples: 0 is not allowed, expected a whole number of at least 1, or all"),
        (("samples: 40", "samples: 40\nsamples: 50"), "the key 'samples' is given in line 5 and again"),
        (("samples: 40", "sample: 40"), "unknown key 'sample': did you mean 'samples'[?] Keys: datasets, backbones"),
        (("samples: 40", "methods: [gdb]"), "unknown method 'gdb', expected one of zero_shot, calip"),
        (("samples: 40", "methods: [gda]"), "gda learns from labelled images: give shots"),
        (("samples: 40", "configs: [ours]"), "unknown config 'ours', expected one of official"),
        (("samples: 40", "priors: [none]"), "unknown prior 'none', expected one of keep, constant, mean"),
        (("samples: 40", "views: [all]"), "unknown view set 'all', expected one of"),
        (("fixed, validation", "fix"), "protocols has 'fix', expected 'fixed'"),
        (("samples: 40", "tokens: [values]"), "tokens has 'values', expected 'joint'"),
        (("samples: 40", "short: skip"), "short is 'skip', expected 'error', 'take', 'repeat' or 'dassl'"),
        (("datasets: [digits]", "datasets: []"), r"datasets is \[\], expected 1 or more entries"),
        (("datasets: [digits]", "datasets: digits"), r"datasets is 'digits', expected a list: write \[digits\]"),
        (
            ("datasets: [digits]", "dataset: [digits]"),
            "sweep: unknown key 'dataset': did you mean 'datasets'[?] Keys: .*root$",
        ),
        ((GRID, ""), "the file is empty: it needs at least datasets and backbones"),
        (("[digits]", "[digits"), 'in "sweep.yaml", line'),
    ],
)
def test_every_name_type_and_range_is_checked_first(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_sweep(write(tmp_path, GRID.replace(*change)))
    assert "sweep.yaml" in str(caught.value)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"{tmp_path} is a folder, expected a YAML file"):
        read_sweep(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"there is no sweep {tmp_path}/none.yaml: check the path"):
        read_sweep(tmp_path / "none.yaml")


def test_a_bad_file_is_refused_by_the_command_before_torch_is_imported(tmp_path):
    path = write(tmp_path, GRID.replace("digits", "digitz"))
    code = (
        f"import sys; from calip_core.cli import main; status = main(['sweep', {str(path)!r}]); "
        "print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"] and "unknown dataset 'digitz'" in done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(cache, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(cache))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.usefixtures("environment")
def test_a_sweep_measures_each_cell_once_and_resumes(tmp_path):
    results = tmp_path / "runs.jsonl"
    groups = groups_of(read_sweep(write(tmp_path)), results)
    first = run_sweep(groups, local_engine(), progress=False)
    assert (len(first.measured), first.exit_status) == (2, 0)
    assert [record.choice.protocol for record in load(results)] == ["fixed", "validation"]
    again = run_sweep(groups, local_engine(), progress=False)
    assert (len(again.recorded), len(again.measured)) == (2, 0) and len(load(results)) == 2
    more = groups_of(read_sweep(write(tmp_path, GRID + "seeds: [0, 1]\n")), results)
    assert str(run_sweep(more, local_engine(), progress=False)) == "2 recorded before, 2 measured now, 0 failed"


@pytest.mark.usefixtures("environment")
def test_sweeps_at_once_share_the_work(tmp_path):
    path = write(tmp_path, GRID + "seeds: [0, 1, 2]\n")
    command = [*CALIP, "sweep", str(path), "--results", str(tmp_path / "runs.jsonl"), "--quiet"]
    sweeps = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [sweep.communicate()[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0]
    keys = [record.key for record in load(tmp_path / "runs.jsonl")]
    assert len(keys) == len(set(keys)) == 6
    assert sum(int(text.split(", ")[1].split()[0]) for text in printed) == 6


@pytest.mark.usefixtures("environment")
def test_a_cell_that_fails_does_not_stop_the_others(tmp_path):
    sweep = make_sweep(datasets=["photos", "digits"], backbones=["mini-rn"], protocols=["validation"], samples=20)
    summary = run_sweep(groups_of(sweep, tmp_path / "runs.jsonl"), local_engine(), progress=False)
    assert [cell.dataset for cell in summary.measured] == ["digits"] and summary.exit_status == 1
    assert "has no val images" in next(iter(summary.failed.values()))


@pytest.mark.usefixtures("environment")
def test_batches_have_the_size_of_the_sweep_where_a_head_sees_them(tmp_path):
    asked = {"datasets": ["digits"], "backbones": ["mini-rn"], "methods": ["stata", "tda"], "samples": 20}
    for size in (None, 5):
        groups = groups_of(make_sweep(**asked, batch_size=size), tmp_path / "runs.jsonl")
        assert run_sweep(groups, local_engine(), progress=False).exit_status == 0
    records = load(tmp_path / "runs.jsonl")
    sizes = [(record.head.method, record.head.batch_size) for record in records]
    assert sizes[0] == ("stata", None) and sorted(sizes[1:]) == [("stata", 5), ("tda", None)]


@pytest.mark.usefixtures("environment")
def test_a_worker_that_dies_loses_its_cell_alone(tmp_path):
    sweep = make_sweep(datasets=["digits"], backbones=["mini-rn"], seeds=[0, 1], samples=20)
    (group,) = groups_of(sweep, tmp_path / "runs.jsonl")
    deadly = replace(group.cells[0], dataset=_Deadly("digits"))
    outcomes = list(local_engine()([replace(group, cells=(deadly,)), group]))
    assert [outcome.state for outcome in outcomes] == ["failed", "measured", "measured"]
    assert "its process died (exit status 3)" in outcomes[0].reason


class _Deadly(str):
    """A dataset's name that ends the process in which it is unpickled."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_sweep_says_what_is_left_and_leaves_no_process(tmp_path, number, status):
    path = write(tmp_path, GRID.replace("40", "all").replace("[mini-rn]", "[mini-rn, mini-vit]"))
    command = [*CALIP, "sweep", str(path), "--results", str(tmp_path / "runs.jsonl"), "--quiet"]
    sweep = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_ctrl_c)
    children = []
    while not children:
        time.sleep(0.05)
        children = descendants(sweep.pid)
    time.sleep(1)
    sweep.send_signal(number)
    printed = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == status and "left: interrupted, run the same command again" in printed
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline, "a process outlives its sweep"
        time.sleep(0.1)


def _hear_ctrl_c():
    """A shell in the background ignores SIGINT, and what it starts inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_summary_counts_and_explains():
    (cell,) = make_sweep(datasets=["digits"], backbones=["mini-rn"]).cells()
    summary = Summary()
    summary.add(Outcome(cell, "failed", "ValueError: no"))
    assert str(summary).splitlines() == [
        "0 recorded before, 0 measured now, 1 failed",
        "  failed: digits mini-rn calip fixed seed 0: ValueError: no",
    ]
