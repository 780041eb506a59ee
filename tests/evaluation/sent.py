"""A file as readers send it, valid unless a test changes it."""

import json

import numpy as np

from calip_core.evaluation.counts import Counts, score_part
from calip_core.evaluation.record import pack_hits
from tests.records import make_record

RN50 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
"""SHA-256 of the checkpoint of RN50, as the address from which OpenAI serves it says."""
CLASSES = 10


def valid_record(seed=0, **changes):
    """A record of eurosat with RN50 whose counts add up."""
    labels = np.arange(200) % CLASSES
    rng = np.random.default_rng(seed)
    hits, clip_hits = rng.random(200) < 0.6, rng.random(200) < 0.5
    kept = {"hits": pack_hits(hits), "clip_hits": pack_hits(clip_hits)}
    score = score_part(Counts.of(hits, clip_hits, labels, classes=CLASSES), "calip", **kept).model_dump()
    head = {"options": {"config": "official", "beta2": 1.12, "beta3": 0.02}}
    parts = {"data": {"images": 200, "classes": CLASSES}, "head": head, "score": score}
    parts = {name: part | changes.pop(name, {}) for name, part in parts.items()}
    return make_record(seed=seed, **parts, **changes)


def sent_lines(records=None, **header):
    """The objects of a file's lines."""
    first = {"who": "A. Reader", "where": "Utrecht, one A100", "date": "2026-11-28", "checkpoints": {"RN50": RN50}}
    records = [valid_record(0), valid_record(1)] if records is None else records
    lines = [{"key": record.key, "record": record.model_dump(mode="json")} for record in records]
    return [first | header, *lines]


def sent_file(path, lines=None):
    """Write such a file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines or sent_lines()))
    return path
