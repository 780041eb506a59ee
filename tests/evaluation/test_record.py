import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calip_core.evaluation.record import Record, ScorePart, pack_hits, unpack_hits
from tests.records import PARTS, make_record


def test_records_survive_json_and_tell_their_hits():
    record = make_record(score={"hits": "qoA="})
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record.correct().tolist() == [True, False] * 4 + [True, False]
    with pytest.raises(ValueError, match="keep_hits=True"):
        make_record().correct()


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": {"top1": 55.0}}, {"score": {"hits": "qg=="}},
        {"choice": {"labels_seen": "test"}}, {"data": {"images": 0}}, {"data": {"limit": 0}}, {"seed": -1},
        {"data": {"surprise": 1}}, {"run": {"time": "2026-01-01T00:00:00"}},
        {"data": {"projection": "pointclip, 1024 points"}},
        {"score": {"gain": float("nan")}},
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        make_record(**wrong)


def test_an_accuracy_lies_in_its_interval():
    with pytest.raises(ValidationError, match="top1 is 0.9, outside its interval from 0.3 to 0.7"):
        ScorePart(**PARTS["score"] | {"top1": 0.9})


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"task": "dtd"}}, {"data": {"image_set": "other"}}, {"data": {"templates": ("a {}.",)}},
        {"data": {"templates": {"texts": 3, "sha256": "ab"}}},
        {"data": {"limit": 10}}, {"encoder": {"weights": "other"}}, {"encoder": {"precision": "bfloat16 on cpu"}},
        {"encoder": {"tokens": "pre_pool"}}, {"head": {"method": "zero_shot"}}, {"head": {"options": {"beta2": 1.0}}},
        {"choice": {"protocol": "validation"}}, {"seed": 1},
        {"data": {"support": {"shots": 2, "image_set": "s", "augmentations": 0, "nested": False, "short": "error"}}},
    ],
)  # fmt: skip
def test_every_part_of_a_setting_is_in_its_key(change):
    assert make_record(**change).key != make_record().key


def test_what_was_found_is_not_in_the_key():
    found = make_record(
        score={"top1": 0.6}, run={"seconds": 9.0, "commit": "other"}, head={"fit_seconds": 3.0, "parameters": 7},
        choice={"values": {"beta2": 3.0}},
    )  # fmt: skip
    assert found.key == make_record().key


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_hits_are_packed_without_loss(hits):
    assert unpack_hits(pack_hits(np.array(hits)), len(hits)).tolist() == hits
