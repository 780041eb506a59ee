"""Heads on disk come back as they were, and are not believed when they do not fit."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calip_core.attention import CalipConfig
from calip_core.backbones.base import Backbone
from calip_core.methods import CalipFsConfig, TrainingOptions, load_method, make_method, save_method
from tests.backbones.clips import WIDTH, random_clip
from tests.test_attention import random_features

NAMES = ("cat", "dog", "tree")
HEADS = {
    "zero_shot": {"logit_scale": 7.0},
    "calip": {"beta2": 0.4, "beta3": 0.2, "config": CalipConfig.paper()},
    "linear_probe": {"C": 3.0},
    "tip_adapter": {"alpha_max": 2.0, "views": 2, "logit_scale": 7.0},
    "gda": {"logit_scale": 7.0},
    "clap": {"strength": 4.0, "logit_scale": 7.0, "iterations": 20},
}
SHORT = TrainingOptions(epochs=2, learning_rate=0.01)
TRAINED = {
    "calip_fs": {"config": CalipFsConfig(hidden=(4,), pre_init="random"), "training": SHORT},
    "clip_adapter": {"ratios": (0.3, 0.5), "training": SHORT},
    "coop": {"context": 4, "position": "middle", "classnames": NAMES, "training": SHORT},
    "inter_view_adapter": {"cloud_views": 2, "ratio": 0.4, "training": SHORT},
    "tip_adapter_f": {"alpha": 2.0, "training": SHORT},
}


@pytest.fixture
def saved(tmp_path):
    _, text = random_features()
    head = make_method("calip", **HEADS["calip"]).fit(None, None, text)
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    return tmp_path / "head.safetensors"


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_back_with_identical_logits(name, tmp_path):
    tokens, text = random_features(n=20)
    labels = np.repeat(np.arange(10) % 5, 2)
    head = make_method(name, **HEADS[name]).fit(tokens, labels, text, val=(tokens, labels))
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    assert back.header.method == name
    assert back.head.options() == head.options()
    assert torch.equal(back.head.logits(tokens), head.logits(tokens))


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_head_comes_back_with_identical_logits_and_without_a_backbone(name, tmp_path):
    tokens, text = random_features(n=6, c=WIDTH, k=3, dtype=torch.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    encoder = {"backbone": Backbone.from_clip("small", random_clip("rn"), precision="fp32")} if name == "coop" else {}
    head = make_method(name, **TRAINED[name], **encoder).fit(tokens, labels, text, (tokens, labels))
    save_method(head, tmp_path / "head.safetensors", backbone="small", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="small", classnames=NAMES)
    assert torch.equal(back.head.logits(tokens), head.logits(tokens))
    assert back.head.options() == head.options()
    assert back.header.options == head.options()


def test_an_unfitted_head_is_not_saved(tmp_path):
    with pytest.raises(RuntimeError, match="call fit"):
        save_method(make_method("calip"), tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"backbone": "RN101"}, "fitted on features of RN50, expected RN101"),
        ({"classnames": ("dog", "cat", "tree")}, "fitted for 3 classes .cat, dog, tree, ....*in this order: dog"),
    ],
)
def test_a_head_of_something_else_is_refused(saved, asked, said):
    with pytest.raises(ValueError, match=said):
        load_method(saved, **{"backbone": "RN50", "classnames": NAMES, **asked})


def test_damaged_and_foreign_files_are_named(saved, tmp_path):
    fits = {"backbone": "RN50", "classnames": NAMES}
    with pytest.raises(FileNotFoundError, match=r"no saved head .*absent"):
        load_method(tmp_path / "absent", **fits)
    saved.write_bytes(saved.read_bytes()[:50])
    with pytest.raises(ValueError, match="no saved head, or damaged"):
        load_method(saved, **fits)
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no saved head, or damaged"):
        load_method(tmp_path / "other.safetensors", **fits)
