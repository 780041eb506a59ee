"""One list of dependencies: everything that installs comes from it, and drift is found; so is a missing Python."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book.tools import install_missing
from book.tools.chapters import ROOT, chapter_sources, project, repository_url, tags

BUILT_WITH_THE_LOCK = "PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt "
OTHER_ADDRESS = "its set-up cell has another address"
FIND_PYTHON = ROOT / "book/tools/find_python.sh"


def declared(table):
    """Names in [project]'s dependencies and extras."""
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    return {canonicalize_name(Requirement(line).name) for group in groups for line in group} - {"calip-core"}


def locked(text):
    return {canonicalize_name(line.split("==")[0]) for line in text.splitlines() if "==" in line}


def drift(table, environment, makefile, constraints):
    """Every way in which what installs differs from pyproject.toml's list."""
    found = [f"{name} is not in constraints.txt: make lock" for name in sorted(declared(table) - locked(constraints))]
    *packages, last = yaml.safe_load(environment)["dependencies"]
    if f"python{table['requires-python']}" not in packages:
        found.append("environment.yml asks for another Python than pyproject.toml")
    if extra := set(packages) - {f"python{table['requires-python']}", "pip", "make"}:
        found.append(f"environment.yml lists packages of its own: {sorted(map(str, extra))}")
    if not isinstance(last, dict) or last["pip"] != ["-c constraints.txt", "-e .[test]"]:
        found.append("environment.yml does not install this project with its lock file")
    if f"#   {BUILT_WITH_THE_LOCK}conda env create -f environment.yml\n" not in environment:
        found.append("environment.yml does not say how to build this project with its lock file")
    makefile = makefile.replace("\\\n", "")
    if not re.search(rf"\s{BUILT_WITH_THE_LOCK}\s*\S+ -m pip install", makefile):
        found.append("the Makefile does not build this project with its lock file")
    installs = re.findall(r"pip install .*?-c constraints\.txt -e '\.\[\$\(1\)\]'", makefile)
    if len(installs) != 1 or makefile.count("pip install") != 1:
        found.append("the Makefile does not install this project with its lock file")
    return found


def files():
    names = ["environment.yml", "Makefile", "constraints.txt"]
    return [project(), *((ROOT / name).read_text(encoding="utf-8") for name in names)]


def test_everything_installs_from_the_one_list():
    assert drift(*files()) == []


@pytest.mark.parametrize(
    ("which", "old", "new", "said"),
    [
        (1, "python>=3.11", "python>=3.12", "another Python"),
        (1, "  - make\n", "  - make\n  - numpy\n", "packages of its own: ['numpy']"),
        (1, "-e .[test]", "torch", "does not install this project"),
        (1, "PIP_BUILD_CONSTRAINT=constraints.txt ", "", "does not say how to build"),
        (2, "-c constraints.txt ", "", "Makefile does not install"),
        (2, "PIP_CONSTRAINT=constraints.txt ", "", "Makefile does not build"),
        (2, "PIP_BUILD_CONSTRAINT=constraints.txt ", "", "Makefile does not build"),
        (3, "\nsetuptools==", "\nnot-setuptools==", "setuptools is not in constraints.txt"),
        (3, "\ntorch==", "\nnot-torch==", "torch is not in constraints.txt"),
    ],
)
def test_each_planted_drift_is_found(which, old, new, said):
    changed = files()
    assert old in changed[which]
    changed[which] = changed[which].replace(old, new)
    assert said in "\n".join(drift(*changed))


def test_a_dependency_that_is_not_locked_is_found():
    changed = files()
    changed[0] = changed[0] | {"dependencies": [*changed[0]["dependencies"], "left-pad>=1"]}
    assert drift(*changed) == ["left-pad is not in constraints.txt: make lock"]


def test_what_builds_the_package_is_among_what_is_locked():
    with (ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)
    assert set(table["build-system"]["requires"]) <= set(table["project"]["optional-dependencies"]["test"])


def test_the_lock_file_names_no_place_to_install_from():
    assert not re.search(r"://|--", (ROOT / "constraints.txt").read_text(encoding="utf-8"))


def other_places_of_the_url(root, url):
    """Files that say where the repository is, though they should read it or are another's copy.

    The set-up cell of a chapter is written by `make sync`, so it holds the address and must hold this one; CITATION.cff
    cannot read anything and must repeat it. Prose may link to it.
    """
    code = [*root.glob("book/**/*.py"), *root.glob("calip_core/**/*.py"), root / "Makefile"]
    found = [path.name for path in code if "_build" not in path.parts and url in path.read_text(encoding="utf-8")]
    for source in chapter_sources(root / "notebooks"):
        chapter = jupytext.read(source, fmt="py:percent")
        setup = [cell for cell in chapter.cells if "setup" in tags(cell)]
        if re.findall(r'_url = "(.*)"', "".join(cell.source for cell in setup)) != [url]:
            found.append(f"{source.name}: {OTHER_ADDRESS}")
        code_cells = [cell for cell in chapter.cells if cell.cell_type == "code" and "setup" not in tags(cell)]
        found += [source.name for cell in code_cells if url in cell.source]
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["repository-code"]
    return found + [f"CITATION.cff: {cited}"] * (cited != url)


