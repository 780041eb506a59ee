"""Few-shot measurements: the same images for every head, drawn once, encoded once, counted once."""

import dataclasses

import numpy as np
import pytest
import torch
from calip_core.evaluation.fewshot import FewShotBench, ImageSubset
from calip_core.methods.recipes import FIXED_EPOCHS
from PIL import Image

from calip_core.backbones.base import Backbone
from calip_core.datasets import load_task
from calip_core.datasets.standins import write_standin
from calip_core.datasets.task import Split, Task
from calip_core.methods import METHODS, TrainingOptions, save_method
from calip_core.tokens import ImageTokens
from tests.backbones.clips import random_clip
from tests.evaluation.test_benchmark import NAMES, cloud_task

SIZES = {"train": 30, "val": 15, "test": 24}


class Coloured:
    """Gives noisy pictures whose colour is their class."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 60, (64, 64, 3))
        pixels[..., index % 3] += 150
        return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def task():
    splits = {name: Split(Coloured(i), np.arange(size) % 3) for i, (name, size) in enumerate(SIZES.items())}
    return Task("colours", "Colours", NAMES, ("a {}.",), splits, "MIT", "drawn here")


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def bench(task, backbone, root):
    return FewShotBench(task, backbone, features=root, progress=False)


def test_a_support_set_has_its_shots_and_its_few_validation_images(bench):
    support, val = bench.support(8, seed=1)
    assert (np.bincount(support.labels) == 8).all() and (np.bincount(val.labels) == 4).all()
    assert len(support.tokens) == 24
    again, _ = bench.support(8, seed=1)
    other, _ = bench.support(8, seed=2)
    assert torch.equal(again.tokens.pooled, support.tokens.pooled) and again.source == support.source
    assert other.source != support.source


def test_nested_sets_lie_inside_each_other(bench):
    small, large = (bench.support(shots, seed=1, nested=True)[0].tokens.pooled for shots in (2, 4))
    assert all(any(torch.equal(row, candidate) for candidate in large) for row in small)


def test_a_record_says_what_was_measured(bench, task):
    record = bench.run("zero_shot", 2, seed=1)
    assert (record.images, record.classes, record.shots, record.seed) == (24, 3, 2, 1)
    assert record.top1 == record.clip_top1 and record.gain == 0 and record.parameters == 0
    assert record.correct().mean() == pytest.approx(record.top1)
    assert record.low <= record.top1 <= record.high
    assert record == type(record).model_validate_json(record.model_dump_json())


# A random network gives all images nearly one direction: the kernel of Tip-Adapter tells them apart less well.
@pytest.mark.parametrize(
    ("method", "least"), [("linear_probe", 0.9), ("gda", 0.9), ("clap", 0.9), ("tip_adapter", 0.6)]
)
def test_colours_are_learnt_from_a_few_images(bench, method, least):
    record = bench.run(method, 8, seed=1, hyperparameters="validation")
    assert record.top1 > max(least, record.clip_top1 + 0.2) and record.parameters > 0
    assert record.hyperparameters == "validation"


def test_more_shots_than_images_are_refused(bench):
    with pytest.raises(ValueError, match="has 10 images, fewer than 11 shots"):
        bench.run("tip_adapter", 11, seed=1)


def test_choosing_needs_a_validation_split(backbone, root):
    splits = {name: Split(Coloured(0), np.arange(0 if name == "val" else 12) % 3) for name in SIZES}
    task = Task("colours", "Colours", NAMES, ("a {}.",), splits, "MIT", "drawn here")
    bench = FewShotBench(task, backbone, features=root, progress=False)
    with pytest.raises(ValueError, match="no val images to choose on"):
        bench.run("gda", 2, seed=1, hyperparameters="validation")
    assert bench.run("gda", 2, seed=1).hyperparameters == "fixed"


def test_augmented_views_are_crops_that_depend_on_seed_image_and_view_alone(task):
    drawn = ImageSubset(task.splits["train"], [3, 7], augmentations=3, seed=5)
    before = torch.random.get_rng_state()
    views = [np.asarray(drawn[i][0]) for i in range(6)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(drawn) == 6 and drawn.labels.tolist() == [0, 0, 0, 1, 1, 1] and views[0].shape == (64, 64, 3)
    assert len({view.tobytes() for view in views}) == 6
    alone = ImageSubset(task.splits["train"], [7], augmentations=3, seed=5)
    assert (np.asarray(alone[1][0]) == views[4]).all()
    assert (np.asarray(ImageSubset(task.splits["train"], [3])[0][0]) == np.asarray(task.splits["train"][3][0])).all()


def test_augmented_rows_reach_the_heads(task, backbone, root):
    bench = FewShotBench(task, backbone, augmentations=2, features=root, progress=False)
    support, _ = bench.support(4, seed=1)
    assert len(support.tokens) == 24 and support.views == 2
    with pytest.raises(ValueError, match="augmentations is -1"):
        FewShotBench(task, backbone, augmentations=-1, features=root, progress=False)


def test_clouds_are_drawn_and_counted_whole(backbone, root):
    task = cloud_task(root)
    with pytest.raises(ValueError, match="and 0 for clouds"):
        FewShotBench(task, backbone, augmentations=2, features=root, progress=False)
    task.splits["train"] = task.splits["val"]
    bench = FewShotBench(task, backbone, features=root, progress=False)
    support, _ = bench.support(2, seed=1)
    assert len(support.tokens) == 2 * 3 * 6 and (support.thing_labels == [0, 0, 1, 1, 2, 2]).all()
    record = bench.run("gda", 2, seed=1)
    assert record.images == 12 and record.projection == "pointclip, 40 points"


@pytest.mark.usefixtures("shapes_unchecked")
def test_hyperparameters_come_from_where_the_record_says(bench):
    fixed, chosen, oracle = (
        bench.run("gda", 4, seed=1, hyperparameters=how) for how in ("fixed", "validation", "oracle")
    )
    assert [r.hyperparameters for r in (fixed, chosen, oracle)] == ["fixed", "validation", "oracle"]
    assert "as there is no validation set" in fixed.chosen_by
    assert "12 validation images" in chosen.chosen_by and "24 validation images" in oracle.chosen_by
    assert oracle.top1 >= max(fixed.top1, chosen.top1) and fixed.support_set == oracle.support_set
    with pytest.raises(ValueError, match="gda has no published values"):
        bench.run("gda", 4, seed=1, hyperparameters="published")
    with pytest.raises(ValueError, match="hyperparameters is 'stated', expected one of .'fixed', 'published'"):
        bench.run("gda", 4, seed=1, hyperparameters="stated")


def test_test_labels_are_seen_by_the_oracle_alone(bench, monkeypatch):
    """Whatever is chosen otherwise stays the same when the test labels are others."""
    wrong = dataclasses.replace(bench.test, labels=np.roll(bench.test.labels, 1))
    states = {}
    for labels in ("right", "wrong"):
        heads = {}
        for how in ("fixed", "validation", "oracle"):
            for method in ("tip_adapter", "gda", "calip"):
                heads[how, method] = bench.run(method, 4, seed=1, hyperparameters=how).chosen_by
        states[labels] = heads
        monkeypatch.setattr(bench, "test", wrong)
    same = {key for key in states["right"] if states["right"][key] == states["wrong"][key]}
    assert {key for key in same if key[0] != "oracle"} == {key for key in states["right"] if key[0] != "oracle"}
    assert any(key not in same for key in states["right"] if key[0] == "oracle")


@pytest.mark.parametrize("method", METHODS)
def test_under_validation_every_head_chooses_or_says_that_it_has_nothing_to(bench, method):
    said = bench.run(method, 2, seed=1, hyperparameters="validation", options=quick(method)).chosen_by
    nothing = method in ("zero_shot", "coop", "clap", "inter_view_adapter")
    assert said == "nothing to choose" if nothing else "6 validation images" in said


def quick(method):
    """Options that make the fit of a trained head short."""
    trained = method in ("coop", "clip_adapter", "tip_adapter_f", "calip_fs", "inter_view_adapter")
    context = {"context": 4} if method == "coop" else {}
    return {"training": TrainingOptions(epochs=2), **context} if trained else {}


def test_published_values_go_into_the_head_and_the_record(bench):
    record = bench.run("clip_adapter", 1, seed=1, hyperparameters="published", options={"training": {"epochs": 2}})
    assert record.options["ratio"] == 0.2 and record.options["training"]["epochs"] == 2
    assert record.recipe == "CLIP-Adapter's code, with CoOp's schedule: 50 epochs"
    assert record.samples_per_second > 0
    with pytest.raises(ValueError, match="no published Tip-Adapter configuration for colours with random"):
        bench.run("tip_adapter", 1, seed=1, hyperparameters="published")


def test_fixed_training_goes_by_the_shots(bench):
    support, _ = bench.support(2, seed=1)
    head = bench.fit("clip_adapter", support, profile=True)
    assert head.training.epochs == FIXED_EPOCHS[2]
    assert head.report.samples_per_second > 0 and 0 < head.report.product_share < 1


def test_a_class_with_fewer_images_is_refused_by_split_or_taken(bench, task, backbone, root):
    with pytest.raises(ValueError, match="has 10 images, fewer than 12 shots, in the train split"):
        bench.run("gda", 12, seed=1)
    record = bench.run("gda", 12, seed=1, short="take", nested=True)
    assert (record.short, record.nested) == ("take", True)
    few = dataclasses.replace(task, splits={**task.splits, "val": Split(Coloured(1), np.arange(6) % 3)})
    short = FewShotBench(few, backbone, features=root, progress=False)
    assert short.run("gda", 4, seed=1).shots == 4  # no validation image is needed
    with pytest.raises(ValueError, match="has 2 images, fewer than 4 shots, in the val split"):
        short.run("gda", 4, seed=1, hyperparameters="validation")
    assert "6 validation images" in short.run("gda", 4, seed=1, hyperparameters="validation", short="take").chosen_by


def test_a_draw_is_decoded_once(task, backbone, root):
    reads = []

    def read(index):
        reads.append(index)
        return Coloured(0)(index)

    counted = dataclasses.replace(task, splits={**task.splits, "train": Split(read, task.splits["train"].labels)})
    bench = FewShotBench(counted, backbone, features=root, progress=False)
    bench.run("gda", 2, seed=1)
    before = len(reads)
    bench.run("clap", 2, seed=1)
    assert before > 0 and len(reads) == before
    bench.run("gda", 2, seed=1, nested=True)
    assert len(reads) > before


def test_features_and_heads_of_another_backbone_are_refused(bench, task, root, tmp_path):
    other = FewShotBench(
        task, Backbone.from_clip("other", random_clip("vit"), precision="fp32"), features=root, progress=False
    )
    support, val = bench.support(2, seed=1)
    head = bench.fit("gda", support, val)
    assert head.features_of == "random"
    with pytest.raises(ValueError, match="a head of random met a bench of other"):
        other.accuracy(head)
    with pytest.raises(ValueError, match="features of random met a bench of other"):
        other.fit("gda", support)
    with pytest.raises(ValueError, match="features of other met a bench of random"):
        bench.accuracy(head, other.test)
    with pytest.raises(ValueError, match="fitted on features of random, not of other"):
        save_method(head, tmp_path / "head", backbone="other", classnames=NAMES)


def test_bare_tokens_of_an_equally_wide_backbone_cannot_be_told_apart(bench):
    """The documented limit: tokens carry no name, so only a bench and a saved head can compare it."""
    support, _ = bench.support(2, seed=1)
    head = bench.fit("gda", support)
    noise = ImageTokens(torch.randn_like(support.tokens.pooled), support.tokens.spatial, support.tokens.grid)
    assert head.logits(noise).shape == (6, 3)


@pytest.mark.parametrize("method", ["calip_fs", "inter_view_adapter"])
def test_trained_heads_learn_from_clouds(backbone, root, method):
    task = cloud_task(root)
    task.splits["train"] = task.splits["val"]
    bench = FewShotBench(task, backbone, features=root, progress=False)
    record = bench.run(method, 2, seed=1, options=quick(method))
    assert record.images == 12 and record.parameters > 0
    assert record.options.get("cloud_views", 6) == 6


@pytest.mark.parametrize("dataset", ["modelnet40", "scanobjectnn"])
def test_heads_are_fitted_on_the_loaders_of_point_clouds(dataset, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    write_standin(dataset, tmp_path, classes=3, images=10)
    task = load_task(dataset, tmp_path, views="pointclip", points=64)
    bench = FewShotBench(task, backbone, features=tmp_path, progress=False)
    for method in ("calip_fs", "inter_view_adapter"):
        record = bench.run(method, 2, seed=1, options=quick(method))
        assert (record.dataset, record.standin, record.projection) == (dataset, True, "pointclip, 64 points")
        assert record.images == len(task.splits["test"]) // 6 and record.parameters > 0
    options = {"hyperparameters": "validation", "short": "take", "options": quick("calip_fs")}
    assert "landscape of" in bench.run("calip_fs", 2, seed=1, **options).chosen_by
