"""Records that readers send are what they say, as far as anybody can check; what does not add up is named."""

import hashlib

import numpy as np
import pytest

from calip_core.backbones.openai import published_sha256
from calip_core.cli import main
from calip_core.evaluation import sent
from calip_core.evaluation.record import pack_hits
from calip_core.evaluation.sent import RECORDS_DIR, all_sent, pack, read_sent
from calip_core.evaluation.store import append
from calip_core.exhibits import benchmarks
from tests.evaluation.sent import RN50, sent_file, sent_lines, valid_record


def test_every_file_that_readers_sent_is_right():
    assert RECORDS_DIR.is_dir()
    for one in all_sent():
        assert one.records


def test_the_published_checksum_is_the_one_in_openai_s_addresses():
    assert published_sha256("RN50") == RN50


def test_what_is_read_is_what_was_sent(tmp_path):
    one = read_sent(sent_file(tmp_path / "reader.jsonl"))
    assert str(one.header) == "A. Reader, Utrecht, one A100, 2026-11-28"
    assert one.records == (valid_record(0), valid_record(1))


def changed(part, **values):
    """Lines in which some fields of the last record were changed by hand."""
    lines = sent_lines()
    (lines[-1]["record"][part] if part else lines[-1]["record"]).update(values)
    return lines


def rekeyed(**parts):
    """Lines of one record that was changed before its key was computed."""
    return sent_lines([valid_record(0, **parts)])


HITS = np.arange(200) < 90


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (changed("", seed=7), "line 3: the key is"),
        (changed("encoder", precision="float16 on cuda"), "line 3: the key is"),
        (changed("score", only_method=3), "line 3: .* images are right, but 3 and"),
        (changed("score", mcnemar_p=0.001), "mcnemar_p is 0.001, but the counts give"),
        (changed("score", high=0.99), "high is 0.99, but the counts give"),
        (changed("score", hits=pack_hits(HITS)), "the lists of right images count"),
        (changed("score", hits=None), "does not say which images were right"),
        (changed("run", more=1), "line 3, is not as `calip records pack` writes it: record.run.more"),
        (changed("", schema_version=1), "record.schema_version"),
        (rekeyed(data={"classes": 9}), "200 images of 9 classes, expected at most 8,100 of 10"),
        (rekeyed(data={"task": "my pictures"}), "the dataset is 'my pictures'"),
        (rekeyed(data={"standin": True}), "expected real images"),
        (rekeyed(encoder={"backbone": "mini-rn"}), "the backbone is 'mini-rn', expected one of RN50"),
        (rekeyed(choice={"values": {"beta2": 2.0, "beta3": 0.02}}), "beta2 is 2.0, but the head was made with 1.12"),
        (sent_lines(checkpoints={"RN50": "0" * 64}), "the checkpoint of RN50 has SHA-256 000000000000, but OpenAI's"),
        (sent_lines(checkpoints={}), "the checkpoint of RN50 has SHA-256 None"),
        (sent_lines(who="<script>"), "line 1, is not as `calip records pack` writes it: who"),
        (sent_lines(date="yesterday"), "line 1, .* date"),
        (sent_lines([]), "has no records"),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_named(lines, said, tmp_path):
    path = sent_file(tmp_path / "reader.jsonl", lines)
    with pytest.raises(ValueError, match=said) as caught:
        read_sent(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sent, "_MOST_BYTES", 100)
    with pytest.raises(ValueError, match="expected at most 100"):
        read_sent(sent_file(tmp_path / "reader.jsonl"))


def test_files_that_used_other_weights_under_one_name_are_found_out(tmp_path):
    sent_file(tmp_path / "a.jsonl")
    other = valid_record(0, encoder={"weights": "f" * 64})
    sent_file(tmp_path / "b.jsonl", sent_lines([other]))
    with pytest.raises(ValueError, match=r"b\.jsonl has weights ffffffffffff of RN50, but .*a\.jsonl has def"):
        all_sent(tmp_path)
    half = valid_record(0, encoder={"weights": "f" * 64, "precision": "float16 on cuda"})
    sent_file(tmp_path / "b.jsonl", sent_lines([half]))
    assert len(all_sent(tmp_path)) == 2


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with a file in the place of RN50's checkpoint, whose checksum counts as OpenAI's."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "RN50.pt").write_bytes(b"weights")
    monkeypatch.setattr(sent, "published_sha256", lambda name: hashlib.sha256(b"weights").hexdigest())
    return tmp_path / "clip"


def test_packing_leaves_out_what_others_cannot_use(tmp_path, weights):
    measured = [valid_record(0), valid_record(1, data={"standin": True}), valid_record(2, encoder={"backbone": "x.pt"})]
    one = pack(measured, tmp_path / "me.jsonl", "Me", "at home", weights)
    assert one.records == (valid_record(0),) and one == read_sent(tmp_path / "me.jsonl")
    with pytest.raises(ValueError, match="there is no record to pack: it takes one of OpenAI's backbones"):
        pack(measured[1:], tmp_path / "none.jsonl", "Me", "at home", weights)
    with pytest.raises(ValueError, match="who: String should match"):
        pack(measured, tmp_path / "none.jsonl", "", "at home", weights)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["me.jsonl"]


def test_another_checkpoint_cannot_be_packed(tmp_path, weights):
    (weights / "RN50.pt").write_bytes(b"others")
    with pytest.raises(ValueError, match="the checkpoint of RN50 has SHA-256"):
        pack([valid_record(0)], tmp_path / "me.jsonl", "Me", "at home", weights)
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_command_packs_and_checks(tmp_path, weights, monkeypatch, capsys):
    monkeypatch.setattr(sent, "weights_file", lambda name, root: weights / "RN50.pt")
    append(valid_record(0), tmp_path / "runs" / "runs.jsonl")
    path = str(tmp_path / "me.jsonl")
    command = ["records", "pack", "--who", "Me", "--where", "at home", path]
    assert main([*command, "--results", str(tmp_path / "runs" / "runs.jsonl")]) == 0
    assert main(["records", "check", path]) == 0
    assert "1 records by Me, at home" in capsys.readouterr().out
    sent_file(tmp_path / "bad.jsonl")  # its checkpoint is OpenAI's, but not the fixture's
    assert main(["records", "check", path, str(tmp_path / "bad.jsonl")]) == 1
    assert "bad.jsonl, line 2: the checkpoint of RN50" in capsys.readouterr().err


def test_sent_records_stand_beside_the_published_numbers(tmp_path):
    record, value = valid_record(0), valid_record(0, encoder={"tokens": "value"})
    sent_file(tmp_path / "a.jsonl", sent_lines([record, value]))
    table = benchmarks.ledger([], all_sent(tmp_path))
    rows = [label for label in table.frame.index if label.startswith("sent by")]
    assert [label.partition(" (")[0] for label in rows] == [
        "sent by A. Reader, Utrecht, one A100, 2026-11-28: eurosat, RN50, fixed",
        "sent by A. Reader, Utrecht, one A100, 2026-11-28: eurosat, RN50, value tokens, fixed",
    ]
    assert table.frame.loc[rows[0], "CALIP"] == record.score.top1
    place = list(table.frame.index).index(rows[0])
    assert table.frame.index[place - 1] == "EuroSAT"
    assert "Nothing of these datasets was measured on this machine yet. 2 rows were sent by readers." in table.caption
