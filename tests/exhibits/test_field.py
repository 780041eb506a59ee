"""The exhibits of chapter 10: what a method sees stands beside every number."""

import numpy as np
import pandas as pd
import pytest
import torch

from calip_core.exhibits import field as show
from calip_core.methods import METHODS, make_method
from calip_core.published import published_training_free
from tests.records import make_record


def record(method, gain, task="digits", tokens="joint", images=10, **options):
    options = {"prior": "keep", **options} if method == "calip" else options
    sees = METHODS[method].sees
    return make_record(
        data={"task": task, "images": images}, encoder={"tokens": tokens},
        head={"method": method, "sees": sees, "options": options},
        score={"gain": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01, "only_method": 3, "only_clip": 1},
    )  # fmt: skip


def records():
    found = [record("zero_shot", 0.0, task) for task in ("digits", "mini-pairs")]
    for task, more in (("digits", 0.0), ("mini-pairs", 0.02)):
        found += [record("inmap", 0.05 + more, task), record("transclip", 0.01, task), record("tda", -0.03, task)]
        found += [record("calip", more, task)]
    return [*found, record("calip", 0.04, tokens="value"), record("mta", 0.2, images=5)]


def test_titles_name_the_options_of_calip():
    assert show.title(record("calip", 0.0)) == "CALIP"
    assert show.title(record("calip", 0.0, tokens="value", prior="constant")) == "CALIP, value tokens, without prior"
    assert show.title(record("stata", 0.0)) == "StatA"


def test_gains_stand_by_kind_with_the_kind_in_their_names():
    plot = show.gains(records())
    axes = plot.figure.axes
    assert [ax.get_title() for ax in axes] == ["digits, CLIP 50.0 %", "mini-pairs, CLIP 50.0 %"]
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == [
        "CALIP (nothing)", "CALIP, value tokens (nothing)", "MTA (views)", "TDA (stream)", "InMaP (batch)",
        "TransCLIP (batch)",
    ]  # fmt: skip
    assert [len(ax.containers) for ax in axes] == [6, 4]  # MTA and value tokens on one task alone
    first = axes[0].containers[[c.lines[0].get_xdata()[0] for c in axes[0].containers].index(5.0)]
    assert first.lines[0].get_ydata()[0] == 1  # InMaP, one above the lowest row
    assert "digits 10, mini-pairs 10; MTA 5 of digits." in plot.caption
    assert "mini-pairs: InMaP +7.0, TransCLIP +1.0, TDA −3.0, CALIP +2.0" in plot.alt


def test_in_short_has_the_range_of_each_kind():
    text = show.in_short(records()).markdown
    assert text.endswith(": nothing 0.0 to +4.0; crops of it +20.0; a stream −3.0; a batch +1.0 to +7.0.")


def test_neighbours_stand_beside_the_gains_of_a_batch():
    table = show.neighbours(records(), {"digits": 0.5, "mini-pairs": 0.25}).frame
    assert table.loc["digits"].tolist() == ["50.0 %", "50.0 %", "+5.0", "+1.0"]
    assert table.loc["mini-pairs", "neighbours agree"] == "25.0 %"


def test_every_head_without_labels_is_in_the_table_of_needs():
    table = show.needs().frame
    listed = ", ".join(table["methods"]).split(", ")
    assert len(listed) == sum(head.sees != "labels" for head in METHODS.values())
    assert table["methods"]["views"] == "MTA"


