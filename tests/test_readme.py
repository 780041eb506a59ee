"""Every command and every Python block of the README runs as it stands there."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from calip_core.cli import build_parser
from calip_core.evaluation.store import load
from calip_core.exhibits.results import newest
from calip_core.paths import repository

NOT_RUN = {
    "make book    # installs into .venv, executes every chapter, renders book/_build/html/index.html",
    "make test    # adds what the tests need, then runs all tests, with lint and type checks",
    ".venv/bin/pip install -c constraints.txt -e '.[openclip,onnx]'",
    ".venv/bin/calip evaluate mini-shapes open_clip:ViT-B-16-SigLIP2/webli  # fetches the weights once",
    ".venv/bin/calip fetch eurosat         # downloads, checks and unpacks; says what has to be done by hand",
    ".venv/bin/calip fetch wds/vtab/pets               "
    '# then: load_task("wds:data/datasets/hub/clip-benchmark/wds_vtab-pets")',
    ".venv/bin/calip fetch hub:uoft-cs/cifar10 --revision main   "
    '# then: load_task("parquet:data/datasets/hub/uoft-cs/cifar10")',
}
"""Lines that install, that run these very tests, or that need a network."""
FETCH = ["fetch", "eurosat"]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    """The README's blocks of one language, without the lines that are not run."""
    text = (repository() / "README.md").read_text(encoding="utf-8")
    lines = [body.splitlines() for name, body in BLOCK.findall(text) if name == language]
    return ["\n".join(line for line in block if line not in NOT_RUN) for block in lines]


COMMANDS = [block for block in blocks("bash") if block]
(SWEEP,) = [block for block in COMMANDS if "calip sweep" in block]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands use of the repository, in a working folder of its own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "notebooks").symlink_to(repository() / "notebooks")
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Runs a program on the text of blocks, the same text once, and gives what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "CALIP_DATA"}
    environment |= {
        "CALIP_CACHE": str(folder / "cache"), "CALIP_RESULTS": str(folder / "results/runs.jsonl"),
        "PYTHONPATH": str(repository()),
    }  # fmt: skip

    @cache
    def run(text, *program):
        done = subprocess.run([*program, text], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.splitlines()[0][:40])
def test_a_block_of_commands_runs(block, run):
    run(block, "bash", "-euc")


def test_the_sweep_is_recorded_and_reported(folder, run):
    printed = run(SWEEP, "bash", "-euc")
    assert "0 recorded before, 8 measured now, 0 failed" in printed and "mini-shapes, mini-vit, calip: 200" in printed
    records = load(folder / "results/runs.jsonl")
    assert len({record.key for record in records if not record.data.standin}) == 8 + 1
    shown = (folder / "report.ipynb").read_text(encoding="utf-8").replace("\xa0", " ")
    for row in newest(records, "mini-shapes", "mini-rn").frame.itertuples():
        assert all(str(value).replace("\xa0", " ") in shown for value in row), row


def test_the_blocks_of_python_run_one_after_another(run):
    accuracy, *heads = run("\n".join(blocks("python")), sys.executable, "-c").splitlines()
    assert 0.5 < float(accuracy) < 1
    assert [line.split(":")[0] for line in heads] == ["calip", "tip_adapter_f", "calip_fs"]


def test_what_is_not_run_is_in_the_readme_and_understood():
    lines = (repository() / "README.md").read_text(encoding="utf-8").splitlines()
    assert set(lines) >= NOT_RUN
    assert any(line.startswith(f".venv/bin/calip {' '.join(FETCH)} ") for line in NOT_RUN)
    assert build_parser().parse_args(FETCH).name == "eurosat"
    for line in (line.partition("#")[0].split() for line in NOT_RUN if "calip fetch" in line):
        assert build_parser().parse_args(line[1:]).name == line[2]
