import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from calip_core import sweep as sweeps
from calip_core.records import RunRecord
from calip_core.results import append, load
from calip_core.sweep import Sweep, read_sweep, run_here, run_sweep
from tests.records import make_record

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATE = make_record(dataset="DATASET", backbone="BACKBONE", seed=123456).model_dump_json()
# The notebook records by itself, without importing the library: a kernel then starts in no time.
CELL = f'''
import os, time
if dataset == "broken":
    raise RuntimeError("this dataset is broken")
if dataset == "slow":
    with open("slow.started.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename("slow.started.part", "slow.started")
    time.sleep(300)
line = {TEMPLATE!r}.replace("DATASET", dataset).replace("BACKBONE", backbone).replace("123456", str(seed))
if dataset != "forgetful":
    with open(os.environ["CALIP_RESULTS"], "a") as file:
        file.write(line + "\\n")
'''


@pytest.fixture
def folder(tmp_path):
    parameters = nbformat.v4.new_code_cell(
        'dataset: str = "x"  # a name\nbackbone = "y"\nprotocol = "fixed"\nseed: int = 0',
        metadata={"tags": ["parameters"]},
    )
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "cell.ipynb")
    return tmp_path


def grid(folder, **values):
    path = folder / "sweep.yaml"
    values = {"datasets": ["a"], "backbones": ["mini-rn"], "notebook": "cell.ipynb", **values}
    path.write_text(yaml.safe_dump(values))
    return path


def test_cells_are_the_product_once_each():
    sweep = Sweep(datasets=["a", "b", "a"], backbones=["x"], seeds=[1, 2], protocols=["fixed", "oracle"])
    cells = sweep.cells()
    assert len(cells) == 8 and str(cells[0]) == "a x official fixed seed 1"


def test_a_dataset_has_one_name_whatever_it_is_asked_by():
    cells = Sweep(datasets=["flowers102", "oxford_flowers"], backbones=["x"]).cells()
    assert [cell.dataset for cell in cells] == ["oxford_flowers"]


def test_own_folders_start_where_the_grid_lies(folder):
    sweep = read_sweep(grid(folder, datasets=["folder:mine", "digits"]))
    assert sweep.datasets == [f"folder:{folder / 'mine'}", "digits"]


def test_clouds_are_swept_over_view_sets_by_their_own_chapter():
    sweep = Sweep(datasets=["digits", "mini-solids"], backbones=["x"], views=["pointclip", "pointclip_v2"])
    shown = [(cell.dataset, cell.views, sweep.notebook_of(cell).name) for cell in sweep.cells()]
    chapters = "05_benchmarks_2d.ipynb", "06_point_clouds.ipynb"
    clouds = [("mini-solids", views, chapters[1]) for views in ("pointclip", "pointclip_v2")]
    assert shown == [("digits", None, chapters[0]), *clouds]
    record = make_record(
        dataset="mini-solids", backbone="x", projection="pointclip, 1024 points", view_weighting="uniform",
        view_weights=[1.0] * 6,
    )  # fmt: skip
    assert [cell.is_recorded([record], None) for cell in sweep.cells()] == [False, True, False]


def test_a_recorded_cell_is_known_by_all_it_states():
    (cell,) = Sweep(datasets=["eurosat"], backbones=["RN50"]).cells()
    assert cell.is_recorded([make_record(limit=None)], None) and not cell.is_recorded([make_record(limit=50)], None)
    assert not cell.is_recorded([make_record(standin=True)], None)
    assert cell.is_recorded([make_record(standin=True)], None, standins=True)
    assert cell.is_recorded([make_record(limit=50)], 50) and not cell.is_recorded([make_record(limit=50)], 60)
    for other in ({"seed": 1}, {"config": "paper"}, {"dataset": "dtd"}, {"backbone": "x"}, {"method": "zero_shot"}):
        assert not cell.is_recorded([make_record(**other)], None)


def test_cells_run_failures_are_survived_and_records_are_not_repeated(folder):
    results = folder / "runs.jsonl"
    append(make_record(dataset="before", backbone="mini-rn"), results)
    sweep = read_sweep(grid(folder, datasets=["before", "broken", "forgetful", "a"]))
    summary = run_sweep(sweep, results, run_here, progress=False)
    assert [cell.dataset for cell in summary.skipped] == ["before"]
    assert [cell.dataset for cell in summary.done] == ["a"]
    faults = {cell.dataset: fault for cell, fault in summary.failed.items()}
    assert "this dataset is broken" in faults["broken"] and "left no record" in faults["forgetful"]
    assert summary.exit_status == 1 and "failed: broken mini-rn" in str(summary)
    assert [record.dataset for record in load(results)] == ["before", "a"]
    executed = {path.name for path in (folder / "sweep-notebooks").iterdir()}
    assert executed == {f"{name}_mini-rn_official_fixed_0.ipynb" for name in ("broken", "forgetful", "a")}


