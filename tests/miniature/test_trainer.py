import dataclasses
import math

import pytest
import torch

from calip_core.miniature.trainer import Length, Progress, Recipe, Trainer, warm_cosine

SMALL = Recipe("vit", seed=3, batch_size=8)


def steps(trainer, n):
    for _ in range(n):
        trainer.step()
    return trainer


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


@pytest.mark.parametrize("arch", ["rn", "vit"])
def test_stopped_and_resumed_equals_uninterrupted(arch, tmp_path):
    recipe, length = dataclasses.replace(SMALL, arch=arch), Length(samples=32)
    straight = steps(Trainer(recipe, length), 4)
    steps(Trainer(recipe, length), 2).save(tmp_path / "run")
    resumed = steps(Trainer.load(tmp_path / "run"), 2)
    assert equal(straight.model.state_dict(), resumed.model.state_dict())
    assert straight.progress.step == resumed.progress.step == 4
    assert straight.progress.loss == resumed.progress.loss
    assert straight.done == resumed.done == 1.0


def test_another_seed_is_another_run():
    length = Length(samples=16)
    first, other = (steps(Trainer(dataclasses.replace(SMALL, seed=seed), length), 1) for seed in (3, 4))
    assert not equal(first.model.state_dict(), other.model.state_dict())


def test_loss_falls():
    trainer = Trainer(dataclasses.replace(SMALL, batch_size=24), Length(samples=24 * 30))
    trainer.step()
    start = trainer.progress.loss
    steps(trainer, 24)
    assert trainer.progress.loss < start - 0.3


def test_a_point_of_the_curve_counts_samples_and_names_accuracies():
    point = steps(Trainer(SMALL, Length(samples=16)), 1).measure()
    assert point["samples"] == 8 and point["seconds"] > 0
    assert 0 <= point["mini-shapes"] <= 1 and 0 <= point["mini-pairs"] <= 1


def test_the_clock_decides_where_minutes_are_given():
    assert Progress(seconds=30.0).share(Length(minutes=2.0), 64) == 0.25
    assert Progress(seconds=500.0).share(Length(minutes=2.0), 64) == 1.0
    assert Progress(step=5).share(Length(samples=1280), 64) == 0.25


@pytest.mark.parametrize("length", [{}, {"samples": 5, "minutes": 1.0}, {"samples": 0}, {"minutes": -1.0}])
def test_a_length_is_one_positive_number(length):
    with pytest.raises(ValueError, match="exactly one"):
        Length(**length)


def test_learning_rate_rises_then_falls():
    assert warm_cosine(0.025, 0.05) == pytest.approx(0.5)
    assert warm_cosine(0.05, 0.05) == pytest.approx(1.0)
    assert warm_cosine(0.525, 0.05) == pytest.approx(0.5)
    assert warm_cosine(1.0, 0.05) == pytest.approx(0.0)
    assert 0 < warm_cosine(0.0, 0.05) < 0.01


def test_logit_scale_stays_below_clips_bound():
    trainer = Trainer(SMALL, Length(samples=8))
    with torch.no_grad():
        trainer.model.logit_scale.fill_(9.0)
    trainer.step()
    assert trainer.model.logit_scale.item() == pytest.approx(math.log(100))


def test_no_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="without --resume"):
        Trainer.load(tmp_path / "nothing")


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "run.checkpoint"
    Trainer(SMALL, Length(samples=8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"run\.checkpoint cannot be read as a file that torch wrote"):
        Trainer.load(path)


def test_weights_are_no_state_of_a_run(tmp_path):
    path = tmp_path / "mini.pt"
    torch.save(Trainer(SMALL, Length(samples=8)).model.state_dict(), path)
    with pytest.raises(ValueError, match=r"mini\.pt cannot be read as the state of a .*weights alone.*recipe"):
        Trainer.load(path)
