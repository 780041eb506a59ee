"""The loop on a problem small enough to follow by hand, and what happens when it goes wrong."""

import math

import numpy as np
import pytest
import torch

from calip_core.methods.training import TrainingDivergedError, TrainingOptions, optimizer_of, scheduler_of, train

FEATURES = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.arange(12) % 3
SHORT = TrainingOptions(learning_rate=0.1, epochs=3, batch_size=5, warmup_rate=0.01)


def weights():
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.nn.Parameter(start)


def trained(options, seed=0):
    w = weights()
    report = train([w], lambda rows: FEATURES[rows] @ w.T, TARGETS, options, seed=seed)
    return w.detach(), report


def rate(options, step, steps_per_epoch):
    """Learning rate of step 0, 1, ...: constant in the warm-up, then half a cosine from its highest towards 0."""
    warm, steps = options.warmup_epochs * steps_per_epoch, options.epochs * steps_per_epoch
    if step < warm:
        return options.warmup_rate
    return options.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


@pytest.mark.parametrize("options", [SHORT, TrainingOptions(epochs=200), TrainingOptions.tip_adapter_f()])
def test_the_schedule_is_a_constant_and_half_a_cosine(options):
    optimizer = optimizer_of([weights()], options)
    scheduler = scheduler_of(optimizer, options, 7)
    for step in range(7 * options.epochs):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate(options, step, 7), rel=1e-6, abs=1e-15)
        optimizer.step()
        scheduler.step()


def by_hand(options, seed):
    """Softmax regression with the updates written out: SGD with momentum, or AdamW."""
    w = weights().detach().numpy().copy()
    first, second, t = np.zeros_like(w), np.zeros_like(w), 0
    rng, steps_per_epoch = np.random.default_rng(seed), math.ceil(12 / options.batch_size)
    for _ in range(options.epochs):
        order = rng.permutation(12)
        for start in range(0, 12, options.batch_size):
            rows = order[start : start + options.batch_size]
            x, y = FEATURES.numpy()[rows], np.eye(3)[TARGETS.numpy()[rows]]
            y = y * (1 - options.label_smoothing) + options.label_smoothing / 3
            scores = np.exp(x @ w.T)
            gradient = (scores / scores.sum(1, keepdims=True) - y).T @ x / len(rows)
            lr, t = rate(options, t, steps_per_epoch), t + 1
            if options.optimizer == "sgd":
                gradient = gradient + options.weight_decay * w
                first = gradient if t == 1 else options.momentum * first + gradient
                w = w - lr * first
            else:
                w = w * (1 - lr * options.weight_decay)
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                root = np.sqrt(second / (1 - 0.999**t))
                w = w - lr * first / (1 - 0.9**t) / (root + options.eps)
    return w


@pytest.mark.parametrize(
    "options",
    [
        SHORT,
        TrainingOptions(learning_rate=0.3, epochs=4, batch_size=5, warmup_epochs=2, label_smoothing=0.2),
        TrainingOptions("adamw", learning_rate=0.05, epochs=5, batch_size=7, warmup_epochs=0, eps=1e-4),
    ],
)
def test_updates_are_those_written_out(options):
    np.testing.assert_allclose(trained(options, seed=4)[0].numpy(), by_hand(options, seed=4), rtol=1e-9)


def test_the_report_counts():
    _, report = trained(SHORT)
    assert report.steps == 9 and len(report.losses) == 3 and report.final_loss == report.losses[-1]
    assert report.losses[0] > report.final_loss
    assert report.samples_per_second == pytest.approx(36 / report.seconds)


def test_a_seed_decides_and_the_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(trained(SHORT, seed=1)[0], trained(SHORT, seed=1)[0])
    assert not torch.equal(trained(SHORT, seed=1)[0], trained(SHORT, seed=2)[0])
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_only_the_named_parameters_learn():
    w, other = weights(), torch.ones(4, dtype=torch.float64, requires_grad=True)
    train([w], lambda rows: (other * FEATURES[rows]) @ w.T, TARGETS, SHORT, seed=0)
    assert other.grad is None and w.grad is None
    assert torch.equal(other, torch.ones(4, dtype=torch.float64))
    assert not torch.equal(w, weights())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_stops_and_keeps_what_last_gave_a_good_one(bad):
    w, seen = weights(), []

    def forward(rows):
        seen.append(w.detach().clone())
        return FEATURES[rows] @ w.T + (bad if len(seen) == 6 else 0.0)

    said = r"head: .*step 5 is nan after an update with learning rate 0\.0[0-9]+;"
    with pytest.raises(TrainingDivergedError, match=said) as raised:
        train([w], forward, TARGETS, SHORT, seed=0, what="head")
    assert raised.value.step == 5 and raised.value.learning_rate == pytest.approx(rate(SHORT, 4, 3), rel=1e-12)
    assert torch.equal(w, seen[4])


