import numpy as np
import pytest

from calip_core.analysis.leader import leader


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
    with pytest.raises(ValueError, match="expected at least one method"):
        leader({})