def test_the_repositorys_url_is_written_in_one_place():
    assert other_places_of_the_url(ROOT, repository_url()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("CITATION.cff", "{url}", "https://example.org/fork", "CITATION.cff: https://example.org/fork"),
        ("Makefile", "VENV :=", "URL := {url}\nVENV :=", "Makefile"),
        ("book/conf.py", "import tomllib", 'import tomllib\nURL = "{url}"', "conf.py"),
        ("calip_core/paths.py", "import os", 'import os\nURL = "{url}"', "paths.py"),
        ("notebooks/00_start.py", "{url}", "https://example.org/fork", f"00_start.py: {OTHER_ADDRESS}"),
        ("notebooks/00_start.py", "check_parameters(", 'home = "{url}"\ncheck_parameters(', "00_start.py"),
    ],
)
def test_each_planted_address_is_found(tmp_path, name, old, new, said):
    kept = ("CITATION.cff", "Makefile", "book/conf.py", "calip_core/paths.py", "notebooks/00_start.py")
    for path in kept:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    url, text = repository_url(), (ROOT / name).read_text(encoding="utf-8")
    assert other_places_of_the_url(tmp_path, url) == [] and old.format(url=url) in text
    (tmp_path / name).write_text(text.replace(old.format(url=url), new.format(url=url), 1), encoding="utf-8")
    assert other_places_of_the_url(tmp_path, url) == [said]


TINY_LIBRARY = """\
def tried():
    return 1


def not_tried(x):
    x += 1
    x += 2
    return x
"""


@pytest.mark.parametrize("also", ["", "; tiny.not_tried(1)"], ids=["too little is tried", "all is tried"])
def test_too_low_a_coverage_fails_make_tests_command(tmp_path, also):
    """A tiny library under the very tables of pyproject.toml, with the options that the Makefile gives."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ours = r"^\[tool\.coverage\..*?(?=^\[tool\.(?!coverage)|\Z)"
    tables = "".join(re.findall(ours, settings, re.MULTILINE | re.DOTALL))
    assert "fail_under = 95" in tables
    options = re.search(r"-m pytest (--cov.*) --nbmake", (ROOT / "Makefile").read_text(encoding="utf-8"))
    (tmp_path / "calip_core").mkdir()
    (tmp_path / "calip_core/__init__.py").write_text(TINY_LIBRARY)
    (tmp_path / "test_tiny.py").write_text(f"import calip_core as tiny\n\ndef test(): tiny.tried(){also}\n")
    (tmp_path / "pyproject.toml").write_text(tables)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options[1].split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=environment | {"PYTHONPATH": str(tmp_path)})  # fmt: skip
    said = done.stdout + done.stderr
    assert "1 passed" in said and "Required test coverage of 95" in said, said
    assert (done.returncode, "not reached" in said) == ((0, False) if also else (1, True)), said


def find_python(*arguments, path):
    environment = {"PATH": f"{path}:/usr/bin:/bin"}
    command = ["/bin/sh", str(FIND_PYTHON), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def script(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_shim_that_does_not_run_is_passed_over(tmp_path):
    script(tmp_path, "python3", "echo 'version not installed' >&2; exit 127")
    script(tmp_path, "python3.13", f'exec {sys.executable} "$@"')
    assert find_python(path=tmp_path).stdout == "python3.13\n"


def test_without_any_usable_python_the_message_says_what_to_do(tmp_path):
    script(tmp_path, "old", "exit 1")
    found = find_python("old", path=tmp_path)
    assert found.returncode == 1 and found.stdout == ""
    assert "3.11" in found.stderr and "make PYTHON=" in found.stderr


@pytest.mark.parametrize(
    ("command", "extras"),
    [("book", ["book"]), ("sync", ["book"]), ("lint", ["book", "test"]), ("bench", ["book", "test"])],
)
def test_a_command_installs_only_what_it_needs(tmp_path, command, extras):
    line = ["make", "--dry-run", f"VENV={tmp_path}", command]
    shown = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"-e '\.\[(.*)\]'", shown) == extras


def test_ray_is_not_among_what_the_book_needs():
    table = project()
    assert "ray" not in declared(table | {"optional-dependencies": {"book": table["optional-dependencies"]["book"]}})


def test_make_help_lists_every_command():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"book", "test", "bench", "lint", "sync", "serve", "clean", "lock"} <= {
        line.split()[1] for line in shown.splitlines()
    }


def test_only_what_is_missing_is_installed_and_what_colab_has_stays(monkeypatch, capsys):
    has = {"torch": "2.9.0+cu126", "numpy": "2.0.2", "clip": "1.0", "matplotlib": "3.10"}
    monkeypatch.setattr(install_missing, "installed", has.get)
    calls = []

    def run(command, **options):
        calls.append((command, Path(command[command.index("-c") + 1]).read_text()))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install_missing.subprocess, "run", run)
    assert install_missing.main() == 0
    ((command, constraints),) = calls
    wanted = {Requirement(line).name for line in command[command.index("-c") + 2 :]}
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = {Requirement(line).name for line in tomllib.load(file)["project"]["dependencies"]}
    assert wanted == needed - {"torch", "numpy", "clip-anytorch", "matplotlib"}
    assert constraints.split() == ["torch==2.9.0+cu126", "numpy==2.0.2"]
    said = capsys.readouterr().out
    kept = "Kept as they are: torch==2.9.0+cu126, numpy==2.0.2."
    assert all(words in said for words in ("plotly>=6", kept, "Installed."))
    assert command[0] == sys.executable and os.path.isabs(command[0])


def test_where_nothing_is_missing_nothing_is_run(monkeypatch):
    monkeypatch.setattr(install_missing, "installed", lambda name: "1.0")
    monkeypatch.setattr(install_missing.subprocess, "run", lambda *a, **k: pytest.fail("ran pip"))
    assert install_missing.main() == 0


def test_where_pip_fails_its_own_words_are_shown(monkeypatch, capsys):
    monkeypatch.setattr(install_missing, "installed", lambda name: None)
    failed = subprocess.CompletedProcess([], 1, stdout="no such version")
    monkeypatch.setattr(install_missing.subprocess, "run", lambda *a, **k: failed)
    assert install_missing.main() == 1
    assert "no such version" in capsys.readouterr().out
