import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from calip_core.evaluation.recorded import Present

from calip_core.backbones import load_backbone
from calip_core.datasets.standins import write_standin
from calip_core.evaluation import sweep as sweeps
from calip_core.evaluation.record import RunRecord
from calip_core.evaluation.store import append, load
from calip_core.evaluation.sweep import Sweep, read_sweep, run_here, run_sweep
from calip_core.features.manifest import precision_of
from tests.records import make_record

VIEWED = {"projection": "pointclip, 1024 points", "view_weighting": "uniform", "view_weights": [1.0] * 6}
REPOSITORY = Path(__file__).resolve().parents[2]
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
    values = {"datasets": ["a"], "backbones": ["RN50"], "notebook": "cell.ipynb", **values}
    path.write_text(yaml.safe_dump(values))
    return path


def test_cells_are_the_product_once_each():
    sweep = Sweep(datasets=["a", "b", "a"], backbones=["x"], seeds=[1, 2], protocols=["fixed", "oracle"])
    cells = sweep.cells()
    assert len(cells) == 8 and str(cells[0]) == "a x official fixed seed 1"


def test_a_dataset_has_one_name_whatever_it_is_asked_by():
    names = ["flowers102", "oxford_flowers", "ImageNet@80", "imagenet@7", "nobody's"]
    cells = Sweep(datasets=names, backbones=["x"]).cells()
    assert [cell.dataset for cell in cells] == ["oxford_flowers", "imagenet@80", "imagenet", "nobody's"]


