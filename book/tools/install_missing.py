"""Install the library's missing dependencies without replacing any installed package.

Colab provides versions of torch, torchvision and numpy that match its GPU; replacing one of them breaks the others. The
set-up cell of every chapter calls ``main`` in the notebook's own process, so that the cell shows what it prints. This
needs only the standard library and pip.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_KEPT = ("torch", "torchvision", "numpy")
_SAME = {"clip-anytorch": "clip"}  # OpenAI's own package from GitHub is called clip


def installed(name: str) -> str | None:
    """The installed version of a distribution, if any."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def missing(requirements: list[str]) -> list[str]:
    """The requirements that have no installed version."""
    lacking = []
    for requirement in requirements:
        name = re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]
        if installed(name) is None and installed(_SAME.get(name, name)) is None:
            lacking.append(requirement)
    return lacking


def kept() -> list[str]:
    """Constraints that pin torch, torchvision and numpy to the installed versions."""
    return [f"{name}=={version}" for name in _KEPT if (version := installed(name))]


def main() -> int:
    """Say what is installed and what is kept, install it, and return pip's status; pip's own words only if it fails."""
    with _PROJECT.open("rb") as file:
        lacking = missing(tomllib.load(file)["project"]["dependencies"])
    if not lacking:
        return 0
    print(f"Installing {', '.join(lacking)}. Kept as they are: {', '.join(kept()) or 'none'}.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept()) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(constraints), *lacking]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("Installed." if done.returncode == 0 else done.stdout, flush=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
