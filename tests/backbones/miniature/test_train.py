import json

import pytest
import torch

from calip_core.backbones.miniature import train as module
from calip_core.backbones.miniature.card import checkpoint_path, load_card
from calip_core.backbones.miniature.publish import publish
from calip_core.backbones.miniature.trainer import Trainer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Runs of a few steps: eight pictures each, forty for an accuracy."""
    monkeypatch.setattr("calip_core.backbones.miniature.trainer._CURVE_IMAGES", 40)
    monkeypatch.setattr(module, "publish", lambda trainer, out: publish(trainer, out, images=40))


def test_the_command_writes_weights_curve_and_card(tmp_path, capsys):
    module.main(["--arch", "vit", "--samples", "128", "--seed", "5", "--out", str(tmp_path / "mini.pt")])
    card = load_card("mini", tmp_path)
    assert checkpoint_path("mini", tmp_path) == tmp_path / "mini.pt"
    assert card.training.samples == 128 and card.training.steps == 2 and card.training.seed == 5
    assert "--arch vit --samples 128 --seed 5" in card.training.command
    curve = json.loads((tmp_path / "mini.curve.json").read_text())
    assert curve[-1]["samples"] == 128
    printed = capsys.readouterr().out
    assert f'"mini-shapes": {card.accuracy["mini-shapes"].accuracy}' in printed


def test_ctrl_c_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "run.checkpoint"

    def interrupted(point):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module.train("vit", samples=64 * 3, checkpoint=path, progress_bar=False, on_point=interrupted)
    assert Trainer.load(path).progress.step == 1
    resumed = module.train("vit", checkpoint=path, resume=True, progress_bar=False)
    straight = module.train("vit", samples=64 * 3, progress_bar=False)
    assert resumed.progress.step == straight.progress.step == 3
    assert torch.equal(resumed.model.visual.proj, straight.model.visual.proj)


def test_minutes_end_the_run():
    trainer = module.train("vit", minutes=0.02, progress_bar=False)
    assert trainer.done == 1 and trainer.progress.step >= 1


def test_samples_and_minutes_exclude_each_other():
    with pytest.raises(SystemExit):
        module.main(["--samples", "5", "--minutes", "1"])
