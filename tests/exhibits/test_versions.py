"""The exhibits of appendix C show the settings and the records that they are given."""

import numpy as np
import pytest

from calip_core.attention import CalipConfig
from calip_core.exhibits import versions
from tests.records import make_record

OPTIONS = {"config": CalipConfig.susx(), "beta2": 1.12, "beta3": 0.02, "logit_scale": 100.0}


def scored(**score):
    return make_record(score=score)


def test_deviations_show_every_choice() -> None:
    pooled = {**OPTIONS, "config": CalipConfig.susx(pool=lambda features: features[:, 0]), "beta2": 2.0}
    table = versions.deviations({"one": ("pre_pool", OPTIONS), "two": ("joint", pooled)})
    assert table.frame.loc["one"].tolist() == ["pre-pool", "2", "mean", "yes", "100.0", "1.12", "0.02"]
    assert table.frame.loc["two"].tolist() == ["joint", "2", "its own", "yes", "100.0", "2", "0.02"]


def test_accuracies_are_drawn_in_per_cent_and_named() -> None:
    shown = versions.accuracies(
        {"a": scored(top1=0.5, clip_top1=0.25)}, {"a": scored(top1=0.125)}, {"a": scored(top1=0.75)}
    )
    clip, *terms = shown.figure.axes[0].lines
    assert clip.get_xdata()[0] == 25
    np.testing.assert_allclose([line.get_xdata()[0] for line in terms], [50, 12.5, 75])
    assert "a: blend 50.0 %, text term alone 12.5 %, visual term alone 75.0 %" in shown.alt


def test_scores_stand_beside_the_terms_alone() -> None:
    blend = scored(top1=0.5, gain=-0.01, only_method=2, only_clip=7, mcnemar_p=0.18, clip_top1=0.51)
    table = versions.scores({"a": blend}, {"a": scored(top1=0.125)}, {"a": scored(top1=0.75)})
    assert table.frame.loc["a"].tolist() == ["50.0 %", "−1.0", "2 : 7", "0.18", "12.5 %", "75.0 %"]
    assert "CLIP has 51.0 %" in table.caption


@pytest.mark.parametrize(("control", "cell"), [(None, ""), (0.002, "+0.2")])
def test_a_search_shows_its_shuffled_control(control: float | None, cell: str) -> None:
    record = make_record(
        score={"gain": 0.01, "gain_low": -0.005, "gain_high": 0.025, "control_gain": control},
        choice={"values": {"beta2": 1.68, "beta3": 0.0079}},
    )
    table = versions.searches({"oracle": record})
    assert table.frame.loc["oracle"].tolist() == ["1.68, 0.0079", "+1.0", "[−0.5, 2.5]", cell]
