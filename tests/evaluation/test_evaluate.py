"""Every head, protocol and kind of data goes through evaluate(); the pieces computed apart give the same record."""

import dataclasses

import numpy as np
import pytest
import torch

from calip_core import attention, calip_logits, encode_split, environment, metrics, zero_shot_classifier
from calip_core.backbones.base import Backbone
from calip_core.blend.selection import Grid
from calip_core.evaluation import evaluate as module
from calip_core.evaluation.evaluate import evaluate, plan
from calip_core.evaluation.record import Record
from calip_core.evaluation.store import latest
from calip_core.features import FeatureStore
from calip_core.methods import METHODS, TrainingOptions
from calip_core.methods.base import Head
from calip_core.methods.calip import CONFIGS
from calip_core.published import PublishedViewWeights
from calip_core.tokens import ImageTokens
from tests.backbones.clips import random_clip
from tests.evaluation.tasks import NAMES, Coloured, cloud_task, colour_task, noise_task

GRID = Grid(np.linspace(0, 4, 5), np.linspace(0, 1, 3))


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def measure(backbone, root, method="calip", task=None, **options):
    options = {"features": root, "progress": False, "control_repeats": 3, **options}
    if method == "calip":
        options.setdefault("grid", GRID)
    return evaluate(noise_task() if task is None else task, backbone, method, **options)


def stored(backbone, split):
    """Tokens as a store keeps them, and their labels."""
    tokens, labels = encode_split(backbone, split, progress=False)
    return tokens.to(torch.float16).to(torch.float32), labels


def test_a_record_is_what_the_pieces_give(backbone, root):
    task = noise_task()
    record = measure(backbone, root)
    tokens, labels = stored(backbone, task.splits["test"])
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    logits = calip_logits(tokens, text, attention.CalipConfig.official(), backbone.logit_scale)
    blend = logits.combine(beta2=1.12, beta3=0.02)
    hits, clip_hits = (metrics.correct_predictions(terms, labels) for terms in (blend, logits.clip))
    score, data = record.score, record.data
    assert record.correct().tolist() == hits.tolist() and record.correct_by_clip().tolist() == clip_hits.tolist()
    assert score.top1 == pytest.approx(hits.mean()) and score.clip_top1 == pytest.approx(clip_hits.mean())
    assert score.gain == pytest.approx(hits.mean() - clip_hits.mean())
    assert score.per_class_mean == pytest.approx(np.nanmean(metrics.per_class_accuracy(blend, labels)))
    test = metrics.mcnemar(hits, clip_hits)
    assert (score.only_method, score.only_clip, score.mcnemar_p) == (test.only_a, test.only_b, test.p_value)
    gain = metrics.paired_interval(test.only_a, test.only_b, 25)
    assert (score.gain_low, score.gain_high) == (gain.low, gain.high)
    interval = metrics.wilson_interval(int(hits.sum()), 25)
    assert (score.low, score.high) == (interval.low, interval.high)
    assert (data.task, data.images, data.classes, data.templates) == ("noise", 25, 3, task.templates)
    assert record.encoder.backbone == "random" and record.head.method == "calip" and record.test_is_valid
    assert record.choice.values == {"beta1": 1.0, "beta2": 1.12, "beta3": 0.02}
    assert record.run.commit == environment.commit() and record.run.versions["torch"] == torch.__version__.split("+")[0]


@pytest.mark.parametrize(
    ("protocol", "seen", "images"),
    [("fixed", "none", 0), ("validation", "validation", 12), ("oracle", "test", 25), ("label-free", "none", 25)],
)
def test_protocols_say_which_labels_they_saw(backbone, root, protocol, seen, images):
    record = measure(backbone, root, protocol=protocol)
    choice, score = record.choice, record.score
    assert (choice.protocol, choice.labels_seen, choice.chosen_on) == (protocol, seen, images)
    assert (score.control_gain is not None) == (score.control_p is not None) == (protocol == "oracle")
    assert score.control_repeats == (3 if protocol == "oracle" else None)
    assert record.test_is_valid == (protocol != "oracle")
    assert record.head.sees == ("unlabelled" if protocol == "label-free" else "nothing")


