"""What the set-up cell says about the device and about where results are kept."""

import sys
from pathlib import Path

import pytest
import torch

from calip_core.teaching import show_runtime


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_it_says_what_will_take_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_runtime()
    device, kept = capsys.readouterr().out.splitlines()
    assert "no GPU" in device and "minutes per 1,000 images" in device
    assert kept == f"Caches: {tmp_path / 'cache'}. Results: {tmp_path / 'runs.jsonl'}."


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    show_runtime()
    assert capsys.readouterr().out.startswith("Device: Tesla T4. ")


@pytest.mark.parametrize(("cache", "warned"), [("/content/cache", True), ("/content/drive/MyDrive/calip/cache", False)])
def test_colab_forgets_what_is_not_on_drive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: str, warned: bool
) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setenv("CALIP_CACHE", cache)
    show_runtime()
    assert ("tick _KEEP_ON_DRIVE" in capsys.readouterr().out) == warned
