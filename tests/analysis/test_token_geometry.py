"""Variance shares and cosines of tokens whose structure is known."""

import pytest
import torch

from calip_core.analysis.token_geometry import mean_token_cosines, off_diagonal_mean, variance_shares


def test_tokens_that_depend_on_their_place_alone() -> None:
    shares = variance_shares(torch.randn(1, 5, 3, generator=torch.manual_seed(0)).repeat(4, 1, 1))
    assert shares.place == pytest.approx(1)
    assert shares.image == pytest.approx(0, abs=1e-12)


def test_tokens_that_depend_on_their_image_alone() -> None:
    shares = variance_shares(torch.randn(4, 1, 3, generator=torch.manual_seed(0)).repeat(1, 5, 1))
    assert shares.image == pytest.approx(1)
    assert shares.rest == pytest.approx(0, abs=1e-12)


def test_independent_tokens_keep_nearly_everything_to_themselves() -> None:
    shares = variance_shares(torch.randn(200, 50, 4, generator=torch.manual_seed(0)))
    assert shares.rest == pytest.approx(1, abs=0.05)
    assert shares.place + shares.image + shares.rest == pytest.approx(1)


def test_token_cosines_by_hand() -> None:
    right, up = [2.0, 0.0], [0.0, 1.0]
    cosines = mean_token_cosines(torch.tensor([[right, up], [right, right]]))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    assert off_diagonal_mean(cosines) == pytest.approx(0.5)


@pytest.mark.parametrize("tokens", [torch.ones(1, 3, 2), torch.ones(3, 1, 2), torch.ones(3, 3, 2)])
def test_variance_needs_something_that_varies(tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"at least two|are equal"):
        variance_shares(tokens)