def test_versions_of_calip_are_swept_on_images_and_on_clouds(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("datasets: [digits, mini-solids]\nbackbones: [mini-rn]\nconfigs: [paper]\nprotocols: [oracle]\n")
    sweep = read_sweep(path)
    images, clouds = (sweeps._parameters(sweep, cell) for cell in sweep.cells())
    assert (images["protocol"], images["config"]) == ("oracle", "paper")
    assert clouds["protocol"] == "oracle, paper" and "config" not in clouds


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
    assert cell.is_recorded([make_record(limit=50)], 50) and not cell.is_recorded([make_record(limit=50)], 60)
    assert not cell.is_recorded([make_record(**VIEWED)], None)
    for other in ({"seed": 1}, {"config": "paper"}, {"dataset": "dtd"}, {"backbone": "x"}, {"method": "zero_shot"}):
        assert not cell.is_recorded([make_record(**other)], None)


def test_of_clouds_a_record_with_equal_views_answers():
    (cell,) = Sweep(datasets=["mini-solids"], backbones=["RN50"]).cells()
    solids = VIEWED | {"dataset": "mini-solids"}
    assert cell.is_recorded([make_record(**solids)], None)
    assert not cell.is_recorded([make_record(**solids | {"view_weighting": "searched"})], None)


def test_a_record_of_an_older_run_proves_nothing_of_this_one(folder):
    results = folder / "runs.jsonl"
    append(make_record(dataset="forgetful", backbone="RN50", standin=True), results)
    summary = run_sweep(read_sweep(grid(folder, datasets=["forgetful"])), results, run_here, progress=False)
    assert "left no record" in next(iter(summary.failed.values()))


def test_a_sweep_over_stand_ins_resumes_until_the_split_changes(folder):
    write_standin("dtd", folder / "data", classes=2, images=5, resolution=8)
    record = {"dataset": "dtd", "backbone": "RN50", "standin": True}
    split_source = "stand-in: split_zhou_DescribableTextures.json"
    append(make_record(**record, split_source=split_source), folder / "runs.jsonl")
    sweep = read_sweep(grid(folder, datasets=["dtd"], root="data"))
    assert len(run_sweep(sweep, folder / "runs.jsonl", no_engine, progress=False).skipped) == 1
    (folder / "data/dtd/split_zhou_DescribableTextures.json").unlink()
    assert run_sweep(sweep, folder / "runs.jsonl", no_engine, progress=False).left == 1


def test_a_retrained_miniature_is_measured_again(folder):
    backbone = load_backbone("mini-rn")
    now = {"weights": backbone.weights_sha256, "precision": precision_of(backbone)}
    sweep = read_sweep(grid(folder, backbones=["mini-rn"]))
    append(make_record(dataset="a", backbone="mini-rn", **now | {"weights": "older"}), folder / "runs.jsonl")
    assert run_sweep(sweep, folder / "runs.jsonl", no_engine, progress=False).left == 1
    append(make_record(dataset="a", backbone="mini-rn", **now), folder / "runs.jsonl")
    assert len(run_sweep(sweep, folder / "runs.jsonl", no_engine, progress=False).skipped) == 1


def no_engine(jobs):
    return iter(())


def test_a_cell_that_cannot_even_start_is_a_failed_cell(folder):
    (folder / "sweep-notebooks").write_text("a file where the folder should be")
    results = folder / "runs.jsonl"
    summary = run_sweep(read_sweep(grid(folder, datasets=["a", "b"])), results, run_here, progress=False)
    assert [fault.partition(":")[0] for fault in summary.failed.values()] == ["FileExistsError"] * 2


def test_a_line_that_is_no_record_fails_its_cells_and_not_the_sweep(folder):
    results = folder / "runs.jsonl"

    def spoilt(jobs):
        results.write_text('{"dataset": 1}\n')
        yield from run_here(jobs)

    summary = run_sweep(read_sweep(grid(folder)), results, spoilt, progress=False)
    assert "line 1, is not a record of this version" in next(iter(summary.failed.values()))


def test_a_checkpoint_starts_where_the_grid_lies(folder):
    (folder / "own.pt").write_bytes(b"")
    sweep = read_sweep(grid(folder, backbones=["own.pt", "mini-rn", "open_clip:RN50/openai"]))
    assert sweep.backbones == [str(folder / "own.pt"), "mini-rn", "open_clip:RN50/openai"]


def test_a_long_path_still_gives_the_executed_notebook_a_name(folder):
    sweep = read_sweep(grid(folder, datasets=[f"folder:{'deep/' * 60}{i}" for i in (1, 2)]))
    names = {sweeps._job(sweep, cell, folder / "runs.jsonl", Present()).output.name for cell in sweep.cells()}
    assert len(names) == 2 and max(map(len, names)) < 200


def test_all_samples_can_be_asked_for_and_what_is_measured_is_said(folder):
    source = nbformat.read(folder / "cell.ipynb", as_version=4)
    source.cells[0].source += "\nsamples: int = 1000  # images"
    nbformat.write(source, folder / "cell.ipynb")
    sweep = read_sweep(grid(folder))
    assert sweeps.describe_samples(sweep).startswith("at most 1,000 test images by the default of cell.ipynb")
    assert sweeps.describe_samples(read_sweep(grid(folder, samples=7))) == "at most 7 test images"
    sweep = read_sweep(grid(folder, samples="all"))
    assert sweeps.describe_samples(sweep) == "every test image"
    (cell,) = sweep.cells()
    job = sweeps._job(sweep, cell, folder / "runs.jsonl", Present())
    assert (job.parameters["samples"], job.limit) == (0, None)
    append(make_record(dataset="a", backbone="RN50"), folder / "runs.jsonl")
    assert run_sweep(sweep, folder / "runs.jsonl", run_here, progress=False).skipped == [cell]


def test_cells_run_failures_are_survived_and_records_are_not_repeated(folder):
    results = folder / "runs.jsonl"
    append(make_record(dataset="before", backbone="RN50"), results)
    sweep = read_sweep(grid(folder, datasets=["before", "broken", "forgetful", "a"]))
    summary = run_sweep(sweep, results, run_here, progress=False)
    assert [cell.dataset for cell in summary.skipped] == ["before"]
    assert [cell.dataset for cell in summary.done] == ["a"]
    faults = {cell.dataset: fault for cell, fault in summary.failed.items()}
    assert "this dataset is broken" in faults["broken"] and "left no record" in faults["forgetful"]
    assert summary.exit_status == 1 and "failed: broken RN50" in str(summary)
    assert [record.dataset for record in load(results)] == ["before", "a"]
    executed = {path.name for path in (folder / "sweep-notebooks").iterdir()}
    assert executed == {f"{name}_RN50_official_fixed_0.ipynb" for name in ("broken", "forgetful", "a")}


def test_without_samples_the_notebooks_own_limit_counts(folder):
    source = nbformat.read(folder / "cell.ipynb", as_version=4)
    source.cells[0].source += "\nsamples: int = 50  # images"
    nbformat.write(source, folder / "cell.ipynb")
    sweep = read_sweep(grid(folder))
    (cell,) = sweep.cells()
    assert sweeps._parameters(sweep, cell)["samples"] == 50
    append(make_record(dataset="a", backbone="RN50", limit=50), folder / "runs.jsonl")
    assert run_sweep(sweep, folder / "runs.jsonl", run_here, progress=False).skipped == [cell]


def test_a_second_run_has_nothing_to_do(folder, monkeypatch):
    results = folder / "runs.jsonl"
    append(make_record(dataset="a", backbone="RN50"), results)
    monkeypatch.setattr(sweeps, "_run_process", lambda *_: pytest.fail("ran again"))
    summary = run_sweep(read_sweep(grid(folder)), results, run_here, progress=False)
    assert summary.exit_status == 0 and len(summary.skipped) == 1


def test_a_cell_that_another_sweep_records_meanwhile_is_not_run(folder, monkeypatch):
    results = folder / "runs.jsonl"

    def meanwhile(jobs):
        append(make_record(dataset="a", backbone="RN50"), results)
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


def is_running(process):
    """Whether a process is there and no mere entry that its parent has not read yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline and process.poll() is None, f"no {path}"
        time.sleep(0.05)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_ctrl_c_loses_nothing(folder, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    grid(folder, datasets=["a", "slow", "b"] if engine == "local" else ["slow"])
    process = command(folder, "--engine", engine)
    try:
        wait_for(folder / "slow.started", process)
        kernel = int((folder / "slow.started").read_text())
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 130
    done, left = (1, 2) if engine == "local" else (0, 1)
    assert f"{done} done now, 0 failed, {left} left: interrupted" in text
    assert [record.dataset for record in load(folder / "runs.jsonl")] == ["a"][:done]
    assert not is_running(kernel)  # the cell's own process has ended too


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


def test_the_real_chapter_5_is_swept_once(tmp_path):
    """The others run a quick cell of their own; this one shows that it stands for the book's chapter."""
    path, results = tmp_path / "sweep.yaml", tmp_path / "runs.jsonl"
    path.write_text("datasets: [digits]\nbackbones: [mini-rn]\nconfigs: [paper]\nsamples: 50\n")
    summary = run_sweep(read_sweep(path), results, run_here, progress=False)
    assert not summary.failed and len(summary.done) == 1
    (record,) = load(results)
    assert (record.dataset, record.backbone, record.config, record.limit) == ("digits", "mini-rn", "paper", 50)
    again = run_sweep(read_sweep(path), results, no_engine, progress=False)
    assert len(again.skipped) == 1
