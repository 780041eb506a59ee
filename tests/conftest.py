"""Shapes and dtypes in the library's signatures are checked while the tests run, each in one thread."""

import jaxtyping
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("calip_core", f"{typechecker.__name__}.check")
torch.set_num_threads(1)
settings.register_profile("book", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("book")


@pytest.fixture
def shapes_unchecked(monkeypatch):
    """What a reader's call does: bad input meets the library's own checks, not the ones that only tests install."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
