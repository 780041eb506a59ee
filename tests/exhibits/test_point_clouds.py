"""Exhibits of point clouds show the numbers that they are given, and say them in captions and alternative texts."""

import numpy as np
import pytest

from calip_core.datasets import load_task
from calip_core.evaluation.record import pack_hits
from calip_core.exhibits import point_clouds as clouds
from tests.records import make_record

N = 40
"""Clouds of each record here."""


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    root = tmp_path_factory.mktemp("clouds")
    return load_task("mini-solids", root=root, views="pointclip", points=64, sizes={"train": 0, "val": 0, "test": 20})


def hits(count):
    return np.arange(N) < count


def record(clip, calip=None, *, classes=10, **score):
    """CALIP's record on N clouds: CLIP is right on the first ``clip``, CALIP on the first ``calip``."""
    calip = clip if calip is None else calip
    values = {"top1": calip / N, "low": calip / N - 0.05, "high": calip / N + 0.05, "clip_top1": clip / N}
    values |= {"gain": (calip - clip) / N, "gain_low": -0.01, "gain_high": 0.01}
    values |= {"hits": pack_hits(hits(calip)), "clip_hits": pack_hits(hits(clip))}
    views = {"view_weighting": "uniform", "view_weights": (1.0,), "view_weights_by": "the same for every view"}
    data = {"task": "mini-solids", "images": N, "classes": classes, "projection": "pointclip, 64 points"}
    return make_record(data=data, choice=views, score=values | score)


def test_the_viewer_shows_one_cloud_and_its_menu_the_others(task):
    shown = clouds.cloud_viewer(task)
    first = clouds.first_of_class(task)
    assert [trace.visible for trace in shown.figure.data] == [True] + [False] * (len(first) - 1)
    second = list(first)[1]
    assert np.allclose(shown.figure.data[1].y, task.splits["test"].clouds[first[second]][:, 1], atol=1e-3)
    buttons = shown.figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == list(first)
    assert buttons[1].args[0]["visible"][:3] == [False, True, False]
    assert shown.figure.layout.scene.camera.up.y == 1
    assert "64 points" in shown.alt and second in shown.alt


def test_drawings_have_one_row_per_view_set_and_a_narrow_form(task):
    shown = clouds.drawings(task, 0, ("pointclip", "bright_voxels"))
    assert [ax.get_ylabel() for ax in shown.figure.axes[::6]] == ["pointclip", "bright_voxels"]
    assert len(shown.figure.axes) == 12 and shown.figure.axes[0].get_xlabel() == "from −z"
    dots = task.splits["test"].depth_map(0).numpy()
    assert f"covers: pointclip, {100 * (dots > 0).mean():.0f} %" in shown.alt
    assert "calip-restacked" in shown._repr_mimebundle_()["text/html"]


def test_the_table_of_view_sets_has_one_gain_per_kind_of_tokens():
    measured = {("pointclip", "joint"): record(10, 11), ("pointclip", "value"): record(10, 14)}
    shown = clouds.by_view_set(measured)
    assert list(shown.frame.index) == ["pointclip"] and shown.frame["views"]["pointclip"] == 6
    assert shown.frame["CLIP"]["pointclip"].startswith("25.0 % [")
    assert shown.frame["gain, value tokens (points)"]["pointclip"] == "+10.0 [−1.0, +1.0]"
    assert "40 test clouds of mini-solids" in shown.caption and "Guessing reaches 10.0 %." in shown.caption


def test_the_larger_of_drawing_and_attention_is_named():
    drawing = {("pointclip", "joint"): record(5), ("bright_voxels", "joint"): record(30, 31)}
    text = clouds.drawing_or_attention(drawing).markdown
    assert text.startswith("**How the cloud is drawn matters more than the attention.** Between pointclip and")
    assert "by +62.5 points" in text and "0.0 to +2.5 points: McNemar's test calls none of these 2" in text
    clear = record(11, 18)
    text = clouds.drawing_or_attention({("pointclip", "joint"): record(10), ("pointclip_v2", "value"): clear}).markdown
    assert text.startswith("**Here the attention moves more than the drawing does.**")
    assert "calls 1 of these 2 changes real (+17.5 with value tokens on pointclip_v2). Without any effect" in text


def test_the_table_of_weightings_has_the_control_of_the_oracle():
    weighted = {("validation", "searched"): record(20, 21), ("oracle", "uniform"): record(20, 22, control_gain=0.01)}
    shown = clouds.by_weighting(weighted)
    frame = shown.frame
    assert list(frame.index) == ["validation, searched views", "oracle, uniform views"]
    assert frame["CALIP"].iloc[0] == "52.5 % [47.5, 57.5]"
    assert frame["gain on shuffled terms"].iloc[1] == "+1.0"
    assert "nan" not in shown._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (10, 30, "The gain survives on clouds that the search has not seen (McNemar's p = 1.9e-06)."),
        (30, 10, "Weights that help on the clouds they were searched on do harm on others"),
        (20, 21, "With 40 clouds, the second change cannot be distinguished from chance (McNemar's p = 1)."),
    ],
)
def test_a_search_is_judged_by_clouds_that_it_has_not_seen(before, after, said):
    weighted = {
        ("oracle", "uniform"): record(20), ("oracle", "searched"): record(24),
        ("validation", "uniform"): record(before), ("validation", "searched"): record(after),
    }  # fmt: skip
    text = clouds.search_verdict(weighted).markdown
    assert "changes CLIP's accuracy by +10.0 points" in text and said in text