def test_without_samples_the_notebooks_own_limit_counts(folder):
    source = nbformat.read(folder / "cell.ipynb", as_version=4)
    source.cells[0].source += "\nsamples: int = 50  # images"
    nbformat.write(source, folder / "cell.ipynb")
    sweep = read_sweep(grid(folder))
    (cell,) = sweep.cells()
    assert sweeps._parameters(sweep, cell)["samples"] == 50
    append(make_record(dataset="a", backbone="mini-rn", limit=50), folder / "runs.jsonl")
    assert run_sweep(sweep, folder / "runs.jsonl", run_here, progress=False).skipped == [cell]


def test_a_second_run_has_nothing_to_do(folder, monkeypatch):
    results = folder / "runs.jsonl"
    append(make_record(dataset="a", backbone="mini-rn"), results)
    monkeypatch.setattr(sweeps, "_run_process", lambda *_: pytest.fail("ran again"))
    summary = run_sweep(read_sweep(grid(folder)), results, run_here, progress=False)
    assert summary.exit_status == 0 and len(summary.skipped) == 1


def test_a_cell_that_another_sweep_records_meanwhile_is_not_run(folder, monkeypatch):
    results = folder / "runs.jsonl"

    def meanwhile(jobs):
        append(make_record(dataset="a", backbone="mini-rn"), results)
        yield from run_here(jobs)

    monkeypatch.setattr(sweeps, "_run_process", lambda *_: pytest.fail("ran again"))
    assert len(run_sweep(read_sweep(grid(folder)), results, meanwhile, progress=False).done) == 1


def command(folder, *more):
    code = (
        "import argparse, sys; from calip_core.commands import sweep; parser = argparse.ArgumentParser(); "
        "sweep.add_parser(parser.add_subparsers()); arguments = parser.parse_args(); sys.exit(arguments.run(arguments))"
    )
    arguments = ["sweep", str(folder / "sweep.yaml"), "--results", str(folder / "runs.jsonl"), *more]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def heed_ctrl_c():
    """Tests that a shell runs in the background ignore Ctrl-C, and what they start would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline and process.poll() is None, f"no {path}"
        time.sleep(0.05)


def test_ctrl_c_loses_nothing(folder):
    grid(folder, datasets=["a", "slow", "b"])
    process = command(folder)
    try:
        wait_for(folder / "slow.started", process)
        kernel = int((folder / "slow.started").read_text())
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "1 done now, 0 failed, 2 left: interrupted" in text
    assert [record.dataset for record in load(folder / "runs.jsonl")] == ["a"]
    with pytest.raises(ProcessLookupError):  # the cell's own process has ended too
        os.kill(kernel, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"datasets": []}, "does not describe a sweep: datasets"),
        ({"dataset": ["a"]}, "does not describe a sweep: dataset: Extra"),
        ({"protocols": ["magic"]}, "does not describe a sweep: protocols.0"),
        ({"configs": ["magic"]}, "configs has magic, expected some of official"),
        ({"configs": ["paper"]}, "cell.ipynb has no parameter config"),
        ({"samples": 5}, "cell.ipynb has no parameter samples"),
        ({"notebook": "absent.ipynb"}, "no notebook absent.ipynb"),
    ],
)
def test_a_bad_grid_is_named_before_anything_runs(folder, values, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_sweep(grid(folder, **values))


def test_no_grid_and_no_yaml(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no sweep"):
        read_sweep(tmp_path / "sweep.yaml")
    (tmp_path / "sweep.yaml").write_text("datasets: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_sweep(tmp_path / "sweep.yaml")


def test_ray_absent_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install calip-core\[ray\]"):
        sweeps.on_ray()


def start_ray(ray, attempts=3):
    """Ray gives its own daemon half a minute to start, which a busy machine may not have."""
    for attempt in range(attempts):
        try:
            return ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        except Exception:
            ray.shutdown()
            if attempt == attempts - 1:
                raise


def test_a_local_ray_of_two_workers_runs_the_same_cells(folder):
    ray = pytest.importorskip("ray")
    results = folder / "runs.jsonl"
    sweep = read_sweep(grid(folder, datasets=["a", "b", "broken"]))
    start_ray(ray)
    try:
        summary = run_sweep(sweep, results, sweeps.on_ray(), progress=False)
    finally:
        ray.shutdown()
    assert {cell.dataset for cell in summary.done} == {"a", "b"}
    assert [cell.dataset for cell in summary.failed] == ["broken"] and summary.exit_status == 1
    assert sorted(record.dataset for record in load(results)) == ["a", "b"]
    assert all(isinstance(record, RunRecord) for record in load(results))
