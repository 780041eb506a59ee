"""Which records still answer a cell, once data, split or weights have changed under their names."""

import shutil

import pytest
from calip_core.evaluation.recorded import Data, Encoder, Present, look

from calip_core.backbones import load_backbone
from calip_core.backbones.model_card import checkpoint_path
from calip_core.datasets import load_task
from calip_core.datasets.standins import write_standin
from calip_core.evaluation import recorded
from calip_core.features.manifest import precision_of
from tests.records import make_record


def test_a_stand_in_answers_for_a_stand_in_alone():
    real, standin = make_record(), make_record(standin=True)
    for present in (Present(), Present(Data(False))):
        assert present.agrees(real) and not present.agrees(standin)
    assert Present(Data(True)).agrees(standin) and not Present(Data(True)).agrees(real)


def test_another_split_and_other_tokens_are_other_measurements():
    assert Present(Data(False, "CoOp")).agrees(make_record(split_source="CoOp"))
    assert not Present(Data(False, "labels/test1.txt")).agrees(make_record(split_source="CoOp"))
    assert not Present().agrees(make_record(token_space="pre_pool"))


def test_weights_are_compared_where_they_compute_in_one_precision():
    now = Present(encoder=Encoder("float32 on cpu", "new"))
    assert now.agrees(make_record(weights="new", precision="float32 on cpu"))
    assert not now.agrees(make_record(weights="old", precision="float32 on cpu"))
    assert now.agrees(make_record(weights="old", precision="float16 on cuda"))


def test_the_data_on_disk_are_told_as_a_record_tells_them(tmp_path):
    write_standin("dtd", tmp_path, classes=2, images=5, resolution=8)
    with_file, absent = look(tmp_path)("dtd", "RN50"), look(tmp_path)("eurosat", "RN50")
    assert with_file == Present(Data(True, load_task("dtd", tmp_path).split_source))
    assert absent == look(tmp_path)("digits", "RN50") == look(tmp_path)("folder:x", "RN50") == Present()
    (tmp_path / "dtd/split_zhou_DescribableTextures.json").unlink()
    own = look(tmp_path)("dtd", "RN50")
    assert own == Present(Data(True, load_task("dtd", tmp_path).split_source)) != with_file
    write_standin("imagenet_a", tmp_path, classes=2, images=5, resolution=8)
    assert look(tmp_path)("imagenet_a", "RN50") == Present(Data(True))  # it has one split alone


def test_weights_that_can_change_under_their_name_are_read_once(tmp_path, monkeypatch):
    own = tmp_path / "own.pt"
    shutil.copy(checkpoint_path("mini-rn"), own)
    backbone = load_backbone("mini-rn")
    encoder = Encoder(precision_of(backbone), backbone.weights_sha256)
    present_of = look(tmp_path)
    assert present_of("digits", "mini-rn").encoder == present_of("digits", str(own)).encoder == encoder
    monkeypatch.setattr(recorded, "load_backbone", lambda name: pytest.fail("read again"))
    present_of("mini-shapes", "mini-rn")
    assert look(tmp_path)("digits", "RN50").encoder is None


def test_a_damaged_checkpoint_is_left_to_the_run(tmp_path):
    (tmp_path / "own.pt").write_bytes(b"no weights")
    assert look(tmp_path)("digits", str(tmp_path / "own.pt")) == Present()
