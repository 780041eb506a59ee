import pytest
import torch

from calip_core.tokens import CalipLogits, ImageTokens


def tokens(n=4, grid=(2, 3), c=5):
    return ImageTokens(torch.arange(n * c).view(n, c).float(), torch.rand(n, grid[0] * grid[1], c), grid)


def test_selection_keeps_images_together():
    some = tokens()[torch.tensor([True, False, False, True])]
    assert len(some) == 2 and some.pooled[1, 0] == 15 and some.spatial.shape == (2, 6, 5)


def test_cat_undoes_slicing():
    whole = tokens()
    joined = ImageTokens.cat([whole[:1], whole[1:]])
    assert torch.equal(joined.spatial, whole.spatial) and torch.equal(joined.pooled, whole.pooled)


def test_cat_refuses_different_grids():
    with pytest.raises(ValueError, match="one grid"):
        ImageTokens.cat([tokens(), tokens(grid=(3, 2))])
    with pytest.raises(ValueError, match="0 batches"):
        ImageTokens.cat([])


def test_shapes_must_fit(shapes_unchecked):
    with pytest.raises(ValueError, match="grid of 2x2"):
        ImageTokens(torch.rand(4, 5), torch.rand(4, 6, 5), (2, 2))
    with pytest.raises(ValueError, match="same backbone"):
        ImageTokens(torch.rand(3, 5), tokens().spatial, (2, 3))


def test_precision_moves_both():
    half = tokens().to(torch.float16)
    assert half.pooled.dtype == half.spatial.dtype == torch.float16


def test_combine_is_the_weighted_sum():
    logits = CalipLogits(*(torch.full((2, 3), float(v)) for v in (1, 10, 100)))
    assert torch.equal(logits.combine(2.0, beta2=0.5, beta3=0.25), torch.full((2, 3), 32.0))
    assert len(logits[:1]) == 1 and len(CalipLogits.cat([logits, logits])) == 4


@pytest.mark.parametrize("weight", [float("inf"), float("nan")])
def test_combine_refuses_weights_that_are_no_numbers(weight):
    logits = CalipLogits(*(torch.ones(2, 3) for _ in range(3)))
    with pytest.raises(ValueError, match="beta1, beta2, beta3 are 1.0, .*, expected finite numbers"):
        logits.combine(beta2=weight, beta3=0.0)
