"""When CALIP pays: its paired gain over CLIP, while the pooled feature is spoiled on purpose."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from calip_core.analysis.pool import spoil_pool
from calip_core.attention import CalipConfig
from calip_core.backbones.base import Backbone
from calip_core.blend.selection import Grid
from calip_core.datasets.task import Task
from calip_core.evaluation.evaluate import store_name
from calip_core.features import FeatureStore, text_features
from calip_core.methods.calip import Calip
from calip_core.metrics import accuracy, correct_predictions, mcnemar, paired_interval
from calip_core.tokens import ImageTokens

AMOUNTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Values of lambda, from CLIP's own pooled feature to the mean value token."""

TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Temperatures around that of the released code, 0.5."""


def wide_grid() -> Grid:
    """81 x 81 pairs of blend weights: beta2 from 0 to 10, beta3 from 0 to 2. The pair (0, 0) is CLIP itself."""
    return Grid(np.linspace(0, 10, 81), np.linspace(0, 2, 81))


@dataclass(frozen=True, eq=False)
class Sample:
    """The images of one task as tokens: some to choose blend weights on, others to test.

    Attributes:
        text: class features.
        val: validation images.
        val_labels: their classes.
        test: test images.
        test_labels: their classes.
    """

    text: Float[Tensor, "k c"]
    val: ImageTokens
    val_labels: Int64[np.ndarray, " v"]
    test: ImageTokens
    test_labels: Int64[np.ndarray, " n"]

    def spoiled(self, values: "Sample", amount: float) -> "Sample":
        """The same images after ``spoil_pool``, given a sample with their value tokens (or with their means)."""
        val = spoil_pool(self.val, values.val.spatial, amount)
        test = spoil_pool(self.test, values.test.spatial, amount)
        return Sample(self.text, val, self.val_labels, test, self.test_labels)

    def with_mean_tokens(self) -> "Sample":
        """The same images with one spatial token each: the mean of its tokens, not of unit length."""
        val, test = (
            ImageTokens(tokens.pooled, tokens.spatial.mean(dim=1, keepdim=True), (1, 1))
            for tokens in (self.val, self.test)
        )
        return Sample(self.text, val, self.val_labels, test, self.test_labels)


def encode_sample(
    task: Task,
    backbone: Backbone,
    *,
    limit: int | None = None,
    seed: int = 0,
    features: Path | None = None,
    progress: bool = True,
) -> Sample:
    """Encode the validation and the test images of a task into the feature stores of ``evaluate()``.

    Args:
        task: the classes, the prompts and the images.
        backbone: the encoder.
        limit: maximum number of test images, and of validation images.
        seed: which images a limit selects.
        features: folder of the feature stores; a folder in the user's cache by default.
        progress: whether to show progress bars.

    Raises:
        ValueError: the task has no validation images.
    """
    if not len(task.splits.get("val", ())):
        raise ValueError(f"{task.name} has no validation images, on which blend weights are chosen: expected some")
    text = text_features(backbone, task.classnames, task.templates, root=features and features / "text")
    parts: list[Any] = []
    for split in ("val", "test"):
        planned = FeatureStore.plan(
            backbone, task.splits[split], root=features, name=store_name(task, split), limit=limit, seed=seed
        )
        tokens = planned.encode(progress=progress).tokens()
        parts += [tokens.to(text.device).to(text.dtype), planned.labels]
    return Sample(text, *parts)


def paired_gain(calip: Bool[np.ndarray, " n"], clip: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """CALIP against CLIP on the same images.

    Returns:
        images, clip and calip (accuracies), gain with its 95 % score interval (gain_low, gain_high: Tango), the numbers
        of images that one of the two alone gets right (only_calip, only_clip), and McNemar's exact p.
    """
    test = mcnemar(calip, clip)
    ends = paired_interval(test.only_a, test.only_b, len(calip))
    return {
        "images": len(calip), "clip": float(clip.mean()), "calip": float(calip.mean()),
        "gain": (test.only_a - test.only_b) / len(calip), "gain_low": ends.low, "gain_high": ends.high,
        "only_calip": test.only_a, "only_clip": test.only_b, "p": test.p_value,
    }  # fmt: skip


def measured_gain(head: Calip, sample: Sample) -> dict[str, Any]:
    """Fit CALIP on the validation images and compare it with CLIP on the test images.

    Returns:
        ``paired_gain``, the weights beta2 and beta3, and text_alone: the accuracy of the text-attended term by itself.
    """
    head.fit(None, None, sample.text, (sample.val, sample.val_labels))
    terms = head.terms(sample.test)
    calip = correct_predictions(terms.combine(**head.chosen), sample.test_labels)
    clip = correct_predictions(terms.clip, sample.test_labels)
    chosen = {name: head.chosen[name] for name in ("beta2", "beta3")}
    return paired_gain(calip, clip) | chosen | {"text_alone": accuracy(terms.text_attended, sample.test_labels)}


def token_facts(sample: Sample) -> dict[str, Any]:
    """What the spatial tokens of the test images have of their own.

    Returns:
        classes: number of classes; cosine: mean cosine of a token with its image's pooled feature; affinity_spread:
        standard deviation of a class's affinities over the tokens of an image, averaged over both; hottest: how often
        the largest affinity of an image belongs to its class, so that one place alone would classify it.
    """
    affinity = sample.test.spatial @ sample.text.T  # (n, m, k)
    cosine = (sample.test.spatial @ sample.test.pooled.unsqueeze(2)).mean()
    return {
        "classes": len(sample.text),
        "cosine": float(cosine),
        "affinity_spread": float(affinity.std(dim=1, correction=0).mean()),
        "hottest": accuracy(affinity.amax(dim=1), sample.test_labels),
    }


def temperature_sweep(
    sample: Sample, temperatures: Iterable[float] = TEMPERATURES, grid: Grid | None = None
) -> pd.DataFrame:
    """``measured_gain`` at each temperature of both softmaxes, with weights chosen anew on the validation images.

    Args:
        sample: the images.
        temperatures: values of alpha, one row each.
        grid: pairs of blend weights to choose from; ``wide_grid`` by default.
    """
    rows = []
    for alpha in temperatures:
        head = Calip(beta2=None, beta3=None, config=CalipConfig(alpha_t=alpha, alpha_s=alpha))
        head.grid = grid or wide_grid()
        rows.append({"alpha": alpha} | measured_gain(head, sample))
    return pd.DataFrame(rows)


def pool_sweep(
    tasks: Iterable[Task],
    backbones: Mapping[str, Backbone],
    amounts: Sequence[float] = AMOUNTS,
    *,
    config: CalipConfig | None = None,
    grid: Grid | None = None,
    **encoding: Any,
) -> pd.DataFrame:
    """CALIP's gain over CLIP for each task, kind of tokens and amount of ``spoil_pool``; everything is encoded once.

    Each amount spoils the pooled features of validation and test images alike, before the weights are chosen.

    Args:
        tasks: with validation images.
        backbones: kind of tokens -> the same model with these tokens; "value" must be among them.
        amounts: values of lambda, see ``spoil_pool``.
        config: temperatures and pooling; those of the released code by default.
        grid: pairs of blend weights to choose from; ``wide_grid`` by default.
        encoding: options of ``encode_sample``.

    Returns:
        One row per task, tokens, amount and protocol ("validation", or "fixed" for the paper's pair), with these four,
        ``token_facts`` before anything is spoiled, and the results of ``measured_gain`` as columns.

    Raises:
        ValueError: "value" is missing, a task has no validation images, or an amount is not from 0 to 1.
    """
    if "value" not in backbones:
        raise ValueError(f"backbones are {', '.join(backbones)}; 'value' is missing, and its mean spoils the pool")
    rows = []
    for task in tasks:
        means = encode_sample(task, backbones["value"], **encoding).with_mean_tokens()  # the tokens may be large
        for kind, backbone in backbones.items():
            sample = encode_sample(task, backbone, **encoding)
            facts = {"task": task.name, "tokens": kind} | token_facts(sample)
            for amount in amounts:
                found = _both_protocols(sample.spoiled(means, amount), config or CalipConfig.official(), grid)
                rows += [facts | {"amount": amount} | row for row in found]
    return pd.DataFrame(rows)


def _both_protocols(sample: Sample, config: CalipConfig, grid: Grid | None) -> Iterator[dict[str, Any]]:
    choosing, fixed = Calip(beta2=None, beta3=None, config=config), Calip(config=config)
    choosing.grid = grid or wide_grid()
    for protocol, head in (("validation", choosing), ("fixed", fixed)):
        yield {"protocol": protocol} | measured_gain(head, sample)
