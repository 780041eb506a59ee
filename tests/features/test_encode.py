import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.datasets.task import Split
from calip_core.features import choose_images, encode_split
from calip_core.tokens import ImageTokens


class Greys(Split):
    """Images of one grey each; the label is the grey modulo three."""

    def __init__(self, n):
        super().__init__(self.grey, np.arange(n) % 3)
        self.decoded = []

    def grey(self, index):
        self.decoded.append(index)
        return Image.new("RGB", (4, 4), (index, index, index))


class MeanGrey:
    """A backbone whose pooled feature is the image's grey value."""

    resolution = 2
    device = torch.device("cpu")

    def preprocess(self, image):
        return torch.full((3, 2, 2), float(image.getpixel((0, 0))[0]))

    def encode_image(self, images):
        pooled = images.mean(dim=(2, 3))
        return ImageTokens(pooled, pooled[:, None].clone(), (1, 1))


def test_order_labels_and_batches(shapes_unchecked):
    tokens, labels = encode_split(MeanGrey(), Greys(7), batch_size=3, progress=False)
    assert tokens.pooled[:, 0].tolist() == list(range(7))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_limit_draws_by_seed_and_decodes_no_more(shapes_unchecked):
    split = Greys(50)
    tokens, labels = encode_split(MeanGrey(), split, limit=5, seed=3, progress=False)
    again, _ = encode_split(MeanGrey(), Greys(50), limit=5, seed=3, progress=False)
    other, _ = encode_split(MeanGrey(), Greys(50), limit=5, seed=4, progress=False)
    assert len(split.decoded) == 5 and torch.equal(tokens.pooled, again.pooled)
    assert not torch.equal(tokens.pooled, other.pooled)
    assert labels.tolist() == [int(g) % 3 for g in tokens.pooled[:, 0]]


def test_a_limit_beyond_the_split_takes_everything():
    assert list(choose_images(Greys(4), 10, 0)) == [0, 1, 2, 3]


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="no images"):
        choose_images(Greys(0), None, 0)
    with pytest.raises(ValueError, match="limit is 0"):
        choose_images(Greys(4), 0, 0)
