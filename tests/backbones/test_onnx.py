"""Exported towers, run by onnxruntime here, against the backbones that they were made from."""

import json
import math
import sys

import pytest
import torch

from calip_core import load_backbone
from calip_core.backbones import onnx
from calip_core.backbones.clip_import import clip  # noqa: F401  (before open_clip)
from calip_core.cli import main

for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the onnx extra is not installed")
PROMPTS = ["a photo of a cat.", "the blue cube", "b", "a small red ball on a table"]


def run(path, entry, value):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(output) for output in session.run(None, {entry: value.numpy()})]


def check(backbone, folder):
    """Features of images and texts, in batches of several sizes."""
    for n in (1, 5):
        side = backbone.resolution
        images = torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(n))
        pooled, spatial = run(folder / "image.onnx", "images", images)
        tokens = backbone.encode_image(images)
        torch.testing.assert_close(pooled, tokens.pooled, rtol=0, atol=1e-5)
        torch.testing.assert_close(spatial, tokens.spatial, rtol=0, atol=1e-5)
        prompts = PROMPTS[: n - 1] or PROMPTS[:1]
        rows = torch.zeros(len(prompts), backbone.context_length, dtype=torch.long)
        numbers = backbone.tokenize(prompts)
        rows[:, : numbers.shape[1]] = numbers
        (text,) = run(folder / "text.onnx", "tokens", rows)
        torch.testing.assert_close(text, backbone.encode_text(prompts), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "tokens", "inline", "files"),
    [
        ("mini-vit", "value", onnx._INLINE_BYTES, {"image.onnx", "text.onnx"}),
        ("mini-rn", "joint", 0, {"image.onnx", "text.onnx", "image.onnx.data", "text.onnx.data"}),  # as large ones do
    ],
)
def test_the_command_writes_towers_that_compute_the_same(name, tokens, inline, files, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(onnx, "_INLINE_BYTES", inline)
    folder = tmp_path / "made" / name
    assert main(["export", name, "--to", "onnx", "--tokens", tokens, "--out", str(folder)]) == 0
    assert f"wrote {folder}; largest difference from PyTorch: pooled " in capsys.readouterr().out
    backbone = load_backbone(name, device="cpu", precision="fp32", tokens=tokens)
    check(backbone, folder)
    assert {path.name for path in folder.iterdir()} == {"backbone.json", *files}
    assert [path.name for path in folder.parent.iterdir()] == [name]
    said = json.loads((folder / "backbone.json").read_text())
    assert (said["backbone"], said["tokens"], said["grid"]) == (name, tokens, list(backbone.grid))
    assert said["logit_scale"] == backbone.logit_scale
    assert main(["export", name, "--out", str(folder)]) == 1
    assert f"calip: {folder} is there already: choose a folder that is new or empty" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*names no weights")
def test_an_encoder_of_open_clip(monkeypatch, tmp_path, name="MobileCLIP2-S0"):
    """A map with batch norms, whose places go through the head one by one; a text tower that reads the padding too."""
    pytest.importorskip("open_clip", reason="the openclip extra is not installed")
    from tests.backbones.open_clips import load_pair, make_small

    make_small(monkeypatch, [name])
    backbone, _ = load_pair(monkeypatch, name)
    differences = onnx.export_onnx(backbone, tmp_path)
    assert differences.keys() == {"pooled", "spatial", "text"}
    assert max(differences.values()) < 1e-5
    check(backbone, tmp_path)


@pytest.fixture
def cheap(monkeypatch):
    """Instead of torch's exporter, which takes long: files of a few bytes."""
    monkeypatch.setattr(onnx, "_write", lambda tower, example, entry, outputs, path: path.write_bytes(b"x"))


@pytest.mark.parametrize("difference", [2e-4, math.nan])
def test_files_that_give_other_features_are_removed(difference, cheap, monkeypatch, tmp_path):
    class Session:
        """Gives PyTorch's features, moved a little."""

        def __init__(self, path, providers):
            image = path.name == "image.onnx"
            self.names = ["pooled", "spatial"] if image else ["text"]
            self.tower = (onnx.ImageTower if image else onnx.TextTower)(backbone)

        def get_inputs(self):
            return [type("Node", (), {"name": "x"})]

        def get_outputs(self):
            return [type("Node", (), {"name": name}) for name in self.names]

        def run(self, names, inputs):
            features = self.tower(torch.from_numpy(inputs["x"]))
            features = features if isinstance(features, tuple) else (features,)
            moved = [difference if name == "spatial" else 0 for name in names]
            return [value.numpy() + move for value, move in zip(features, moved, strict=True)]

    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    backbone = load_backbone("mini-rn", device="cpu", precision="fp32")
    with pytest.raises(ValueError, match=r"mini-rn as ONNX differs from PyTorch by (0.0002|inf) in 'spatial', exp"):
        onnx.export_onnx(backbone, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_fails_leaves_nothing(monkeypatch, tmp_path):
    def fails(tower, example, entry, outputs, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("no operator")

    monkeypatch.setattr(onnx, "_write", fails)
    with pytest.raises(RuntimeError, match="no operator"):
        onnx.export_onnx(load_backbone("mini-rn", device="cpu", precision="fp32"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"mini-rn is in torch.bfloat16 on cpu, .*precision='fp32'"):
        onnx.export_onnx(load_backbone("mini-rn", device="cpu", precision="bf16"), tmp_path)


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    assert main(["export", "mini-rn", "--out", str(tmp_path)]) == 1
    assert "calip: export to ONNX needs onnxscript: `pip install 'calip-core[onnx]'`" in capsys.readouterr().err
