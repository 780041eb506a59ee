import re
import subprocess
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from calip_core import environment as machine


def test_the_version_is_known_without_an_installation(monkeypatch):
    installed = machine.library_version()

    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(machine, "version", absent)
    assert machine.library_version() == installed
    with pytest.raises(PackageNotFoundError):
        machine.package_versions(["torch"])


def test_the_commit_is_that_of_the_checkout_or_unknown(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", machine.commit())

    def no_git(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert machine.commit() == "unknown"


def test_the_processor_has_a_name():
    assert machine.device_name(torch.device("cpu")) == machine.processor_name() != ""