def test_small_shares_are_drawn_together():
    shares = np.full(40, 0.5 / 38)
    shares[[3, 7]] = 0.25
    names = [f"class {k}" for k in range(40)]
    plot = show.class_shares({"truth": shares, "guess": np.full(40, 1 / 40)}, names)
    labels = [label.get_text() for label in plot.figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["class 3", "class 7"] and labels[-1] == "32 others together" and len(labels) == 9
    assert sum(bar.get_width() for bar in plot.figure.axes[0].patches) == pytest.approx(1)
    few = show.class_shares({"truth": np.array([0.2, 0.8])}, ["cat", "dog"])
    assert [label.get_text() for label in few.figure.axes[0].get_yticklabels()] == ["cat", "dog"]
    assert "truth: dog 80 %, cat 20 %" in few.alt


def test_absent_means_are_compared_with_their_text_and_with_the_images():
    eye = torch.eye(3)
    text = show.absent_means(eye[[1, 1, 0]], eye, eye[[1]], np.array([False, True, True])).markdown
    assert "The means of the 2 absent classes: their cosine with their own text is 0.50 on average" in text
    assert text.endswith("with the nearest image of the batch 0.50.")


def frame(gains, **columns):
    """One row per method, level and seed."""
    rows = [
        {"method": m, "sees": METHODS[m].sees, "level": level, "seed": seed, "gain": gain, **columns}
        for (m, level), values in gains.items()
        for seed, gain in enumerate(values)
    ]
    return pd.DataFrame(rows)


PRESENCE = {
    ("zero_shot", 2): (0, 0, 0), ("zero_shot", 9): (0, 0, 0), ("inmap", 2): (-0.8, -0.7, -0.75),
    ("inmap", 9): (0.1, 0.1, 0.1), ("calip", 2): (0.0, 0.01, -0.01), ("calip", 9): (0, 0, 0),
}  # fmt: skip


def test_curves_show_means_by_level_one_panel_per_method():
    plot = show.curves(frame(PRESENCE), "classes present", "Batches of 3.")
    assert [ax.get_title() for ax in plot.figure.axes] == ["CALIP (nothing)", "InMaP (batch)"]
    np.testing.assert_allclose(plot.figure.axes[1].containers[0].lines[0].get_ydata().astype(float), [-75, 10])
    assert [text.get_text() for text in plot.figure.axes[1].texts] == ["−75.0"]
    assert "InMaP −75.0 at 2, +10.0 at 9" in plot.alt and "mean over 3 draws" in plot.caption


def test_orders_of_a_stream_are_two_curves():
    gains = {"shuffled": 0.1, "class after class": 0.2}
    both = pd.concat([frame({("tda", 20): (gain, gain)}, order=order) for order, gain in gains.items()])
    plot = show.curves(both, "length", "Streams.")
    assert [line.get_label() for line in plot.figure.axes[0].containers] == ["shuffled", "class after class"]
    assert "shuffled +10.0 at 20; class after class +20.0 at 20" in plot.alt


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({}, "With 2 of the 9 classes in the batch, InMaP loses accuracy: −75.0 points. None clearly gains."),
        ({("inmap", 2): (0.1, -0.1, 0.0)}, "no method clearly loses accuracy. None clearly gains."),
        ({("zlap", 2): (-0.1, -0.1, -0.1)}, "InMaP and ZLaP lose accuracy, InMaP most: −75.0 points."),
        ({("stata", 2): (0.1, 0.1, 0.11)}, "StatA clearly gains."),
        ({("stata", 2): (0.1, 0.1, 0.1), ("tda", 2): (0.1, 0.1, 0.1)}, "StatA and TDA clearly gain."),
    ],
)  # fmt: skip
def test_the_sentence_on_few_classes(gains, said):
    assert said in show.composition_in_short(frame(PRESENCE | gains), 9).markdown


def test_cost_counts_the_runs_of_the_encoder():
    heads = {name: make_method(name) for name in ("inmap", "mta", "zero_shot")}
    table = show.cost({"inmap": 2.0, "mta": 1.0, "zero_shot": 0.01}, 1000, heads).frame
    assert list(table.index) == ["zero-shot CLIP", "MTA", "InMaP"]
    assert list(table["encoder runs per image"]) == [1, 64, 1]
    assert list(table["head, ms per image"]) == pytest.approx([0.01, 1, 2])


def test_published_gains_have_their_own_baseline_and_kind():
    table = show.published_gains()
    assert len(table.frame) == len(published_training_free())
    kinds = [show.SEES.index(sees) for sees in table.frame["sees"]]
    assert kinds == sorted(kinds)
    assert "it is 59.81 and 60.31 in different tables" in table.caption
    source = table.frame["source"]["ZLaP"].iloc[0]
    assert f"{source} StatA's README" in table.caption


def test_which_sets_the_gain_on_all_tasks_beside_that_with_few_classes():
    table = show.which(records(), frame(PRESENCE)).frame
    assert list(table.index) == ["CALIP", "CALIP, value tokens", "MTA", "TDA", "InMaP", "TransCLIP"]
    assert list(table["sees"]) == ["nothing", "nothing", "views", "stream", "batch", "batch"]
    assert list(table["tasks"]) == [2, 1, 1, 2, 2, 2]
    assert table["gain, all tasks"]["InMaP"].startswith("+20.00 [")  # 6 : 2 of 20 images
    column = table["gain, 2 classes present"]
    assert column["InMaP"] == "−75.0 ± 12.4" and column["CALIP, value tokens"] == "" and column["TDA"] == ""
