import json

import pytest
import torch

from calip_core.backbones.model_card import checkpoint_path, load_card
from calip_core.miniature import train as module
from calip_core.miniature.publish import publish
from calip_core.miniature.trainer import Trainer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Runs of a few steps: eight pictures each, forty for an accuracy."""
    monkeypatch.setattr("calip_core.miniature.trainer._CURVE_IMAGES", 40)
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


def test_an_unwritable_folder_is_found_before_the_first_step(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(Trainer, "step", lambda self: pytest.fail("training began"))
    with pytest.raises(OSError, match="cannot write into this folder"):
        module.main(["--arch", "vit", "--samples", "64", "--out", str(tmp_path / "file" / "mini.pt")])


def test_a_failing_save_does_not_hide_why_the_run_ended(tmp_path, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("the first error")

    def full(self, path):
        raise OSError("disk full")

    monkeypatch.setattr(Trainer, "step", broken)
    monkeypatch.setattr(Trainer, "save", full)
    with pytest.raises(RuntimeError, match="the first error") as caught:
        module.train("vit", samples=64, checkpoint=tmp_path / "run", progress_bar=False)
    assert "disk full" in "".join(caught.value.__notes__)


def test_to_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="resume is set without a checkpoint"):
        module.train("vit", samples=64, resume=True, progress_bar=False)
    with pytest.raises(FileNotFoundError, match="without --resume"):
        module.train("vit", samples=64, checkpoint=tmp_path / "absent", resume=True, progress_bar=False)


def test_minutes_end_the_run():
    trainer = module.train("vit", minutes=0.02, progress_bar=False)
    assert trainer.done == 1 and trainer.progress.step >= 1


def test_samples_and_minutes_exclude_each_other():
    with pytest.raises(SystemExit):
        module.main(["--samples", "5", "--minutes", "1"])
