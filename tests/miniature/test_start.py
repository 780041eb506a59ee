import numpy as np
import pytest
import torch

from calip_core.backbones.clip_import import clip, reads_short_texts
from calip_core.backbones.model_card import checkpoint_path
from calip_core.miniature import start
from calip_core.miniature.architecture import build_miniature
from calip_core.miniature.batches import make_batch
from calip_core.miniature.start import borrow_text_tower, sinusoids, start_vit, whiten_patches
from calip_core.miniature.trainer import Length, Recipe, Trainer


@pytest.fixture(scope="module")
def started():
    model = build_miniature("vit", seed=3)
    start_vit(model, seed=3)
    return model


def test_whitened_patches_are_uncorrelated_and_of_one_size(started):
    images = make_batch(77, 1, 256, 112).images  # others than those it was made from
    with torch.no_grad():
        outputs = started.visual.conv1(images).permute(0, 2, 3, 1).flatten(0, 2).double()
    covariance = (outputs.T @ outputs / len(outputs)).numpy()
    sizes = np.linalg.eigvalsh(covariance)
    assert sizes[len(sizes) // 10] > 0.5 and sizes[-len(sizes) // 10] < 2
    plain = build_miniature("vit", seed=3)
    with torch.no_grad():
        outputs = plain.visual.conv1(images).permute(0, 2, 3, 1).flatten(0, 2).double()
    sizes = np.linalg.eigvalsh((outputs.T @ outputs / len(outputs)).numpy())
    assert sizes[-1] / np.median(sizes) > 100  # what whitening is there to mend


def test_whitening_by_hand():
    """Three colours that are always equal hold one direction, of variance 3: it is divided by the root of 3."""
    conv = torch.nn.Conv2d(3, 1, 1, bias=False)
    values = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1).repeat(1, 3, 1, 1)
    whiten_patches(conv, values)
    assert conv(values).flatten().abs().detach().numpy() == pytest.approx(np.full(4, 1.0), rel=0.01)


def test_near_places_have_like_vectors():
    grid, width = 7, 128
    places = torch.nn.functional.normalize(sinusoids(grid, width), dim=1)
    assert places.shape == (49, width)
    likeness = (places @ places.T).view(grid, grid, grid, grid)
    centre = likeness[3, 3]
    assert centre[3, 3] > centre[3, 4] > centre[3, 5] > centre[3, 6]
    assert centre[3, 4] == pytest.approx(centre[4, 3].item())
    assert len(torch.unique(places.round(decimals=3), dim=0)) == 49


def test_words_are_those_of_mini_rn_and_stay(started):
    shipped = torch.load(checkpoint_path("mini-rn"), weights_only=True)
    trainer = Trainer(Recipe("vit", seed=3, batch_size=8), Length(samples=16))
    trainer.step()
    for model in (started, trainer.model):
        state = model.state_dict()
        for name, weight in shipped.items():
            if not name.startswith("visual.") and name != "logit_scale":
                assert torch.equal(state[name], weight.float()), name
    assert trainer.model.logit_scale.item() != float(shipped["logit_scale"])
    assert not torch.equal(trainer.model.visual.proj, build_miniature("vit", 3).visual.proj)


def test_a_text_tower_of_other_sizes_is_named(monkeypatch, tmp_path):
    torch.save({"text_projection": torch.zeros(3, 4)}, tmp_path / "other.pt")
    monkeypatch.setattr(start, "checkpoint_path", lambda name: tmp_path / "other.pt")
    with pytest.raises(ValueError, match="text tower of mini-rn does not fit"):
        borrow_text_tower(build_miniature("vit"))
    torch.save({}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="lacks"):
        borrow_text_tower(build_miniature("vit"))


def test_short_texts_change_nothing_but_time():
    trainer = Trainer(Recipe("rn", seed=3, batch_size=8), Length(samples=16))
    batch = make_batch(3, 0, 8, 128)
    with torch.no_grad():
        short = torch.cat(trainer._encode_captions(batch))
        trainer._short_texts = False
        whole = torch.cat(trainer._encode_captions(batch))
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-5)


def test_a_clip_that_insists_on_the_whole_context_is_recognised(monkeypatch):
    model = build_miniature("rn")
    assert reads_short_texts(model)
    encode = clip.model.CLIP.encode_text

    def insisting(self, text):
        return encode(self, text) + 0 * (self.positional_embedding[:, :1] + text.T).sum()  # sizes must agree

    monkeypatch.setattr(clip.model.CLIP, "encode_text", insisting)
    assert not reads_short_texts(model)
