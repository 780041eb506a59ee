from types import SimpleNamespace

import numpy as np
import pytest
import torch

from calip_core.miniature.architecture import build_miniature
from calip_core.miniature.batches import tokenize
from calip_core.miniature.evaluation import QUESTIONS, Question, answer, make_question


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_have_a_class_for_every_label(name):
    question = make_question(name, 30, 0)
    assert question.pictures.shape == (30, 128, 128, 3)
    assert question.labels.min() >= 0 and question.labels.max() < len(question.classnames)
    assert all("{}" in template for template in question.templates)


def test_an_unknown_question_lists_the_known():
    with pytest.raises(ValueError, match="'shapes'.*mini-shapes"):
        make_question("shapes", 3, 0)


class Brightness(torch.nn.Module):
    """A model that tells bright pictures from dark ones, and knows what "bright" means."""

    visual = SimpleNamespace(input_resolution=128)

    def encode_image(self, images):
        bright = images.mean(dim=(1, 2, 3)) > 0
        return torch.stack([bright, ~bright], dim=1).float()

    def encode_text(self, tokens):
        bright = (tokens == tokenize(["a bright picture."])).all(dim=1)
        return torch.stack([bright, ~bright], dim=1).float()


def test_answers_are_compared_with_the_labels():
    pictures = np.stack([np.full((128, 128, 3), value, np.uint8) for value in (250, 5, 250)])
    question = Question(pictures, np.array([0, 1, 1]), ("bright", "dark"), ("a {} picture.",))
    assert answer(Brightness(), question).tolist() == [True, True, False]


def test_the_models_mode_is_restored():
    model = build_miniature("rn").train()
    answer(model, make_question("mini-shapes", 30, 0))
    assert model.training
