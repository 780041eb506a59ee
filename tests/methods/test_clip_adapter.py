import numpy as np
import torch

from calip_core.methods import ClipAdapter, TrainingOptions, make_method
from calip_core.metrics import accuracy
from tests.methods.few_shots import LABELS, informative, random_support

SHORT = TrainingOptions.coop(epochs=3)


def reference(pooled, text, state, scale):
    """One image after the other in float64, from the equation."""
    down, up, ratio = state["down"].double().numpy(), state["up"].double().numpy(), float(state["ratio"])
    rows = []
    for x in pooled.double().numpy():
        adapted = np.maximum(up @ np.maximum(down @ x, 0), 0)
        mixed = ratio * adapted + (1 - ratio) * x
        rows.append(scale * text.double().numpy() @ (mixed / np.linalg.norm(mixed)))
    return np.array(rows)


def test_logits_follow_the_equation():
    tokens, text = random_support()
    head = ClipAdapter(ratio=0.3, training=SHORT, logit_scale=7.0).fit(tokens, LABELS, text)
    assert head.state_dict()["down"].shape == (2, 8) and head.state_dict()["up"].shape == (8, 2)
    expected = reference(tokens.pooled, text, head.state_dict(), 7.0)
    np.testing.assert_allclose(head.logits(tokens).numpy(), expected, rtol=1e-12)


def test_a_ratio_of_nothing_is_zero_shot():
    tokens, text = random_support()
    head = ClipAdapter(ratio=0.0, training=SHORT).fit(tokens, LABELS, text)
    torch.testing.assert_close(head.logits(tokens), make_method("zero_shot").fit(None, None, text).logits(tokens))


def test_the_published_ratio_without_validation_and_the_best_of_the_grid_with_it():
    task = informative(shots=4)
    options = {"training": TrainingOptions(learning_rate=0.05, epochs=8), "logit_scale": 20.0}
    plain = ClipAdapter(**options).fit(task.support, task.labels, task.text)
    assert float(plain.ratio) == 0.2
    scores = []
    for ratio in (0.2, 0.6, 0.9):
        head = ClipAdapter(ratio=ratio, **options).fit(task.support, task.labels, task.text, task.val)
        scores.append(accuracy(head.logits(task.val[0]), task.val[1]))
    chosen = ClipAdapter(ratios=(0.2, 0.6, 0.9), **options).fit(task.support, task.labels, task.text, task.val)
    assert float(chosen.ratio) == (0.2, 0.6, 0.9)[int(np.argmax(scores))]
    assert accuracy(chosen.logits(task.val[0]), task.val[1]) == max(scores)
