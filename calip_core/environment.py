"""The hardware and the code version behind a measurement."""

import os
import platform
import subprocess
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from calip_core.paths import repository


def processor_name() -> str:
    """The processor's name, as the system reports it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def core_count() -> int:
    """Number of the processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def library_version() -> str:
    """This library's version: the installed one, or the checkout's if it is used without installation."""
    try:
        return version("calip-core")
    except PackageNotFoundError:
        with (repository() / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package.

    Raises:
        PackageNotFoundError: a package is not installed.
    """
    return {package: version(package) for package in packages}


def commit() -> str:
    """The checkout's commit, with "-dirty" if tracked files differ from it; "unknown" outside a checkout."""
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        command = ["git", "-C", str(repository()), *describe]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
