"""How long heads take to learn a miniature task from a few shots, with the published recipes, and what they reach."""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.features.encode import encode_split
from calip_core.methods import CalipFsConfig, TrainingOptions, make_method
from calip_core.metrics import accuracy
from calip_core.prompts import zero_shot_classifier
from calip_core.speed_records import Measurement

SHOTS, SEED = (1, 16), 1
TASK, BACKBONE = "mini-pairs", "mini-rn"
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
ATTENTION = "aten::_scaled_dot_product"  # fused, products and all


def run() -> Iterator[Measurement]:
    """Accuracy, seconds a fit and what share of it are matrix products, for every trained head."""
    backbone, task = load_backbone(BACKBONE, precision="fp32"), load_task(TASK)
    splits = {name: encode_split(backbone, split, progress=False) for name, split in task.splits.items()}
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    test, labels = splits["test"]
    zero_shot = 100 * accuracy(test.pooled @ text.T, labels)
    yield Measurement(what=f"{TASK} with {BACKBONE}: zero-shot accuracy", value=zero_shot, unit="%")
    for shots in SHOTS:
        support = draw(*splits["train"], shots)
        fit = {"tokens": support[0], "labels": support[1], "text": text, "val": draw(*splits["val"], min(shots, 4))}
        for title, name, options in heads(shots, backbone, task.classnames):
            options = {"seed": SEED, "logit_scale": backbone.logit_scale, **options}
            started = time.perf_counter()
            head = make_method(name, **options).fit(**fit)
            seconds = time.perf_counter() - started
            of = f"{title}, {shots} shot{'s' * (shots > 1)}"
            reached = 100 * accuracy(head.logits(test), labels)
            products = 100 * product_share(name, options, support, text)
            yield Measurement(what=f"{of}: accuracy", value=reached, unit="%")
            yield Measurement(what=f"{of}: {head.report.steps:,} steps", value=seconds, unit="s")
            yield Measurement(what=f"{of}: samples", value=head.report.samples_per_second, unit="samples/s")
            yield Measurement(what=f"{of}: share of time in matrix products", value=products, unit="%")


def heads(shots, backbone, classnames):
    """Title, name and options of what is measured."""
    recipe = TrainingOptions.coop(shots)
    known = {"beta2": 0.08, "beta3": 0.02, "config": CalipFsConfig.yuranusduke(), "training": recipe}
    yield "CLIP-Adapter", "clip_adapter", {"training": recipe}
    yield "Tip-Adapter-F", "tip_adapter_f", {}
    yield "CALIP-FS", "calip_fs", {"training": recipe}
    yield "CALIP-FS from CALIP", "calip_fs", {"training": recipe, "config": CalipFsConfig.from_calip()}
    yield "CALIP-FS of yuranusduke", "calip_fs", {**known, "logit_scale": 1 / 0.07}
    yield "CoOp", "coop", {"training": recipe, "backbone": backbone, "classnames": classnames}


def draw(tokens, labels, shots):
    """So many images of each class."""
    rng = np.random.default_rng(SEED)
    chosen = [rng.permutation(np.flatnonzero(labels == k))[:shots] for k in np.unique(labels)]
    rows = np.concatenate(chosen)
    return tokens[torch.from_numpy(rows)], labels[rows]


def product_share(name, options, support, text) -> float:
    """Share of a few epochs' processor time that goes into matrix products, fused attention included."""
    short = {**options, "training": TrainingOptions(epochs=4)}
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        make_method(name, **short).fit(*support, text)
    events = measured.key_averages()
    products = sum(e.self_cpu_time_total for e in events if e.key in PRODUCTS or e.key.startswith(ATTENTION))
    return products / sum(e.self_cpu_time_total for e in events)