def test_no_protocol_beats_the_oracle(backbone, root):
    oracle = measure(backbone, root, protocol="oracle").score
    assert oracle.gain >= 0  # the grid holds CLIP itself
    for protocol in ("validation", "label-free"):
        assert measure(backbone, root, protocol=protocol).score.top1 <= oracle.top1


def test_zero_shot_gains_nothing_over_itself(backbone, root):
    score = measure(backbone, root, "zero_shot").score
    assert score.gain == score.gain_low == score.gain_high == 0 and score.mcnemar_p == 1
    assert score.top1 == score.clip_top1
    assert measure(backbone, root, "zero_shot", protocol="validation").choice.labels_seen == "none"


def test_published_pairs_need_a_published_task(backbone, root):
    rn50 = Backbone.from_clip("RN50", random_clip("rn"), precision="fp32")
    record = measure(rn50, root, protocol="published", task=noise_task("eurosat"))
    assert (record.choice.values["beta2"], record.choice.values["beta3"]) == (6.08, 0.06)
    assert "SuS-X" in record.head.recipe and record.choice.labels_seen == "unknown" and not record.test_is_valid
    with pytest.raises(ValueError, match="no published blend weights for noise with random"):
        measure(backbone, root, protocol="published")


def test_the_fixed_pair_is_no_blind_choice_where_it_comes_from(backbone, root):
    assert measure(backbone, root, task=noise_task("imagenet@80")).choice.labels_seen == "unknown"
    assert measure(backbone, root, task=noise_task("imagenet_v2")).choice.labels_seen == "none"


def test_a_part_of_a_dataset_is_recorded_as_one(backbone, root):
    part = dataclasses.replace(noise_task(), part="3 of 1000 classes; images (train, val, test): 0 of 0, ...")
    assert measure(backbone, root, task=part).data.part == part.part
    assert measure(backbone, root).data.part is None


def test_other_prompts_are_another_setting_of_the_same_images(backbone, root):
    seven = dataclasses.replace(noise_task(), templates=("a {}.", "no {}."))
    renamed = dataclasses.replace(noise_task(), classnames=("cat", "dog", "bush"))
    records = [measure(backbone, root, task=task) for task in (noise_task(), seven, renamed, seven)]
    assert len({record.data.image_set for record in records}) == 1
    assert latest(records) == [records[0], records[2], records[3]]


def test_sets_of_templates_share_their_features(backbone, tmp_path):
    for name in ("imagenet", "imagenet@80", "folder:a@b", "folder:a@b@birds.json"):
        measure(backbone, tmp_path, task=noise_task(name))
    assert len(list(tmp_path.glob("imagenet*"))) == len(list(tmp_path.glob("folder*"))) == 1


def test_class_descriptions_are_measured_and_recorded_by_their_content(backbone, root):
    described = {"cat": ["It purrs.", "It is small."], "dog": ["It barks."], "tree": ["It has leaves.", "It is tall."]}
    reordered = dict(reversed(described.items()))
    moved = described | {"cat": ["It purrs."], "dog": ["It is small.", "It barks."]}
    tasks = [dataclasses.replace(noise_task(), templates=given) for given in (described, reordered, moved)]
    record, same, other = [measure(backbone, root, task=task) for task in tasks]
    assert record.data.templates.texts == other.data.templates.texts == 5
    assert record.key == same.key and record.key != other.key and record.key != measure(backbone, root).key
    assert Record.model_validate_json(record.model_dump_json()) == record
    tokens, labels = stored(backbone, noise_task().splits["test"])
    rows = []
    for name in NAMES:
        vectors = [backbone.encode_text([text])[0].double().numpy() for text in described[name]]
        mean = sum(vectors) / len(vectors)
        rows.append(mean / np.linalg.norm(mean))
    answers = (tokens.pooled.double().numpy() @ np.array(rows).T).argmax(axis=1)
    assert record.score.clip_top1 == pytest.approx(np.mean(answers == labels))


