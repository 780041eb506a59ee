import dataclasses

import numpy as np
import pytest
import torch
from calip_core.evaluation.benchmark import run
from PIL import Image
from pydantic import ValidationError

from calip_core import attention, calip_logits, encode_split, metrics, zero_shot_classifier
from calip_core import environment as machine
from calip_core.backbones.base import Backbone
from calip_core.blend import view_weights
from calip_core.blend.selection import Grid
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.datasets.task import Split, Task
from calip_core.evaluation import benchmark
from calip_core.evaluation import store as results
from calip_core.evaluation.record import RunRecord
from tests.backbones.clips import random_clip
from tests.records import make_record

GRID = Grid(np.linspace(0, 4, 5), np.linspace(0, 1, 3))
NAMES = ("cat", "dog", "tree")


class Noise:
    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def noise_task(name="noise", val=12):
    sizes = {"train": 0, "val": val, "test": 25}
    splits = {
        split: Split(Noise(i), np.random.default_rng(i).integers(0, len(NAMES), size))
        for i, (split, size) in enumerate(sizes.items())
    }
    return Task(name, "Noise", NAMES, ("a {}.",), splits, "MIT", "drawn here")


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def measure(backbone, root, *arguments, **options):
    options = {"features": root, "grid": GRID, "progress": False, "control_repeats": 3, **options}
    return run(options.pop("task", noise_task()), backbone, *arguments, **options)


def test_a_record_is_what_the_pieces_give(backbone, root):
    task = noise_task()
    record = measure(backbone, root)
    tokens, labels = encode_split(backbone, task.splits["test"], progress=False)
    tokens = tokens.to(torch.float16).to(torch.float32)  # as a store keeps them
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    logits = calip_logits(tokens, text, attention.CalipConfig.official(), backbone.logit_scale)
    blend = logits.combine(beta2=1.12, beta3=0.02)
    hits, clip_hits = (metrics.correct_predictions(terms, labels) for terms in (blend, logits.clip))
    assert record.correct().tolist() == hits.tolist()
    assert record.top1 == pytest.approx(hits.mean()) and record.clip_top1 == pytest.approx(clip_hits.mean())
    assert record.gain == pytest.approx(hits.mean() - clip_hits.mean())
    assert record.per_class_mean == pytest.approx(np.nanmean(metrics.per_class_accuracy(blend, labels)))
    test = metrics.mcnemar(hits, clip_hits)
    assert (record.only_method, record.only_clip, record.mcnemar_p) == (test.only_a, test.only_b, test.p_value)
    gain = metrics.paired_interval(test.only_a, test.only_b, 25)
    assert (record.gain_low, record.gain_high) == (gain.low, gain.high)
    assert record.templates == task.templates and record.test_is_valid
    interval = metrics.wilson_interval(int(hits.sum()), 25)
    assert (record.low, record.high) == (interval.low, interval.high)
    assert (record.dataset, record.backbone, record.images, record.classes) == ("noise", "random", 25, 3)
    assert record.commit == machine.commit() and record.versions["torch"] == torch.__version__.split("+")[0]


@pytest.mark.parametrize(
    ("protocol", "seen", "images"),
    [("fixed", "none", 0), ("validation", "validation", 12), ("oracle", "test", 25), ("label-free", "none", 25)],
)
def test_protocols_say_which_labels_they_saw(backbone, root, protocol, seen, images):
    record = measure(backbone, root, "calip", protocol)
    assert (record.protocol, record.labels_seen, record.chosen_on) == (protocol, seen, images)
    assert (record.control_gain is not None) == (record.control_p is not None) == (protocol == "oracle")
    assert record.control_repeats == (3 if protocol == "oracle" else None)
    assert record.grid == (None if protocol == "fixed" else str(GRID))
    assert record.test_is_valid == (protocol != "oracle")


def test_no_protocol_beats_the_oracle(backbone, root):
    oracle = measure(backbone, root, "calip", "oracle")
    assert oracle.gain >= 0  # the grid holds CLIP itself
    for protocol in ("validation", "label-free"):
        assert measure(backbone, root, "calip", protocol).top1 <= oracle.top1


