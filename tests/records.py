"""A valid record to change in tests."""

from datetime import UTC, datetime
from typing import Any

from calip_core.evaluation.record import Record

PARTS: dict[str, Any] = {
    "seed": 0,
    "data": {
        "task": "eurosat", "split_source": "CoOp", "standin": False, "images": 10, "classes": 2, "limit": None,
        "image_set": "abc", "class_names": "ghi", "templates": ("a photo of a {}.",), "projection": None,
        "support": None,
    },
    "encoder": {"backbone": "RN50", "weights": "def", "tokens": "joint", "precision": "float32 on cpu"},
    "head": {
        "method": "calip", "options": {"config": "official"}, "sees": "nothing", "recipe": "", "parameters": 0,
        "fit_seconds": 0.0,
    },
    "choice": {
        "protocol": "fixed", "chosen_by": "stated", "chosen_on": 0, "labels_seen": "none",
        "values": {"beta2": 1.12, "beta3": 0.02},
    },
    "score": {
        "top1": 0.5, "low": 0.3, "high": 0.7, "per_class_mean": 0.5, "clip_top1": 0.4, "gain": 0.1, "gain_low": -0.1,
        "gain_high": 0.3, "only_method": 2, "only_clip": 1, "mcnemar_p": 1.0,
    },
    "run": {
        "time": datetime(2026, 1, 1, tzinfo=UTC), "seconds": 1.0, "device": "a processor", "versions": {"torch": "2"},
        "commit": "unknown",
    },
}  # fmt: skip
"""The fields of ``make_record()``, part by part."""

SUPPORT = {"shots": 4, "image_set": "s", "augmentations": 10, "nested": False, "short": "error"}
"""A support set of CoOp's draw, for ``make_record(data={"support": SUPPORT})``."""


def make_record(**changes: Any) -> Record:
    """A valid record with some fields changed: ``make_record(seed=1, data={"task": "dtd"}, score={"top1": 0.6})``.

    The fields named in a part change, its others stay. ``low`` and ``high`` follow a ``top1`` outside of them.
    """
    fields = PARTS | {
        name: PARTS[name] | change if isinstance(PARTS[name], dict) else change for name, change in changes.items()
    }
    score = fields["score"]
    around = {"low": min(score["low"], score["top1"]), "high": max(score["high"], score["top1"])}
    return Record.model_validate(fields | {"score": score | around})
