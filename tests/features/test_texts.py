"""Text features on disk: those of the classifier, bit for bit, and believed only when they are whole."""

import warnings

import pytest
import torch

from calip_core import zero_shot_classifier
from calip_core.backbones.base import Backbone
from calip_core.features import text_features, texts
from tests.backbones.clips import random_clip

NAMES, TEMPLATES = ("cat", "dog", "red panda"), ("a photo of a {}.", "one {}")


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


@pytest.fixture
def prompts(backbone, monkeypatch):
    """The prompts that are encoded."""
    seen, encode = [], backbone.encode_text

    def counted(batch):
        seen.extend(batch)
        return encode(batch)

    monkeypatch.setattr(backbone, "encode_text", counted, raising=False)
    return seen


def test_features_are_the_classifiers_and_encoded_once(backbone, tmp_path, prompts):
    expected = zero_shot_classifier(backbone, NAMES, TEMPLATES)
    prompts.clear()
    first = text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    assert len(prompts) == 6
    second = text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    assert len(prompts) == 6
    assert torch.equal(first, expected) and torch.equal(second, expected)
    assert second.dtype == torch.float32


def test_whatever_changes_the_features_changes_the_file(backbone, tmp_path, monkeypatch):
    others = [
        Backbone.from_clip("random", random_clip("vit", seed=1), precision="fp32"),
        Backbone.from_clip("random", random_clip("vit"), precision="bf16"),
    ]
    text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    for other in others:
        text_features(other, NAMES, TEMPLATES, root=tmp_path)
    text_features(backbone, NAMES[::-1], TEMPLATES, root=tmp_path)
    text_features(backbone, NAMES, TEMPLATES[:1], root=tmp_path)
    monkeypatch.setattr(texts, "VERSION", texts.VERSION + 1)
    text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


def test_class_descriptions_are_kept_under_their_texts(backbone, tmp_path, prompts):
    described = {"red panda": ["It climbs."], "cat": ["It purrs.", "It is small."], "dog": ["It barks."]}
    expected = zero_shot_classifier(backbone, NAMES, described)
    prompts.clear()
    for _ in range(2):
        assert torch.equal(text_features(backbone, NAMES, described, root=tmp_path), expected)
    assert prompts == ["It purrs.", "It is small.", "It barks.", "It climbs."]
    moved = described | {"cat": ["It purrs."], "dog": ["It is small.", "It barks."]}
    assert not torch.equal(text_features(backbone, NAMES, moved, root=tmp_path), expected)


def test_the_name_and_the_image_tower_change_nothing(backbone, tmp_path):
    model = random_clip("vit")
    torch.nn.init.ones_(model.visual.conv1.weight)
    text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    text_features(Backbone.from_clip("other", model, precision="fp32"), NAMES, TEMPLATES, root=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fault", ["flip", "truncate", "empty", "another shape"])
def test_a_damaged_file_is_made_again_with_a_warning(backbone, tmp_path, fault):
    expected = text_features(backbone, NAMES, TEMPLATES, root=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if fault == "another shape":
        text_features(backbone, NAMES[:2], TEMPLATES, root=tmp_path / "two")
        damaged = next((tmp_path / "two").iterdir()).read_bytes()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        damaged = {"flip": flipped, "truncate": whole[:50], "empty": b""}[fault]
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match="does not match its checksum: encoding its prompts again"):
        assert torch.equal(text_features(backbone, NAMES, TEMPLATES, root=tmp_path), expected)
    assert path.read_bytes() == whole


def test_bad_prompts_are_refused_and_doubles_warned_of_every_time(backbone, tmp_path):
    with pytest.raises(ValueError, match="classnames is"):
        text_features(backbone, [], TEMPLATES, root=tmp_path)
    with pytest.raises(ValueError, match="needs exactly one {}"):
        text_features(backbone, NAMES, ["a photo"], root=tmp_path)
    for _ in range(2):
        with pytest.warns(UserWarning, match="more than once") as caught:
            text_features(backbone, ["crane", "crane"], TEMPLATES, root=tmp_path)
        assert len(caught) == 1


def test_the_users_cache_is_the_default(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_features(backbone, NAMES, TEMPLATES)
    assert len(list((tmp_path / "texts").iterdir())) == 1
