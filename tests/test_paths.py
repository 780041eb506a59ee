import os
import stat
import subprocess
import sys

import pytest

from calip_core.paths import DATA_DIR, atomic_path, cache_dir, data_root, results_file


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_write_makes_folders_and_keeps_to_the_users_mask(tmp_path, mask):
    code = (
        "import os, pathlib, sys; from calip_core.paths import atomic_path\n"
        f"os.umask({mask})\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as temporary: temporary.write_text('new')"
    )
    target = tmp_path / "a" / "b.txt"
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_the_mask_of_the_process_is_never_set(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads would make files with this mask"))
    with atomic_path(tmp_path / "b.txt") as temporary:
        temporary.write_text("new")


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="choose another") as error, atomic_path(tmp_path / "file" / "x.txt"):
        pass
    assert str(tmp_path / "file") in str(error.value)


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("CALIP_CACHE")
    assert "calip" in str(cache_dir())


@pytest.mark.parametrize(
    ("variable", "place"), [("CALIP_CACHE", cache_dir), ("CALIP_DATA", data_root), ("CALIP_RESULTS", results_file)]
)
def test_a_home_folder_is_resolved_or_refused(monkeypatch, tmp_path, variable, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/x")
    assert place() == tmp_path / "x"
    monkeypatch.setenv(variable, "~nobody-of-this-name/x")
    with pytest.raises(ValueError, match="~nobody-of-this-name/x begins with a home folder"):
        place()


def test_a_folder_is_no_file_of_records(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path))
    with pytest.raises(IsADirectoryError, match="expected the file of records, such as .*runs.jsonl"):
        results_file()


def test_datasets_lie_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("CALIP_DATA")
    assert data_root() == DATA_DIR / "datasets"
