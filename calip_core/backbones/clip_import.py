"""The one place that imports OpenAI's ``clip``; everything else says
``from calip_core.backbones.clip_import import clip``.

Two things can go wrong with a plain ``import clip``. The builds on PyPI say ``from pkg_resources import packaging``:
setuptools dropped that name in version 70 and the whole of ``pkg_resources`` in version 82 (clip's code on GitHub no
longer asks for it). And the name ``clip`` on PyPI belongs to another project. The first is mended here by lending a
stand-in for as long as the import takes; the second gets an error that says what to install.
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
"""A network made of clip's classes: the package has no types."""

_INSTALL = "install OpenAI's package with `pip install clip-anytorch`"


def import_clip() -> ModuleType:
    """OpenAI's ``clip``, whether or not this environment has a ``pkg_resources`` that pleases it.

    Raises:
        ImportError: no ``clip`` is installed, or the one that is belongs to another project.
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
    """Put a module with nothing but ``packaging`` in the place of ``pkg_resources``, then restore what was there."""
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
    """The three things that this library uses."""
    if not all(hasattr(module, name) for name in ("load", "tokenize", "model")) or not hasattr(module.model, "CLIP"):
        raise ImportError(
            f"`import clip` found {module.__file__}, which is not OpenAI's CLIP: uninstall it "
            f"(`pip uninstall clip`) and {_INSTALL}",
            name="clip",
        )


def reads_short_texts(model: ClipModule) -> bool:
    """Whether this release of clip encodes texts that are not padded to the whole context: a short one tells.

    The question is put apart from the work, so that an error of the work is never taken for the answer.
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
