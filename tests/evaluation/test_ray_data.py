"""One evaluation spread over a cluster: three nodes that this machine plays, of one core each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.attention import calip_logits
from calip_core.backbones import load_backbone
from calip_core.blend.landscape import beta_landscape
from calip_core.blend.selection import FIXED, Grid
from calip_core.cli import main
from calip_core.datasets import load_task
from calip_core.evaluation.engines import ray_data
from calip_core.evaluation.engines.ray_data import Workers, chunks, margins_file, ray_data_engine
from calip_core.evaluation.evaluate import evaluate, plan
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import groups_of, make_sweep, run_sweep
from calip_core.features import encode_split, text_features

ray = pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")
IMAGES = 300
WHAT = {"datasets": ["mini-shapes"], "backbones": ["mini-rn"], "samples": IMAGES}


def three_nodes(tries=3):
    """A head and two others; on a busy machine Ray may give up on one that takes longer than half a minute."""
    from ray.cluster_utils import Cluster

    nodes, arguments = Cluster(), {"num_cpus": 1, "object_store_memory": 80 << 20}
    for attempt in range(tries):
        try:
            nodes.add_node(include_dashboard=False, **arguments)
            return nodes, [nodes.add_node(**arguments) for _ in range(2)]
        except Exception as error:
            nodes.shutdown()
            if attempt == tries - 1 or "timed out" not in str(error):
                raise
            nodes = Cluster()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three nodes; whoever kills one leaves two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CALIP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes, others = three_nodes()
        ray.init(address=nodes.address, log_to_driver=False)
        yield nodes, others
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def alone():
    """The records of one machine with one thread, by protocol; computed once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    task, backbone = load_task("mini-shapes"), load_backbone("mini-rn", device="cpu")
    same = {"control_repeats": 1, "progress": False}
    yield lambda protocol, limit=IMAGES: evaluate(task, backbone, protocol=protocol, limit=limit, **same)
    torch.set_num_threads(threads)


def measured(tmp_path, **what):
    """The record that the cluster makes of one cell, and its margins."""
    results = tmp_path / "runs.jsonl"
    summary = run_sweep(groups_of(make_sweep(**WHAT | what), results), ray_data_engine(cores=1), progress=False)
    assert summary.failed == {}
    (record,) = load(results)
    return record, parquet.read_table(margins_file(results, record.key)).to_pydict()


@pytest.fixture(scope="module")
def fixed(cluster, tmp_path_factory):
    return measured(tmp_path_factory.mktemp("fixed"))


def assert_alike(record, expected):
    """The records say the same, but for what only one machine or only a cluster can say."""
    control = {"control_gain": None, "control_p": None, "control_repeats": None}
    assert record.key == expected.key
    assert record.score == expected.score.model_copy(update=control)
    assert record.choice == expected.choice
    assert record.head == expected.head.model_copy(update={"fit_seconds": 0.0})


def test_the_cluster_counts_what_one_machine_counts(fixed, alone):
    record, margins = fixed
    expected = alone("fixed")
    assert_alike(record, expected)
    assert (record.run.spread.workers, record.run.spread.threads, expected.run.spread) == (3, 1, None)
    assert margins["image"] == list(range(IMAGES)) and margins["correct"] == expected.correct().tolist()
    assert margins["clip_correct"] == expected.correct_by_clip().tolist()


@pytest.mark.usefixtures("cluster")
def test_landscapes_of_parts_choose_what_the_whole_chooses(tmp_path, alone):
    what = {"samples": 100, "protocols": ["validation"]}
    assert_alike(measured(tmp_path, **what)[0], alone("validation", limit=100))


def test_the_oracle_s_choice_is_that_of_one_machine(alone):
    task, backbone = load_task("mini-shapes"), load_backbone("mini-rn", device="cpu")
    draft = plan(task, backbone, protocol="oracle", limit=IMAGES).draft()
    tokens, labels = encode_split(backbone, task.splits["test"], limit=IMAGES, progress=False)
    grid = Grid.released()
    terms = draft.head.scaled_terms(tokens.to(torch.float16).to(torch.float32))
    landscape = beta_landscape(terms, labels, beta2=grid.beta2, beta3=grid.beta3)
    assert (draft.judge, draft.judge_images) == ("test", IMAGES)
    assert draft.choosing(landscape).choice == alone("oracle").choice


def test_margins_are_leads_of_the_label_and_the_five_best_classes_are_there(fixed):
    record, margins = fixed
    task, backbone = load_task("mini-shapes"), load_backbone("mini-rn", device="cpu")
    tokens, labels = encode_split(backbone, task.splits["test"], limit=IMAGES, progress=False)
    text = text_features(backbone, task.classnames, task.templates)
    terms = calip_logits(tokens, text, logit_scale=backbone.logit_scale)
    blend = terms.combine(beta2=FIXED[0], beta3=FIXED[1]).numpy().astype(float)
    assert margins["label"] == labels.tolist()
    for name, logits in (("margin", blend), ("clip_margin", terms.clip.numpy().astype(float))):
        leads = [row[y] - max(np.delete(row, y)) for row, y in zip(logits, labels, strict=True)]
        assert margins[name] == pytest.approx(leads, abs=0.02)
    for row, top, found in zip(blend, margins["top"], margins["top_logits"], strict=True):
        assert found == pytest.approx(sorted(row)[:-6:-1], abs=0.02)
        assert found == pytest.approx(row[top], abs=0.02)
    spread = record.run.spread
    close = [min(abs(own), abs(clip)) for own, clip in zip(margins["margin"], margins["clip_margin"], strict=True)]
    assert 0 < spread.rounding < 0.02
    assert spread.doubtful == sum(lead < 2 * spread.rounding for lead in close)