def test_a_seed_gives_the_same_record_twice_and_a_limit_draws_by_it(backbone, root):
    first, second, other = (measure(backbone, root, seed=seed, limit=10) for seed in (1, 1, 2))
    assert first.score == second.score and first.key == second.key
    assert first.data.images == first.data.limit == 10 and first.data.image_set != other.data.image_set
    assert first.key != other.key and first.key_without_seed == other.key_without_seed


def test_the_key_is_known_before_anything_is_encoded(backbone, tmp_path):
    planned = plan(colour_task(), backbone, "gda", shots=2, seed=1, features=tmp_path)
    assert not list(tmp_path.iterdir())
    assert planned.key == planned.run(progress=False).key


@pytest.mark.parametrize(
    "change",
    [{"protocol": "validation"}, {"seed": 1}, {"limit": 10}, {"options": {"config": "paper"}}, {"grid": None}],
)  # fmt: skip
def test_whatever_is_asked_otherwise_has_another_key(backbone, root, change):
    plain = {"features": root, "grid": GRID}
    assert plan(noise_task(), backbone, **plain).key != plan(noise_task(), backbone, **plain | change).key


def test_configs_are_measured_by_name(backbone, root):
    assert set(CONFIGS) == {"official", "paper", "susx"}
    assert measure(backbone, root, options={"config": "paper"}).head.options["config"] == "paper"


@pytest.mark.parametrize("prior", ["constant", "mean"])
def test_the_visual_prior_is_removed_without_a_look_at_the_test_images(backbone, root, prior):
    task, alone = noise_task(), {"beta1": 0.0, "beta2": 0.0, "beta3": 1.0}
    record = measure(backbone, root, options=alone | {"prior": prior})
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    terms, val = (
        calip_logits(stored(backbone, task.splits[split])[0], text, None, backbone.logit_scale).visual_attended
        for split in ("test", "val")
    )
    removed = val.mean(dim=0) if prior == "mean" else attention.visual_prior(text, None, backbone.logit_scale)
    hits = metrics.correct_predictions(terms - removed, task.splits["test"].labels)
    assert record.correct().tolist() == hits.tolist()
    assert record.head.sees == ("unlabelled" if prior == "mean" else "nothing")
    assert record.head.options["prior"] == prior and record.choice.labels_seen == "none" and record.test_is_valid
    note = "; the head also saw 12 validation images without their labels"
    assert record.choice.chosen_by.endswith(note) == (prior == "mean")
    assert record.key != measure(backbone, root, options=alone).key


def test_without_validation_images_the_prior_comes_from_training_images_or_not_at_all(backbone, root):
    options = {"prior": "mean"}
    record = measure(backbone, root, task=colour_task(val=0), options=options, limit=20)
    assert "the head also saw 20 training images without their labels" in record.choice.chosen_by
    with pytest.raises(ValueError, match="noise has no validation or training images, which calip needs"):
        plan(noise_task(val=0), backbone, options=options)


@pytest.mark.parametrize(
    ("sizes", "asked", "message"),
    [
        ({"test": 0}, {}, "colours has no test images \\(found: train and val\\): every evaluation needs them"),
        ({"train": 0}, {"method": "tip_adapter", "shots": 1}, "no train images .found: val and test.: shots"),
        (
            {"val": 0},
            {"protocol": "validation"},
            "no val images \\(found: train and test\\): .* fixed, published, oracle, label-free, or",
        ),
        (
            {"val": 0},
            {"protocol": "validation", "method": "zero_shot"},
            "protocol of fixed, published, oracle, or another task",
        ),
    ],
)
def test_a_split_that_is_missing_is_named_with_what_is_there(sizes, asked, message, backbone):
    with pytest.raises(ValueError, match=message):
        plan(colour_task(**sizes), backbone, **asked)