def test_zero_shot_gains_nothing_over_itself(backbone, root):
    record = measure(backbone, root, "zero_shot")
    assert record.gain == record.gain_low == record.gain_high == 0 and record.mcnemar_p == 1
    assert record.top1 == record.clip_top1 and record.beta2 == record.beta3 == 0


def test_published_pairs_need_a_published_task(backbone, root):
    record = measure(Backbone.from_clip("RN50", random_clip("rn"), precision="fp32"), root, "calip", "published",
                     task=noise_task("eurosat"))  # fmt: skip
    assert (record.beta2, record.beta3) == (6.08, 0.06) and "SuS-X" in record.chosen_by
    assert record.labels_seen == "unknown" and not record.test_is_valid
    with pytest.raises(ValueError, match="no published blend weights for noise with random"):
        measure(backbone, root, "calip", "published")


def test_the_fixed_pair_is_no_blind_choice_where_it_comes_from(backbone, root):
    assert measure(backbone, root, task=noise_task("imagenet@80")).labels_seen == "unknown"
    assert measure(backbone, root, task=noise_task("imagenet_v2")).labels_seen == "none"


def test_other_prompts_are_another_setting_of_the_same_images(backbone, root):
    seven = dataclasses.replace(noise_task(), templates=("a {}.", "no {}."))
    renamed = dataclasses.replace(noise_task(), classnames=("cat", "dog", "bush"))
    records = [measure(backbone, root, task=task) for task in (noise_task(), seven, renamed, seven)]
    assert len({record.image_set for record in records}) == 1
    newest = {record.time for record in results.latest(records)}
    assert newest == {records[0].time, records[2].time, records[3].time}


def test_sets_of_templates_share_their_features(backbone, tmp_path):
    for name in ("imagenet", "imagenet@80"):
        measure(backbone, tmp_path, task=noise_task(name))
    assert len(list(tmp_path.glob("imagenet*"))) == 1


def test_a_seed_gives_the_same_record_twice_and_a_limit_draws_by_it(backbone, root):
    first, second, other = (measure(backbone, root, seed=seed, limit=10) for seed in (1, 1, 2))
    leave_out = {"time", "seconds"}
    assert first.model_dump(exclude=leave_out) == second.model_dump(exclude=leave_out)
    assert first.images == 10 and first.limit == 10 and first.image_set != other.image_set


def test_the_record_says_whose_split_it_used(backbone, root):
    task = dataclasses.replace(noise_task(), split_source="CoOp's split_zhou_noise.json")
    assert measure(backbone, root, task=task).split_source == "CoOp's split_zhou_noise.json"


def test_configs_are_measured_by_name(backbone, root):
    assert set(benchmark.CONFIGS) == {"official", "paper", "susx"}
    assert measure(backbone, root, config="paper").config == "paper"


def test_no_two_configs_measure_the_same():
    configs = list(benchmark.CONFIGS.values())
    assert len({dataclasses.astuple(config) for config in configs}) == len(configs)
    named = {attention.CalipConfig.dassl(), attention.CalipConfig.ttabc()}
    assert named <= set(configs)  # the names left out are the same readings: only a common logit scale differs


