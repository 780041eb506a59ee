"""The command line: what is printed, and how it ends."""

import os

import pytest

from calip_core import cli
from calip_core.cli import main


def test_a_miniature_is_written_and_listed(tmp_path, capsys):
    arguments = ["--root", str(tmp_path), "--classes", "2", "--images", "5"]
    assert main(["miniature", "describable_textures", *arguments, "--own-split"]) == 0
    assert "procedural pictures and not the dataset" in capsys.readouterr().out
    assert main(["datasets", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 16
    (dtd,) = [line for line in lines if line.startswith("dtd")]
    assert dtd.split()[1:5] == ["stand-in", "4/2/4", "of", "2820/1128/1692"]
    assert "labels/train1.txt" in dtd


def test_a_half_there_dataset_is_explained(tmp_path, capsys):
    (tmp_path / "eurosat").mkdir()
    assert main(["datasets", "--root", str(tmp_path)]) == 0
    assert "eurosat          incomplete" in (text := capsys.readouterr().out)
    assert "has no folder 2750 of images" in text


def test_fetch_says_what_to_do_by_hand_and_fails(tmp_path, capsys):
    assert main(["fetch", "cars", "--root", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "by hand: cars_train.tgz, needed: the address is dead since April 2023" in text
    assert f"put it at {tmp_path}/downloads/stanford_cars/cars_train.tgz" in text
    assert "stanford_cars    missing" in text


def test_an_error_is_one_line(tmp_path, capsys):
    (tmp_path / "dtd").mkdir()
    assert main(["miniature", "dtd", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("calip: ")


@pytest.mark.parametrize("name", ["dtdd", "digits", "folder:x"])
def test_an_unknown_dataset_lists_the_choices(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", name])
    assert f"'{name}' is no dataset on disk; choose one of caltech101, dtd" in capsys.readouterr().err


def test_the_default_root_is_the_environments(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CALIP_DATA", str(tmp_path))
    main(["datasets"])
    assert f"under {tmp_path}{os.linesep}"[:-1] in capsys.readouterr().out.splitlines()[0]


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("calip_core.commands.datasets.inventory", stop)
    assert main(["datasets"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_every_command_has_help(capsys):
    for command in ("datasets", "fetch", "miniature"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert "--root" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["sweep", "--help"])
    assert "--engine" in capsys.readouterr().out
    assert len(cli.COMMANDS) == 4