def test_views_of_clouds_lose_their_prior_too(backbone, root, tmp_path):
    record = measure(backbone, root, task=cloud_task(tmp_path), options={"prior": "mean"}, protocol="validation")
    assert "the head also saw 9 validation images without their labels" in record.choice.chosen_by
    assert record.choice.labels_seen == "validation" and record.head.sees == "unlabelled"


def test_no_two_configs_measure_the_same():
    configs = list(CONFIGS.values())
    assert len({dataclasses.astuple(config) for config in configs}) == len(configs)
    named = {attention.CalipConfig.dassl(), attention.CalipConfig.ttabc()}
    assert named <= set(configs)  # the names left out are the same readings: only a common logit scale differs


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method is 'magic', expected one of"),
        ({"protocol": "magic"}, "protocol is 'magic', expected one of"),
        ({"criterion": "magic"}, "criterion is 'magic', expected one of"),
        ({"options": {"config": "magic"}}, "config is 'magic', expected one of"),
        ({"seed": -1}, "seed is -1, expected a number from 0 to 4294967295"),
        ({"shots": 1}, "calip takes no support set"),
        ({"method": "zero_shot", "augmentations": 2}, "zero_shot takes no support set"),
        ({"method": "gda"}, "gda learns from a support set"),
        ({"method": "zero_shot", "protocol": "label-free"}, "the protocol 'label-free' is for calip"),
        ({"method": "gda", "shots": 1}, "no train images"),
        ({"batch_size": 5}, "for a head that sees a batch"),
    ],
)
def test_bad_requests_are_named(backbone, root, options, message):
    with pytest.raises(ValueError, match=message):
        measure(backbone, root, **options)


@pytest.mark.usefixtures("shapes_unchecked")
def test_names_are_not_what_they_name(backbone):
    with pytest.raises(TypeError, match=r"task is 'digits', expected an object: .*load_task\('digits'\)"):
        evaluate("digits", backbone)
    with pytest.raises(TypeError, match=r"backbone is 'mini-rn', .*load_backbone\('mini-rn'\)"):
        evaluate(noise_task(), "mini-rn")


def test_choosing_needs_a_validation_split(backbone, root):
    with pytest.raises(ValueError, match="no val images"):
        measure(backbone, root, protocol="validation", task=noise_task(val=0))


# Few shots


# A random network gives all images nearly one direction: the kernel of Tip-Adapter tells them apart less well.
@pytest.mark.parametrize(
    ("method", "least"), [("linear_probe", 0.9), ("gda", 0.9), ("clap", 0.9), ("tip_adapter", 0.6)]
)
def test_colours_are_learnt_from_a_few_images(backbone, root, method, least):
    record = measure(backbone, root, method, colour_task(), protocol="validation", shots=8, seed=1)
    assert record.score.top1 > max(least, record.score.clip_top1 + 0.2) and record.head.parameters > 0
    assert record.score.mcnemar_p < 0.05 and record.shots == 8


def test_more_shots_than_images_are_refused_or_taken(backbone, root):
    with pytest.raises(ValueError, match="has 10 images, fewer than 12 shots, in the train split"):
        measure(backbone, root, "gda", colour_task(), shots=12)
    support = measure(backbone, root, "gda", colour_task(), shots=12, short="take", nested=True).data.support
    assert (support.shots, support.short, support.nested) == (12, "take", True)
    assert measure(backbone, root, "gda", colour_task(), shots=12, short="dassl").data.support.short == "dassl"
    few = {"task": colour_task(val=6), "shots": 4, "seed": 1}
    assert measure(backbone, root, "gda", **few).shots == 4  # no validation image is needed
    with pytest.raises(ValueError, match="has 2 images, fewer than 4 shots, in the val split"):
        measure(backbone, root, "gda", **few, protocol="validation")
    assert measure(backbone, root, "gda", **few, protocol="validation", short="take").choice.chosen_on == 6