def test_a_bad_loss_resets_what_the_forward_pass_moves():
    w, moved, seen = weights(), torch.zeros(2), []

    def forward(rows):
        seen.append(moved.add_(1.0).clone())
        return FEATURES[rows] @ w.T + (math.nan if len(seen) == 6 else 0.0)

    with pytest.raises(TrainingDivergedError):
        train([w], forward, TARGETS, SHORT, seed=0, moving=[moved])
    assert torch.equal(moved, seen[4])


def test_bad_features_are_told_from_a_bad_recipe():
    w = weights()
    with pytest.raises(TrainingDivergedError, match="the loss at step 0 is nan before any update: look for NaN"):
        train([w], lambda rows: math.nan * FEATURES[rows] @ w.T, TARGETS, SHORT, seed=0)
    assert torch.equal(w, weights())


def test_a_bad_last_update_is_found_too():
    w = weights()
    options = TrainingOptions(learning_rate=1e308, epochs=1, batch_size=12, warmup_epochs=0, weight_decay=1e10)
    with pytest.raises(TrainingDivergedError, match="step 1 is nan"):
        train([w], lambda rows: FEATURES[rows] @ w.T, TARGETS, options, seed=0)
    assert torch.equal(w, weights())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adam"}, "optimizer is 'adam', expected one of"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, expected a positive"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"warmup_rate": -1.0}, "warmup_rate is -1.0"),
        ({"eps": math.inf}, "eps is inf"),
        ({"warmup_rate": 0.1}, "warmup_rate is 0.1, expected at most learning_rate, which is 0.002"),
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"epochs": 1, "warmup_epochs": 1}, "warmup_epochs is 1, expected 0 to 0: fewer than epochs, which is 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"momentum": 1.0}, "momentum is 1.0, expected at least 0 and below 1"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_options_out_of_range_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        TrainingOptions(**options)


def test_a_warm_up_is_one_epoch_unless_there_is_only_one():
    assert TrainingOptions().warmup_epochs == 1 and TrainingOptions(epochs=1).warmup_epochs == 0
    _, report = trained(TrainingOptions(learning_rate=0.1, epochs=1))
    assert report.steps == 1


def test_a_last_update_to_finite_parameters_of_an_infinite_loss_is_found_too():
    """The parameters stay finite, and what they give does not: cosines of huge vectors overflow."""
    start = torch.nn.Parameter(torch.full((3, 4), 0.1, dtype=torch.float32))
    options = TrainingOptions(learning_rate=1e30, epochs=1, batch_size=12, weight_decay=0.0)

    def forward(rows):
        return FEATURES[rows].float() @ start.T * start.square().sum()

    with pytest.raises(TrainingDivergedError, match="the loss at step 1 is"):
        train([start], forward, TARGETS, options, seed=0)
    assert torch.equal(start, torch.full((3, 4), 0.1))


def test_the_share_of_matrix_products_is_measured_on_request():
    assert trained(SHORT)[1].product_share is None
    w = weights()
    report = train([w], lambda rows: FEATURES[rows] @ w.T, TARGETS, SHORT, seed=0, profile=True)
    assert 0 < report.product_share < 1


def test_published_recipes():
    assert [TrainingOptions.coop(shots).epochs for shots in (1, 2, 4, 8, 16)] == [50, 100, 100, 200, 200]
    assert TrainingOptions.coop(3, epochs=7).epochs == 7
    with pytest.raises(ValueError, match=r"shots is 3, expected one of .1, 2, 4, 8, 16."):
        TrainingOptions.coop(3)
    tip = TrainingOptions.tip_adapter_f()
    assert (tip.optimizer, tip.learning_rate, tip.eps, tip.batch_size, tip.epochs) == ("adamw", 1e-3, 1e-4, 256, 20)
