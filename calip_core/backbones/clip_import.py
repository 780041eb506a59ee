"""The only module that imports OpenAI's ``clip``; others use ``from calip_core.backbones.clip_import import clip``.

Two things can go wrong with a plain ``import clip``. The builds on PyPI contain ``from pkg_resources import
packaging``: setuptools dropped that name in version 70 and the whole of ``pkg_resources`` in version 82 (clip's code on
GitHub no longer needs it). And the name ``clip`` on PyPI belongs to another project. For the first, a stand-in is
provided during the import; for the second, the error states what to install.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import packaging.version  # clip uses packaging.version through the name that it takes from pkg_resources
import torch

ClipModule = Any
"""A network built from clip's classes; the package has no type annotations."""

_INSTALL = "install OpenAI's package with `pip install clip-anytorch`"


def import_clip() -> ModuleType:
    """OpenAI's ``clip``, whether or not this environment has a suitable ``pkg_resources``.

    Raises:
        ImportError: no ``clip`` is installed, or the installed one belongs to another project.
    """
    try:
        module = importlib.import_module("clip")
    except ImportError as error:
        if error.name == "clip":
            raise ImportError(f"the package `clip` is missing: {_INSTALL}", name="clip") from error
        if error.name != "pkg_resources":
            raise
        with _lent_pkg_resources():
            module = importlib.import_module("clip")
    _check_is_openai(module)
    return module


@contextmanager
def _lent_pkg_resources() -> Iterator[None]:
    """Replace ``pkg_resources`` by a module that contains only ``packaging``; restore the original afterwards."""
    before = sys.modules.get("pkg_resources")
    stand_in = ModuleType("pkg_resources")
    stand_in.packaging = packaging  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if before is not None:
            sys.modules["pkg_resources"] = before


def _check_is_openai(module: ModuleType) -> None:
    """Check for the three names that this library uses."""
    if not all(hasattr(module, name) for name in ("load", "tokenize", "model")) or not hasattr(module.model, "CLIP"):
        raise ImportError(
            f"`import clip` found {module.__file__}, which is not OpenAI's CLIP: uninstall it "
            f"(`pip uninstall clip`) and {_INSTALL}",
            name="clip",
        )


def reads_short_texts(model: ClipModule) -> bool:
    """Whether this release of clip encodes texts that are not padded to the whole context, tested with a short text.

    Tested separately, so that an error in actual work is never mistaken for the answer.
    """
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.encode_text(torch.ones(1, 2, dtype=torch.long, device=device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # the sizes of positions and text differ
        return False
    return True


clip = import_clip()