def test_hyperparameters_come_from_where_the_record_says(backbone, root):
    fixed, chosen, oracle = (
        measure(backbone, root, "gda", colour_task(), shots=4, seed=1, protocol=how)
        for how in ("fixed", "validation", "oracle")
    )
    assert [r.choice.labels_seen for r in (fixed, chosen, oracle)] == ["none", "validation", "test"]
    assert [r.choice.chosen_on for r in (fixed, chosen, oracle)] == [0, 12, 24]
    assert oracle.score.top1 >= max(fixed.score.top1, chosen.score.top1)
    assert fixed.data.support.image_set == oracle.data.support.image_set
    with pytest.raises(ValueError, match="gda has no published values"):
        measure(backbone, root, "gda", colour_task(), shots=4, seed=1, protocol="published")


def test_test_labels_are_seen_by_the_oracle_alone(backbone, root):
    """Whatever is chosen otherwise stays the same when the test labels are others."""
    right, wrong = colour_task(), colour_task()
    wrong.splits["test"] = type(wrong.splits["test"])(Coloured(2), np.roll(wrong.splits["test"].labels, 1))
    moved = {}
    for method, shots in (("tip_adapter", 4), ("gda", 4), ("calip", 0)):
        for how in ("fixed", "validation", "label-free", "oracle"):
            if how != "label-free" or METHODS[method].label_free:
                values = [
                    measure(backbone, root, method, task, protocol=how, shots=shots, seed=1).choice.values
                    for task in (right, wrong)
                ]
                moved[how, method] = values[0] != values[1]
    assert {how for (how, _), changed in moved.items() if changed} == {"oracle"}


def quick(method):
    """Options that make the fit of a trained head short."""
    trained = method in ("coop", "clip_adapter", "tip_adapter_f", "calip_fs", "inter_view_adapter")
    context = {"context": 4} if method == "coop" else {}
    return {"training": TrainingOptions(epochs=2), **context} if trained else {}


@pytest.mark.parametrize("method", METHODS)
def test_under_validation_every_head_chooses_or_says_that_it_has_nothing_to(backbone, root, method):
    shots = 2 if METHODS[method].sees == "labels" else 0
    choice = measure(
        backbone, root, method, colour_task(), shots=shots, seed=1, protocol="validation", options=quick(method)
    ).choice
    if method in ("calip", "linear_probe", "clip_adapter", "tip_adapter", "tip_adapter_f", "gda", "calip_fs"):
        assert choice.values and choice.labels_seen == "validation" and choice.chosen_on == (6 if shots else 15)
    else:
        assert choice.chosen_by.startswith("nothing to choose")
        assert (choice.values, choice.labels_seen, choice.chosen_on) == ({}, "none", 0)


def test_published_values_go_into_the_head_and_the_record(backbone, root):
    asked = {"task": colour_task(), "shots": 1, "seed": 1, "protocol": "published"}
    head = measure(backbone, root, "clip_adapter", **asked, options={"training": {"epochs": 2}}).head
    assert head.options["ratio"] == 0.2 and head.options["training"]["epochs"] == 2
    assert head.recipe == "CLIP-Adapter's code, with CoOp's schedule: 50 epochs" and head.samples_per_second > 0
    with pytest.raises(ValueError, match="no published Tip-Adapter configuration for colours with random"):
        measure(backbone, root, "tip_adapter", **asked)


def test_augmented_views_reach_the_heads(backbone, root):
    record = measure(backbone, root, "tip_adapter", colour_task(), shots=4, seed=1, augmentations=2)
    assert record.data.support.augmentations == record.head.options["views"] == 2
    with pytest.raises(ValueError, match="augmentations is -1"):
        measure(backbone, root, "gda", colour_task(), shots=4, augmentations=-1)


def test_features_are_encoded_once(backbone, tmp_path, monkeypatch):
    encoded = []
    original = Backbone.encode_image
    monkeypatch.setattr(Backbone, "encode_image", lambda self, x: encoded.append(len(x)) or original(self, x))
    task = colour_task()
    measure(backbone, tmp_path, "gda", task, shots=2, seed=1)
    before = len(encoded)
    measure(backbone, tmp_path, "clap", task, shots=2, seed=1)
    assert before and len(encoded) == before


