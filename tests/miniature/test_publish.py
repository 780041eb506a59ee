import pytest

from calip_core.backbones.model_card import checkpoint_path, load_card
from calip_core.metrics import wilson_interval
from calip_core.miniature.publish import measure_accuracy


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_shipped_accuracy_holds_on_fresh_pictures(name):
    """500 new pictures: their own interval (99.9 %: ten comparisons) meets the card's."""
    card = load_card(name)
    for question, fresh in measure_accuracy(checkpoint_path(name), images=500, seed=4711).items():
        interval = wilson_interval(fresh.correct, fresh.images, confidence=0.999)
        shipped = card.accuracy[question]
        assert interval.low <= shipped.high and shipped.low <= interval.high, (question, fresh, shipped)
