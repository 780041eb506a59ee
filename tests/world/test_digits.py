import numpy as np
import pytest
from sklearn.datasets import load_digits

from calip_core.world import digit_images, render_digits, sample_digits, unseen_digits


def test_the_halves_are_scikit_learns_in_order():
    data = load_digits()
    train, train_labels = digit_images("train")
    test, test_labels = digit_images("test")
    assert len(train) == 898 and len(test) == 899
    assert np.array_equal(np.concatenate([train, test]) * 16, data.images)
    assert np.array_equal(np.concatenate([train_labels, test_labels]), data.target)


def test_training_digits_come_from_the_first_half_alone():
    train, labels = digit_images("train")
    digits = sample_digits(300, 0)
    for ink, value in zip(digits.ink[:50], digits.digit[:50], strict=True):
        same = (train == ink).all(axis=(1, 2))
        assert same.any() and (labels[same] == value).all()


def test_one_seed_one_set_of_pictures():
    first = render_digits(sample_digits(12, 3))
    assert first.shape == (12, 128, 128, 3) and first.dtype == np.uint8
    assert np.array_equal(first, render_digits(sample_digits(12, 3)))
    assert not np.array_equal(first, render_digits(sample_digits(12, 4)))


def test_unseen_digits_look_like_their_scans():
    digits = unseen_digits()[:20]
    images = render_digits(digits)[:, 12:116, 12:116, 0].astype(float)  # each is shown within a margin
    middle = images.reshape(20, 8, 13, 8, 13).mean(axis=(2, 4))
    for picture, ink in zip(middle, digits.ink, strict=True):
        assert np.corrcoef(picture.ravel(), ink.ravel())[0, 1] > 0.85


def test_no_digits_is_legal():
    assert render_digits(unseen_digits()[:0]).shape == (0, 128, 128, 3)


def test_an_unknown_half_is_named(shapes_unchecked):
    with pytest.raises(ValueError, match="'val'.*\"train\""):
        digit_images("val")