def test_only_heads_that_read_spatial_tokens_get_them(backbone, root, monkeypatch):
    seen = {}
    for method in ("zero_shot", "calip"):
        original = METHODS[method].logits

        def watched(self, tokens, original=original):
            seen[self.name] = tokens.spatial.shape[1]
            return original(self, tokens)

        monkeypatch.setattr(METHODS[method], "logits", watched)
        measure(backbone, root, method)
    assert seen == {"zero_shot": 0, "calip": backbone.grid[0] * backbone.grid[1]}


# Point clouds


def test_a_record_of_clouds_counts_clouds_and_names_the_views(backbone, root):
    task = cloud_task(root)
    record = measure(backbone, root, task=task)
    assert (record.data.images, record.data.classes) == (12, 3)
    assert record.data.projection == "pointclip, 40 points" and record.choice.view_weighting == "uniform"
    assert record.choice.view_weights == (1.0,) * 6
    tokens, labels = stored(backbone, task.splits["test"])
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    by_view = calip_logits(tokens, text, attention.CalipConfig.official(), backbone.logit_scale)
    clip = by_view.clip.view(12, 6, 3).mean(dim=1)
    assert record.score.clip_top1 == pytest.approx(metrics.accuracy(clip, labels[::6]))
    blend = by_view.combine(beta2=1.12, beta3=0.02).view(12, 6, 3).mean(dim=1)
    assert record.score.top1 == pytest.approx(metrics.accuracy(blend, labels[::6]))


@pytest.mark.parametrize(("protocol", "seen", "method"), [
    ("validation", "validation", "calip"), ("oracle", "test", "calip"), ("oracle", "test", "zero_shot"),
])  # fmt: skip
def test_searched_views_see_the_labels_of_their_protocol(backbone, root, protocol, seen, method):
    record = measure(backbone, root, method, cloud_task(root), protocol=protocol, view_weighting="searched")
    assert (record.choice.labels_seen, record.choice.view_weighting) == (seen, "searched")
    assert max(record.choice.view_weights) == 1 and len(record.choice.view_weights) == 6
    if protocol == "oracle":
        uniform = measure(backbone, root, "zero_shot", cloud_task(root))
        assert record.score.clip_top1 >= uniform.score.clip_top1


def test_view_weights_need_labels_or_a_source(backbone, root):
    with pytest.raises(ValueError, match="'searched', which needs labels, but protocol 'fixed' sees none"):
        measure(backbone, root, task=cloud_task(root), view_weighting="searched")
    with pytest.raises(ValueError, match="no published view weights for pointclip, blobs, random"):
        measure(backbone, root, task=cloud_task(root), view_weighting="published")


def test_published_view_weights_are_used_and_were_chosen_on_test_labels(backbone, root, monkeypatch):
    theirs = PublishedViewWeights("pointclip", "blobs", "random", (1, 0, 0, 0.5, 0, 0), "somebody's code")
    monkeypatch.setattr(
        "calip_core.blend.view_weights.published_view_weights", lambda: {("pointclip", "blobs", "random"): theirs}
    )
    task = cloud_task(root)
    record = measure(backbone, root, task=task, view_weighting="published")
    assert record.choice.view_weights == (1, 0, 0, 0.5, 0, 0) and record.choice.view_weights_by == theirs.source
    assert (record.choice.protocol, record.choice.labels_seen, record.test_is_valid) == ("fixed", "test", False)
    tokens, labels = stored(backbone, task.splits["test"])
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    by_view = (backbone.logit_scale * tokens.pooled @ text.T).view(12, 6, 3)
    fused = (2 * by_view[:, 0] + by_view[:, 3]) / 3
    assert record.score.clip_top1 == pytest.approx(metrics.accuracy(fused, labels[::6]))


