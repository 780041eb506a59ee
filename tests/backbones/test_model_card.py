import shutil

import pytest
import yaml

from calip_core.backbones.clip_import import clip
from calip_core.backbones.model_card import MINIATURE_DIR, checkpoint_path, load_card, save_card

NAMES = ("mini-rn", "mini-vit")


@pytest.fixture
def copy(tmp_path):
    """The shipped files of mini-rn in a folder that may be spoilt."""
    for suffix in (".pt", ".yaml"):
        shutil.copy(MINIATURE_DIR / f"mini-rn{suffix}", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_those_of_the_card(name):
    card, path = load_card(name), checkpoint_path(name)
    assert path.stat().st_size == card.bytes <= 10_000_000
    model, _ = clip.load(str(path), device="cpu")
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert float(model.logit_scale.exp()) == pytest.approx(card.logit_scale, rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_accuracies_have_their_sizes_and_intervals(name):
    for result in load_card(name).accuracy.values():
        assert result.images >= 500
        assert result.accuracy == pytest.approx(result.correct / result.images, abs=1e-4)
        assert result.low <= result.accuracy <= result.high


def test_a_card_survives_the_way_to_disk_and_back(tmp_path):
    card = load_card("mini-rn")
    save_card(card, tmp_path / "mini-rn.yaml")
    assert load_card("mini-rn", tmp_path) == card


def test_a_missing_card_lists_the_others():
    with pytest.raises(FileNotFoundError, match="mini-gpt.*mini-rn, mini-vit"):
        load_card("mini-gpt")


def test_missing_weights_say_how_to_get_them(copy):
    (copy / "mini-rn.pt").unlink()
    with pytest.raises(FileNotFoundError, match="git checkout.*--arch rn"):
        checkpoint_path("mini-rn", copy)


def test_truncated_weights_are_refused(copy):
    path = copy / "mini-rn.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="1000 bytes.*its card says"):
        checkpoint_path("mini-rn", copy)


def test_one_flipped_bit_is_refused(copy):
    path = copy / "mini-rn.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256"):
        checkpoint_path("mini-rn", copy)


def test_a_file_that_is_no_card_is_named(tmp_path):
    (tmp_path / "mini-rn.yaml").write_text("name: mini-rn")
    with pytest.raises(ValueError, match="mini-rn.yaml does not describe a miniature: architecture is missing"):
        load_card("mini-rn", tmp_path)


def test_an_unknown_field_is_no_card(copy):
    path = copy / "mini-rn.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"acuracy": 1}))
    with pytest.raises(ValueError, match="acuracy"):
        load_card("mini-rn", copy)
