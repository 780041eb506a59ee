"""Heads on disk come back as they were, and are not believed when they do not fit."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
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
    "clap": {"strength": 4.0, "logit_scale": 7.0},
}
SHORT = TrainingOptions(epochs=2, learning_rate=0.01)
TRAINED = {
    "calip_fs": {"config": CalipFsConfig(hidden=(4,), pre_init="random"), "training": SHORT},
    "clip_adapter": {"ratios": (0.3, 0.5), "training": SHORT},
    "coop": {"context": 4, "position": "middle", "training": SHORT},
    "inter_view_adapter": {"cloud_views": 2, "ratio": 0.4, "training": SHORT},
    "tip_adapter_f": {"alpha": 2.0, "beta": 3.0, "training": SHORT},
}


@pytest.fixture
def saved(tmp_path):
    _, text = random_features(k=3)
    head = make_method("calip", **HEADS["calip"]).fit(None, None, text)
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    return tmp_path / "head.safetensors"


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_back_with_identical_logits(name, tmp_path):
    tokens, text = random_features(n=20, k=3)
    labels = np.repeat(np.arange(10) % 3, 2)
    head = make_method(name, **HEADS[name])
    support = (None, None) if head.sees == "nothing" else (tokens, labels)
    head.fit(*support, text, val=(tokens, labels))
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    assert back.header.method == name
    assert back.head.options_dict() == head.options_dict()
    assert torch.equal(back.head.logits(tokens), head.logits(tokens))
    assert back.head.features_of == "RN50"


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_head_comes_back_with_identical_logits_and_without_a_backbone(name, tmp_path):
    tokens, text = random_features(n=6, c=WIDTH, k=3, dtype=torch.float32)
    labels = np.array([0, 0, 1, 1, 2, 2])
    small = Backbone.from_clip("small", random_clip("rn"), precision="fp32")
    encoder = {"backbone": small, "classnames": NAMES} if name == "coop" else {}
    head = make_method(name, **TRAINED[name], **encoder).fit(tokens, labels, text, (tokens, labels))
    save_method(head, tmp_path / "head.safetensors", backbone="small", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="small", classnames=NAMES)
    assert torch.equal(back.head.logits(tokens), head.logits(tokens))
    assert back.head.options_dict() == head.options_dict()
    assert back.header.options == head.options_dict()


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
    with pytest.raises(ValueError, match="cannot be read as a saved head"):
        load_method(saved, **fits)
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="cannot be read as a saved head"):
        load_method(tmp_path / "other.safetensors", **fits)


def test_a_head_is_saved_for_its_own_classes_and_backbone_alone(tmp_path):
    tokens, text = random_features(n=6, k=3)
    head = make_method("gda").fit(tokens, np.arange(6) % 3, text)
    with pytest.raises(ValueError, match=r"this gda: tensor text has shape .3, 8., expected .'k', 'c'. with .'k': 2"):
        save_method(head, tmp_path / "x", backbone="RN50", classnames=NAMES[:2])
    head.features_of = "ViT-B/16"
    with pytest.raises(ValueError, match="fitted on features of ViT-B/16, not of RN50"):
        save_method(head, tmp_path / "x", backbone="RN50", classnames=NAMES)
    assert list(tmp_path.iterdir()) == []


def rewritten(path, tensors=(), **changes):
    """The saved head with other tensors or header fields."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["calip_head"]) | changes
        state = {name: file.get_tensor(name) for name in file.keys()} | dict(tensors)  # noqa: SIM118
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, path, metadata={"calip_head": json.dumps(header)})


@pytest.mark.parametrize(
    ("tensors", "changes", "said"),
    [
        ({"text": torch.zeros(4, 8)}, {}, r"tensor text has shape .4, 8., expected .'k', 'c'. with .'k': 3"),
        ({"text": None}, {}, r"has tensors .'beta2', 'beta3'., expected .'beta2', 'beta3', 'text'."),
        ({"more": torch.zeros(1)}, {}, r"has tensors .'beta2', 'beta3', 'more', 'text'."),
        ({"beta2": torch.zeros(3)}, {}, r"tensor beta2 has shape .3,., expected .."),
        ({}, {"options": {"gamma": 1}}, "has no option gamma; it has: "),
        ({"beta2": torch.tensor(torch.nan)}, {}, "tensor beta2 holds NaN or infinity"),
        ({"beta2": torch.tensor(1)}, {}, "tensor beta2 is of torch.int64"),
        ({}, {"method": "clip"}, "method is 'clip', expected one of"),
    ],
)
def test_a_file_that_does_not_fit_its_head_is_named(saved, tensors, changes, said):
    rewritten(saved, tensors, **changes)
    with pytest.raises(ValueError, match=rf"head.safetensors cannot be read as a \w+ of this version .*{said}"):
        load_method(saved, backbone="RN50", classnames=NAMES)


@pytest.mark.parametrize("classes", [[0, 1, 3], [0, -1, 2], [0.0, 1.0, 2.0]])
def test_class_numbers_that_are_no_classes_are_refused(classes, tmp_path):
    tokens, text = random_features(n=3, k=3)
    head = make_method("tip_adapter", alpha=1.0, beta=1.0).fit(tokens, np.arange(3), text)
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    rewritten(tmp_path / "head.safetensors", {"classes": torch.tensor(classes)})
    with pytest.raises(ValueError, match=r"head.safetensors cannot be read as a tip_adapter .*class"):
        load_method(tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)


class Intruder:
    def __reduce__(self):
        return (fail, ())


def fail():
    pytest.fail("code in a saved head was run")


def test_nothing_in_a_saved_head_runs(saved):
    """Neither a pickle in the file's place, nor one in its header, nor a name of code as its method or an option."""
    fits = {"backbone": "RN50", "classnames": NAMES}
    whole = saved.read_bytes()
    for content in (pickle.dumps(Intruder()), whole.replace(b'"calip_head"', pickle.dumps(Intruder(), 0)[:12])):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as a saved head"):
            load_method(saved, **fits)
    saved.write_bytes(whole)
    for changes in ({"method": "builtins.eval"}, {"options": {"config": "__import__('os').abort()"}}):
        rewritten(saved, **{"method": "calip", "options": {}, **changes})
        with pytest.raises(ValueError, match="cannot be read as a"):
            load_method(saved, **fits)
