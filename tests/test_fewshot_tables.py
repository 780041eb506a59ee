import numpy as np
import pytest

from calip_core.fewshot import FewShotRecord
from calip_core.fewshot_tables import differences, leader


def record(**changes):
    """A record that was made as published, but for the changes; fields that the tables do not read are left out."""
    made = {"method": "coop", "hyperparameters": "published", "seed": 1, "limit": None, "augmentations": 1}
    made |= {"options": {"training": {"epochs": 200}}} | changes
    return FewShotRecord.model_construct(**made)


def draws(**changes):
    return [record(seed=seed, **changes) for seed in (1, 2, 3)]


def test_the_leader_has_the_best_mean_and_its_lead_is_paired_over_the_draws():
    # The draws move both by much, but the difference by little: 0.01, 0.02, 0.03.
    first = np.array([0.51, 0.62, 0.83])
    best = leader({"b": first - [0.01, 0.02, 0.03], "a": first, "c": np.array([0.1, 0.1, 0.1])})
    assert (best.name, best.runner_up) == ("a", "b")
    assert best.mean == pytest.approx(first.mean()) and best.lead == pytest.approx(0.02)
    assert best.half == pytest.approx(4.302653 * 0.01 / np.sqrt(3)) and not best.clear


def test_a_lead_larger_than_its_interval_is_clear():
    assert leader({"a": np.array([0.9, 0.91, 0.9]), "b": np.array([0.5, 0.5, 0.51])}).clear


def test_one_draw_and_one_method_are_never_clear():
    assert not leader({"a": np.array([0.9]), "b": np.array([0.1])}).clear
    alone = leader({"a": np.array([0.9, 0.8, 0.7])})
    assert alone.runner_up == "" and not alone.clear


def test_no_methods_are_refused():
    with pytest.raises(ValueError, match="expected the shares of at least one method"):
        leader({})


def test_records_made_as_published_differ_in_nothing():
    assert differences(draws(), epochs=200) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hyperparameters": "fixed"}, "hyperparameters fixed"),
        ({"limit": 100}, "at most 100 test images"),
        ({"augmentations": 0}, "no crop and mirroring"),
        ({"options": {"training": {"epochs": 20}}}, "20 epochs, not 200"),
        ({"method": "tip_adapter", "options": {}}, "1 augmented views, not 10"),
    ],
)
def test_each_difference_is_named(changes, words):
    assert words in differences(draws(**changes), epochs=200)


def test_missing_draws_are_named():
    assert differences([record(seed=1), record(seed=3)], epochs=200) == ("draws 1, 3",)