@pytest.mark.parametrize("method", ["gda", "calip_fs", "inter_view_adapter"])
def test_heads_learn_from_whole_clouds(backbone, root, method):
    record = measure(backbone, root, method, cloud_task(root, train=9), shots=2, seed=1, options=quick(method))
    assert record.data.images == 12 and record.head.parameters > 0
    with pytest.raises(ValueError, match="and 0 for point clouds"):
        measure(backbone, root, method, cloud_task(root, train=9), shots=2, augmentations=2)


# Heads that see more than one image, and a head that is added


class Counting(Head):
    """Tells how many images it was shown at once, and in which order."""

    name = "counting"

    def fit(self, tokens, labels, text, val=None):
        self.shown = []
        self._keep("text", text)
        return self

    def logits(self, tokens: ImageTokens):
        assert tokens.spatial.shape[1] == 0
        self.shown.append(tokens.pooled)
        return tokens.pooled @ self.text.T


@pytest.fixture
def add_head(monkeypatch):
    def add(sees):
        head = type("Added", (Counting,), {"sees": sees})
        monkeypatch.setitem(METHODS, "counting", head)

    return add


def test_a_head_that_sees_a_batch_gets_as_many_images_as_asked(backbone, root, add_head):
    add_head("batch")
    whole, parts = (plan(noise_task(), backbone, "counting", features=root, batch_size=size) for size in (None, 10))
    records = [evaluation.run(progress=False) for evaluation in (whole, parts)]
    assert [len(x) for x in whole.head.shown] == [25] and [len(x) for x in parts.head.shown] == [10, 10, 5]
    assert records[0].score == records[1].score and records[0].key != records[1].key
    assert [record.head.batch_size for record in records] == [None, 10]


def test_a_head_that_sees_a_stream_gets_an_order_drawn_by_seed(backbone, root, add_head):
    add_head("stream")
    first, again, other = (plan(noise_task(), backbone, "counting", features=root, seed=seed) for seed in (1, 1, 2))
    scores = [evaluation.run(progress=False).score for evaluation in (first, again, other)]
    assert scores[0] == scores[1] == scores[2]  # this head does not mind the order: every answer is at its image
    orders = [evaluation.head.shown[0] for evaluation in (first, again, other)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


def test_a_head_that_sees_views_gets_each_image_before_its_crops(backbone, root, monkeypatch):
    task, shown = noise_task(), []
    original = METHODS["mta"].logits
    monkeypatch.setattr(METHODS["mta"], "logits", lambda head, tokens: shown.append(tokens) or original(head, tokens))
    record, plain = (
        measure(backbone, root, method, task, limit=10, seed=3, options=options)
        for method, options in (("mta", {"crops": 4}), ("zero_shot", {}))
    )
    assert record.head.sees == "views" and record.data == plain.data
    assert record.score.clip_hits == plain.score.hits  # zero-shot CLIP sees the image alone
    rows, (tokens, _) = ImageTokens.cat(shown), encode_split(backbone, task.splits["test"], limit=10, seed=3)
    assert len(rows) == 50 and rows.grid == (0, 0)
    torch.testing.assert_close(rows.pooled[::5], tokens.pooled, atol=1e-3, rtol=0)
    assert not torch.allclose(rows.pooled[1::5], tokens.pooled, atol=1e-3)
    folder = next(root.glob("noise_test_4_crops_3-*"))
    assert FeatureStore.open(folder).manifest.grid == (0, 0)


def test_crops_are_not_taken_of_clouds(backbone, root, tmp_path):
    with pytest.raises(ValueError, match="mta sees random crops of one image, and blobs has point clouds"):
        measure(backbone, root, "mta", cloud_task(tmp_path))


def test_an_added_head_is_measured_like_any_other(backbone, root, add_head):
    add_head("nothing")
    record = measure(backbone, root, "counting")
    assert record.score.hits == record.score.clip_hits and record.head.sees == "nothing"


def test_names_of_tasks(backbone):
    assert module.store_name(noise_task("imagenet@80"), "test") == "imagenet-test" and len(NAMES) == 3
