"""Sweeps on Ray: on a cluster that the command starts, and on one of this machine that pretends to have two GPUs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calip_core.evaluation.engines import ray as engine
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import Outcome, groups_of, make_sweep, run_sweep
from calip_core.evaluation.worker import run_group
from tests.processes import CALIP, descendants

ray = pytest.importorskip("ray")


def groups(results, seeds=(0,), datasets=("digits",)):
    """Small groups, one per dataset, of as many cells as there are seeds."""
    return groups_of(make_sweep(datasets=datasets, backbones=["mini-rn"], seeds=seeds, samples=20), results)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """Ray's workers take over the environment in which the cluster starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CALIP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def start(folder, *options):
    (folder / "sweep.yaml").write_text("datasets: [digits]\nbackbones: [mini-rn]\nseeds: [0, 1]\nsamples: 40\n")
    command = [*CALIP, "sweep", str(folder / "sweep.yaml"), "--engine", "ray", "--quiet", *options]
    return subprocess.Popen(
        [*command, "--results", str(folder / "runs.jsonl")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_command_measures_on_a_cluster_of_its_own(tmp_path):
    sweep = start(tmp_path)
    printed, complaints = sweep.communicate(timeout=300)
    assert (sweep.returncode, printed) == (0, "0 recorded before, 2 measured now, 0 failed\n"), complaints
    assert [record.seed for record in load(tmp_path / "runs.jsonl")] == [0, 1]


def test_a_terminated_sweep_says_what_is_left_and_leaves_no_process(tmp_path):
    sweep = start(tmp_path)
    wait_for_task(sweep)
    below = descendants(sweep.pid)
    sweep.send_signal(signal.SIGTERM)
    complaints = sweep.communicate(timeout=120)[1]
    assert sweep.returncode == 143 and "left: interrupted, run the same command again" in complaints, complaints
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in below):
        assert time.monotonic() < deadline, f"outlives its sweep: {names(below)}"
        time.sleep(0.1)


def wait_for_task(sweep):
    deadline = time.monotonic() + 120
    while not any("ray::_run" in name for name in names(descendants(sweep.pid))):
        assert time.monotonic() < deadline and sweep.poll() is None, "no task has started"
        time.sleep(0.1)


def listening(pids):
    """The local addresses, in hexadecimal, at which processes accept connections."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it may end meanwhile
            sockets |= {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


CLUSTER = """
import sys
from calip_core.evaluation.engines import ray as engine
engine.ray_engine()
import ray
engine._connect(ray, None)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
JOIN = "import sys, ray; ray.init(address=sys.argv[1]); print(ray.get(ray.remote(lambda: 'inside').remote()))"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at sockets as Linux shows them")
def test_a_cluster_of_its_own_hears_this_machine_alone_and_asks_for_a_token(tmp_path):
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        address = cluster.stdout.readline().strip()
        below = descendants(cluster.pid)
        heard = listening(below)
        assert heard and heard <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
        assert all("--disable-frontend" in name for name in names(below) if "dashboard.py" in name)
        assert "inside" in join(address, RAY_AUTH_MODE="token")
        assert "inside" not in join(address, HOME=str(tmp_path), RAY_AUTH_MODE="disabled")
        cluster.stdin.close()


def join(address, **environment):
    """What somebody prints who runs a task on a cluster; nothing if that takes longer than it ever should."""
    command = ["timeout", "25", sys.executable, "-c", JOIN, address]
    environment = {**os.environ, **engine._LOCAL, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def names(pids):
    command = ["ps", "-ww", "-o", "args=", "-p", ",".join(map(str, pids))]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


@pytest.fixture(scope="module")
def two_gpus(environment):
    """A cluster of this machine that believes in two GPUs."""
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("two_gpus")
def test_each_group_has_a_gpu_and_no_more_run_than_there_are(tmp_path, monkeypatch):
    def watched(group):
        begun, gpus = time.time(), ray.get_gpu_ids()
        time.sleep(1)
        (tmp_path / f"{group.cells[0].dataset}.json").write_text(json.dumps([begun, time.time(), gpus]))
        return [Outcome(cell, "measured") for cell in group.cells]

    monkeypatch.setattr(engine, "_run", watched)
    datasets = ("digits", "photos", "mini-shapes", "mini-pairs", "mini-textures")
    summary = run_sweep(groups(tmp_path / "runs.jsonl", datasets=datasets), engine.ray_engine(), progress=False)
    assert {cell.dataset for cell in summary.measured} == set(datasets)
    runs = [json.loads((tmp_path / f"{name}.json").read_text()) for name in datasets]
    assert all(len(gpus) == 1 for _, _, gpus in runs) and {gpus[0] for *_, gpus in runs} == {0, 1}
    for begun, _, _ in runs:
        beside = [gpus[0] for start, end, gpus in runs if start <= begun < end]
        assert len(beside) == len(set(beside)) <= 2
    assert ray.is_initialized()  # whoever started the cluster ends it


@pytest.mark.usefixtures("two_gpus")
def test_the_group_of_a_worker_that_dies_is_run_again_and_nothing_is_measured_twice(tmp_path, monkeypatch):
    def dies_once(group):
        outcomes = []
        for outcome in run_group(group):
            outcomes.append(outcome)
            if not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return outcomes

    monkeypatch.setattr(engine, "_run", dies_once)
    summary = run_sweep(groups(tmp_path / "runs.jsonl", seeds=(0, 1)), engine.ray_engine(), progress=False)
    assert (tmp_path / "died").exists() and summary.failed == {}
    assert [[cell.seed for cell in cells] for cells in (summary.recorded, summary.measured)] == [[0], [1]]
    assert [record.seed for record in load(tmp_path / "runs.jsonl")] == [0, 1]


@pytest.mark.usefixtures("two_gpus")
def test_a_group_whose_workers_always_die_fails_alone(tmp_path, monkeypatch):
    def deadly(group):
        if group.cells[0].dataset == "digits":
            os._exit(3)
        return [Outcome(cell, "measured") for cell in group.cells]

    monkeypatch.setattr(engine, "_run", deadly)
    summary = run_sweep(groups(tmp_path / "runs.jsonl", datasets=("digits", "photos")), engine.ray_engine())
    assert [cell.dataset for cell in summary.measured] == ["photos"] and summary.exit_status == 1
    ((cell, reason),) = summary.failed.items()
    assert cell.dataset == "digits" and "WorkerCrashedError: " in reason