@pytest.mark.usefixtures("cluster")
def test_what_cannot_be_spread_is_refused_by_name(tmp_path, capsys):
    command = ["evaluate", "mini-shapes", "mini-rn", "--limit", "20", "--engine", "ray", "--cores", "1"]
    assert main([*command, "--results", str(tmp_path / "runs.jsonl"), "--prior", "mean"]) == 1
    assert "calip sees unlabelled here" in capsys.readouterr().err
    assert not (tmp_path / "runs.jsonl").exists()
    assert main([*command, "--results", str(tmp_path / "runs.jsonl")]) == 0
    said, (record,) = capsys.readouterr().out, load(tmp_path / "runs.jsonl")
    assert "20 images" in said and str(margins_file(tmp_path / "runs.jsonl", record.key)) in said


@pytest.mark.usefixtures("cluster")
def test_an_image_that_cannot_be_read_is_named(tmp_path):
    for name in ("red", "blue"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 64), name).save(tmp_path / "pictures" / name / f"{number}.png")
    broken = tmp_path / "pictures" / "red" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    what = WHAT | {"datasets": [f"folder:{tmp_path / 'pictures'}"]}
    groups = groups_of(make_sweep(**what), tmp_path / "runs.jsonl")
    (reason,) = run_sweep(groups, ray_data_engine(cores=1), progress=False).failed.values()
    assert str(broken) in reason
    assert not (tmp_path / "runs.jsonl").exists() and not list(tmp_path.rglob("*.parquet*"))


@pytest.mark.usefixtures("cluster")
def test_a_machine_with_other_weights_takes_no_part(tmp_path, monkeypatch):
    started = ray_data._Run.start

    def otherwise(*arguments):
        run = started(*arguments)
        encoder = run.draft.encoder.model_copy(update={"weights": "f" * 64})
        return replace(run, draft=replace(run.draft, encoder=encoder))

    monkeypatch.setattr(ray_data._Run, "start", otherwise)
    groups = groups_of(make_sweep(**WHAT | {"samples": 20}), tmp_path / "runs.jsonl")
    (reason,) = run_sweep(groups, ray_data_engine(cores=1), progress=False).failed.values()
    assert reason.startswith("mini-rn has weights ") and "ffffffffffff in float32 on cpu where it was planned" in reason
    assert not (tmp_path / "runs.jsonl").exists() and not list(tmp_path.rglob("*.parquet*"))


@pytest.mark.parametrize("workers", [1, 3, 1000])
@pytest.mark.parametrize("images", [1, 64, 1_000, 1_025, 50_000, 4_194_305, 10**9])
def test_chunks_are_whole_batches_of_all_images_and_stay_few(images, workers):
    parts = chunks(images, 64, workers)
    ends = [0, *(part.stop for part in parts)]
    assert [part.start for part in parts] == ends[:-1] and ends[-1] == images and len(parts) <= 4096
    assert all(part.start % 64 == 0 for part in parts)
    assert len(parts) >= min(workers, -(-images // 64))  # none is idle


def test_there_is_one_worker_per_gpu_or_per_two_cores():
    def nodes(*resources):
        return [{"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in resources]

    assert Workers.of(nodes((4, 0), (3, 0)), None) == Workers(count=3, cores=2, gpus=0)
    assert Workers.of(nodes((1, 0), (1, 0)), None) == Workers(count=2, cores=1, gpus=0)
    assert Workers.of(nodes((4, 0), (4, 0)), 1) == Workers(count=8, cores=1, gpus=0)
    assert Workers.of(nodes((16, 0), (64, 8), (12, 2)), None) == Workers(count=10, cores=6, gpus=1)
    dead = [node | {"Alive": False} for node in nodes((64, 8))]
    assert Workers.of(nodes((2, 0)) + dead, None) == Workers(count=1, cores=2, gpus=0)
    with pytest.raises(ValueError, match="no node of the cluster has 8 cores"):
        Workers.of(nodes((4, 0)), 8)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("tip_adapter", {"shots": 1}, "tip_adapter sees labels here"),
        ("calip", {"options": {"prior": "mean"}}, "calip sees unlabelled here"),
        ("calip", {"protocol": "label-free"}, "calip sees all images here"),
    ],
)
def test_a_head_that_sees_more_than_one_image_is_refused(method, options, said):
    task, backbone = load_task("mini-shapes"), load_backbone("mini-rn", device="cpu")
    with pytest.raises(ValueError, match=f"{said}, expected a head that sees one image at a time"):
        plan(task, backbone, method, limit=20, **options).draft()


def test_a_node_that_is_killed_in_the_middle_loses_nothing(cluster, tmp_path, alone, monkeypatch):
    nodes, others = cluster
    seen, tables = [], ray_data._Run._tables

    def killing(*arguments):
        for table in tables(*arguments):
            if not seen:
                free = ray._private.state.available_resources_per_node()
                busy = [node for node in others if not free[node.node_id].get("CPU")]
                others.remove(busy[0])
                nodes.remove_node(busy[0], allow_graceful=False)
            seen.append(len(table))
            yield table

    monkeypatch.setattr(ray_data._Run, "_tables", killing)
    record, margins = measured(tmp_path)
    assert len(others) == 1 and sum(seen) == IMAGES
    assert record.score == alone("fixed").score and margins["image"] == list(range(IMAGES))
