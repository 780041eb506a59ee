"""How long heads take to learn a miniature task from a few shots, with the published recipes, and what they reach.

No validation images are given: each fit is one training run with fixed hyperparameters.
"""

import dataclasses
import time
from collections.abc import Iterator

from calip_core.analysis.speed_records import Measurement
from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.evaluation.support_sets import support_split
from calip_core.features import encode_split, text_features
from calip_core.methods import CalipFs, CalipFsConfig, ClipAdapter, CoOp, TipAdapterF, make_method
from calip_core.metrics import accuracy

SHOTS, SEED = (1, 16), 1
TASK, BACKBONE = "mini-pairs", "mini-rn"
PROFILED_EPOCHS = 4


def run() -> Iterator[Measurement]:
    """Accuracy, seconds a fit and what share of it are matrix products, for every trained head."""
    backbone, task = load_backbone(BACKBONE, precision="fp32"), load_task(TASK)
    text = text_features(backbone, task.classnames, task.templates)
    test, labels = encode_split(backbone, task.splits["test"], progress=False)
    zero_shot = 100 * accuracy(test.pooled @ text.T, labels)
    yield Measurement(what=f"{TASK} with {BACKBONE}: zero-shot accuracy", value=zero_shot, unit="%")
    for shots in SHOTS:
        support = encode_split(backbone, support_split(task, shots, SEED), progress=False)
        for title, name, options in heads(shots, backbone, task.classnames):
            options = {"seed": SEED, "logit_scale": backbone.logit_scale, **options}
            started = time.perf_counter()
            head = make_method(name, **options).fit(*support, text)
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
    adapter, tip, coop = (
        {"training": head.published_training(TASK, shots)} for head in (ClipAdapter, TipAdapterF, CoOp)
    )
    yield "CLIP-Adapter", "clip_adapter", adapter
    yield "Tip-Adapter-F", "tip_adapter_f", tip
    yield "CALIP-FS", "calip_fs", coop
    yield "CALIP-FS from CALIP", "calip_fs", coop | {"config": CalipFsConfig.from_calip()}
    yield "CALIP-FS of yuranusduke", "calip_fs", CalipFs.published(TASK, shots).options
    yield "CoOp", "coop", coop | {"backbone": backbone, "classnames": classnames}


def product_share(name, options, support, text) -> float:
    """Share of a few epochs' processor time that goes into matrix products, with the head's own optimiser and batch."""
    recipe = make_method(name, **options).options.training
    head = make_method(name, **{**options, "training": dataclasses.replace(recipe, epochs=PROFILED_EPOCHS)})
    head.profile = True
    return head.fit(*support, text).report.product_share
