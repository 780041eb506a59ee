import numpy as np
import torch
from PIL import Image

from calip_core.backbones.clip_import import clip
from calip_core.miniature.batches import make_batch, to_input, tokenize
from calip_core.world import render_scenes, sample_scenes


def test_a_batch_is_a_function_of_seed_and_step():
    first, again, next_step, other = (make_batch(*key, 20, 128) for key in ((0, 3), (0, 3), (0, 4), (1, 3)))
    assert torch.equal(first.images, again.images) and torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.images, next_step.images)
    assert not torch.equal(first.images, other.images)


def test_every_caption_is_true_of_its_picture_but_not_of_all():
    true = make_batch(0, 0, 40, 112).true
    assert true.diagonal().all() and true.float().mean() < 0.3


def test_questions_cover_the_batch_in_order():
    batch = make_batch(0, 0, 40, 112)
    ends = {(question.first, question.first + len(question.answers)) for question in batch.questions}
    assert ends == {(0, 28), (28, 34), (34, 40)}
    for question in batch.questions:
        assert question.answers.min() >= 0 and question.answers.max() < len(question.tokens)


def test_input_is_clips_own_preprocessing():
    """Within two grey levels, and nearly always equal: Pillow and torch round differently on the way."""
    pictures = render_scenes(sample_scenes(3, 0))
    for resolution in (128, 112):
        preprocess = clip.clip._transform(resolution)
        expected = torch.stack([preprocess(Image.fromarray(picture)) for picture in pictures])
        levels = (to_input(pictures, resolution) - expected).abs() * 0.27577711 * 255
        assert levels.max() < 2.2 and levels.mean() < 0.2


def test_tokens_are_clips_own():
    texts = ["a red circle.", 'a photo of the digit "seven".']
    assert torch.equal(tokenize(texts), clip.tokenize(texts, context_length=32).long())
    assert np.array_equal(tokenize(texts[:1]), tokenize(texts)[:1])
