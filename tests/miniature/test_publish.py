import zipfile

import pytest

from calip_core.backbones.model_card import checkpoint_path, load_card
from calip_core.metrics import wilson_interval
from calip_core.miniature.architecture import build_miniature, half_state_dict
from calip_core.miniature.publish import measure_accuracy, save_weights


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_shipped_accuracy_holds_on_fresh_pictures(name):
    """500 new pictures: their own interval (99.9 %: ten comparisons) meets the card's."""
    card = load_card(name)
    for question, fresh in measure_accuracy(checkpoint_path(name), images=500, seed=4711).items():
        interval = wilson_interval(fresh.correct, fresh.images, confidence=0.999)
        shipped = card.accuracy[question]
        assert interval.low <= shipped.high and shipped.low <= interval.high, (question, fresh, shipped)


def test_equal_weights_are_equal_bytes(tmp_path):
    for name in ("first.pt", "second.pt"):
        save_weights(half_state_dict(build_miniature("vit", seed=3)), tmp_path / name)
    assert (tmp_path / "first.pt").read_bytes() == (tmp_path / "second.pt").read_bytes()


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_the_shipped_files_hold_no_name_of_a_file(name):
    assert zipfile.ZipFile(checkpoint_path(name)).namelist()[0] == "archive/data.pkl"