def test_bad_requests_are_named(backbone, root, shapes_unchecked):
    for bad in ({"method": "magic"}, {"protocol": "magic"}, {"config": "magic"}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is 'magic', expected one of"):
            measure(backbone, root, **bad)
    with pytest.raises(ValueError, match="no val images"):
        measure(backbone, root, "calip", "validation", task=noise_task(val=0))


def test_records_survive_json_and_reject_nonsense():
    record = make_record(hits="qoA=")
    assert RunRecord.model_validate_json(record.model_dump_json()) == record
    assert record.correct().tolist() == [True, False] * 4 + [True, False]
    for wrong in (
        {"top1": 0.9}, {"top1": 55.0}, {"labels_seen": "test"}, {"protocol": "oracle"}, {"hits": "qg=="},
        {"images": 0}, {"surprise": 1}, {"time": "2026-01-01T00:00:00"},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            make_record(**wrong)
    with pytest.raises(ValueError, match="keep_hits=True"):
        make_record().correct()


class Blobs:
    """Gives clouds of 40 points, each class long along another axis."""

    def __call__(self, index):
        rng = np.random.default_rng(index)
        return (rng.normal(size=(40, 3)) * np.roll([3, 1, 0.3], index % 3)).astype(np.float32)


def cloud_task(root, views="pointclip"):
    sizes = {"train": 0, "val": 9, "test": 12}
    splits = {split: CloudSplit(Blobs(), np.arange(size) % 3, split) for split, size in sizes.items()}
    clouds = CloudTask("blobs", "Blobs", NAMES, ("a {}.",), splits, "MIT", "drawn here")
    return view_task(clouds, Projection(views, points=40), root)


def test_a_record_of_clouds_counts_clouds_and_names_the_views(backbone, root):
    task = cloud_task(root)
    record = measure(backbone, root, task=task)
    assert (record.images, record.classes) == (12, 3)
    assert record.projection == "pointclip, 40 points" and record.view_weighting == "uniform"
    assert record.view_weights == (1.0,) * 6
    tokens, labels = encode_split(backbone, task.splits["test"], progress=False)
    tokens = tokens.to(torch.float16).to(torch.float32)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    by_view = calip_logits(tokens, text, attention.CalipConfig.official(), backbone.logit_scale)
    clip = by_view.clip.view(12, 6, 3).mean(dim=1)
    assert record.clip_top1 == pytest.approx(metrics.accuracy(clip, labels[::6]))
    blend = by_view.combine(beta2=record.beta2, beta3=record.beta3).view(12, 6, 3).mean(dim=1)
    assert record.top1 == pytest.approx(metrics.accuracy(blend, labels[::6]))


@pytest.mark.parametrize(("protocol", "seen", "method"), [
    ("validation", "validation", "calip"), ("oracle", "test", "calip"), ("oracle", "test", "zero_shot"),
])  # fmt: skip
def test_searched_views_see_the_labels_of_their_protocol(backbone, root, protocol, seen, method):
    record = measure(backbone, root, method, protocol, task=cloud_task(root), view_weighting="searched")
    assert (record.labels_seen, record.protocol, record.view_weighting) == (seen, protocol, "searched")
    assert max(record.view_weights) == 1 and len(record.view_weights) == 6
    if protocol == "oracle":
        uniform = measure(backbone, root, "zero_shot", task=cloud_task(root))
        assert record.clip_top1 >= uniform.clip_top1


def test_weights_need_labels_or_a_source(backbone, root):
    with pytest.raises(ValueError, match="'searched', which needs labels, but protocol 'fixed' sees none"):
        measure(backbone, root, task=cloud_task(root), view_weighting="searched")
    with pytest.raises(ValueError, match="no published view weights for pointclip, blobs, random"):
        measure(backbone, root, task=cloud_task(root), view_weighting="published")


def test_published_view_weights_are_used_and_were_chosen_on_test_labels(backbone, root, monkeypatch):
    theirs = view_weights.ViewWeights(np.array([1, 0, 0, 0.5, 0, 0]), "somebody's code; chosen on test labels")
    monkeypatch.setattr(view_weights, "published_weights", lambda: {("pointclip", "blobs", "random"): theirs})
    task = cloud_task(root)
    record = measure(backbone, root, "calip", "fixed", task=task, view_weighting="published")
    assert record.view_weights == (1, 0, 0, 0.5, 0, 0) and record.view_weights_by == theirs.chosen_by
    assert (record.protocol, record.labels_seen, record.test_is_valid) == ("fixed", "test", False)
    tokens, labels = encode_split(backbone, task.splits["test"], progress=False)
    tokens = tokens.to(torch.float16).to(torch.float32)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    by_view = calip_logits(tokens, text, attention.CalipConfig.official(), backbone.logit_scale).clip.view(12, 6, 3)
    fused = (2 * by_view[:, 0] + by_view[:, 3]) / 3
    assert record.clip_top1 == pytest.approx(metrics.accuracy(fused, labels[::6]))


def test_projection_and_weights_stand_in_a_record_together():
    with pytest.raises(ValidationError, match="belong together"):
        make_record(projection="pointclip, 1024 points")
