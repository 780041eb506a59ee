"""A valid run record to change in tests."""

from datetime import UTC, datetime

from calip_core.evaluation.record import RunRecord

FIELDS = {
    "dataset": "eurosat", "split_source": "CoOp", "images": 10, "classes": 2, "limit": None, "image_set": "abc",
    "class_names": "ghi", "templates": ("a photo of a {}.",),
    "standin": False, "weights": "def", "backbone": "RN50", "token_space": "joint",
    "precision": "float32 on cpu", "device": "a processor",
    "method": "calip", "config": "official", "protocol": "fixed", "chosen_by": "stated", "chosen_on": 0,
    "labels_seen": "none", "beta1": 1.0, "beta2": 1.12, "beta3": 0.02, "seed": 0, "top1": 0.5, "low": 0.3, "high": 0.7,
    "per_class_mean": 0.5, "clip_top1": 0.4, "gain": 0.1, "gain_low": -0.1, "gain_high": 0.3, "only_method": 2,
    "only_clip": 1, "mcnemar_p": 1.0, "versions": {"torch": "2"}, "commit": "unknown",
    "time": datetime(2026, 1, 1, tzinfo=UTC), "seconds": 1.0,
}  # fmt: skip


def make_record(**changes):
    if "view_weights" in changes:
        changes.setdefault("view_weights_by", "the same for every view")
    return RunRecord(**(FIELDS | changes))
