import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calip_core.exhibits import calip_fs as show
from calip_core.methods import CalipFs, CalipFsConfig
from calip_core.methods.training import TrainingOptions
from calip_core.metrics import mean_interval
from tests.methods.few_shots import LABELS, random_support
from tests.records import SUPPORT, make_record


def record(method, shots, seed, top1, clip=0.4):
    support = {**SUPPORT, "shots": shots} if shots else None
    score = {"top1": top1, "clip_top1": clip}
    return make_record(seed=seed, data={"support": support}, head={"method": method}, score=score)


RECORDS = [
    record("calip_fs", 1, 2, 0.6), record("calip_fs", 1, 1, 0.5), record("calip_fs", 4, 1, 0.7),
    record("calip_fs", 4, 2, 0.9), record("calip", 0, 1, 0.45), record("calip", 0, 2, 0.43),
]  # fmt: skip


def test_draws_are_grouped_by_shots_in_the_order_of_seeds():
    found = show.draws(RECORDS, "calip_fs")
    assert list(found) == [1, 4]
    assert found[1].tolist() == [0.5, 0.6]


def test_references_are_clip_and_calip_if_it_was_measured():
    assert {name: shares.mean() for name, shares in show.references(RECORDS).items()} == pytest.approx(
        {"zero-shot CLIP": 0.4, "CALIP": 0.44}
    )
    assert list(show.references(RECORDS[:2])) == ["zero-shot CLIP"]


def test_a_mean_over_draws_has_its_interval_unless_there_is_one_draw():
    half = 100 * mean_interval([0.5, 0.6])[1]
    assert show.over_draws(np.array([0.5, 0.6])) == f"55.0 ± {half:.1f}"
    assert show.over_draws(np.array([0.5])) == "50.0"
    assert show.over_draws(np.array([-0.05]), difference=True) == "−5.0"


def test_the_curve_shows_draws_their_mean_and_the_references():
    plot = show.accuracy_over_shots(RECORDS)
    (ax,) = plot.figure.axes
    lines = [list(line.get_ydata()) for line in ax.lines]
    assert [50.0, 60.0] in lines and any(np.allclose(line, [55, 80]) for line in lines)
    assert any(np.allclose(line, 40) for line in lines) and any(np.allclose(line, 44) for line in lines)
    (legend,) = plot.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["CALIP-FS", "zero-shot CLIP", "CALIP"]
    assert "55.0 % at 1 shot, 80.0 % at 4 shots" in plot.alt and "CALIP 44.0 %" in plot.alt
    assert "2 draws" in plot.caption and "interval" in plot.caption


def test_a_single_draw_has_no_interval():
    single = [record("calip_fs", 1, 1, 0.5), record("calip", 0, 1, 0.45)]
    plot = show.accuracy_over_shots(single)
    assert not plot.figure.axes[0].collections and "interval" not in plot.caption and "1 draw " in plot.caption


def test_in_short_states_both_gains():
    text = show.in_short(RECORDS).markdown
    half = 100 * mean_interval([0.3, 0.5])[1]
    assert "With 4 shots per class" in text
    assert f"by +40.0 ± {half:.1f} points" in text and "by +4.0." in text


def test_moves_have_a_panel_per_setting_and_a_bar_per_matrix():
    tokens, text = random_support()
    training = TrainingOptions(learning_rate=0.05, epochs=2)
    heads = [CalipFs(config=CalipFsConfig.from_calip(), training=training, seed=s, logit_scale=7.0) for s in (1, 2)]
    heads = [head.fit(tokens, LABELS, text) for head in heads]
    plot = show.moves({"joint, from CALIP": heads, "again": heads[:1]})
    first, second = plot.figure.axes
    assert [first.get_title(), second.get_title()] == ["joint, from CALIP", "again"]
    assert len(first.patches) == len(second.patches) == 7
    expected = 100 * np.mean([head.moved()["post"] for head in heads])
    assert first.patches[-1].get_width() == pytest.approx(expected)
    assert f"W_p {expected:.3f} %" in plot.alt and "Mean over 2 draws (again: 1 draw). Orange" in plot.caption


def test_gradients_name_the_matrices_and_write_a_zero_as_zero():
    norms = dict.fromkeys(("s_q", "s_k", "s_v", "t_q", "t_k", "t_v"), 0.0) | {"post": 0.25}
    table = show.gradients({"from CLIP": norms})
    assert list(table.frame.index)[-1] == "$W_p$"
    assert table.frame["from CLIP"].tolist() == [0.0] * 6 + [0.25]
    shown = table._repr_mimebundle_()["text/plain"]
    assert "2.5e-01" in shown and "0.0e+00" not in shown


SCORES = pd.DataFrame({"CALIP-FS": [0.5, 0.7], "class bias alone": [0.5, 0.5]})


@pytest.mark.parametrize(
    ("clip", "said"),
    [(0.4, "50 % of the gain needs no attention"), (0.55, "explains none"), (0.7, "no gain to explain")],
)
def test_the_share_of_the_class_bias_is_told_only_where_there_is_a_gain(clip, said):
    assert said in show.bias_share(SCORES, clip).markdown


def _drawn():
    plot = show.diagram(tokens=49, classes=10, width=1024)
    ax = plot.figure.axes[0]
    learning = [patch for patch in ax.patches if plt.matplotlib.colors.to_hex(patch.get_facecolor()) == show.LEARNS]
    return plot, ax, learning


def test_the_diagram_colours_what_learns_and_states_the_sizes():
    plot, ax, learning = _drawn()
    texts = {text.get_text() for text in ax.texts}
    assert {"$F_s$", "$F_t$", "$F_v$", "$W_q^\\top$", "$W_p^\\top$", "$F_v^a$", "logits"} <= texts
    assert len(learning) == 8  # three for each side, and the last one in both directions
    assert "M = 49 tokens, K = 10 classes, C = 1024" in plot.caption


def test_the_diagram_gives_every_matrix_its_shape():
    _, ax, _ = _drawn()
    shapes = [text.get_text().replace("$\\times$", "x") for text in ax.texts if "times" in text.get_text()]
    assert len(shapes) == len(ax.patches)
    assert {"MxC", "KxC", "CxC", "KxM", "MxK", "1xC", "1xK"} <= set(shapes)


def test_on_a_phone_the_long_steps_of_the_diagram_take_two_lines():
    _, cells = show._STEPS[2]
    assert [len(line) for line in show._lines(cells, 8.7)] == [len(cells)]
    first, second = show._lines(cells, 5.2)
    assert (*first, *second) == cells and all(sum(map(show._width, line)) < 5.2 for line in (first, second))
    assert "calip-restacked" in show.diagram(16, 40, 128)._repr_mimebundle_()["text/html"]
