"""Initialisation of mini-vit: whitened patches, sinusoidal positions, and the text tower of mini-rn.

A vision transformer has to learn from data what a convolution has built in, and twenty minutes of training provide too
little. Each of the three initialisations replaces a part of that learning; mini-rn needs none of them.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calip_core.backbones.archive import read_torch
from calip_core.backbones.model_card import checkpoint_path
from calip_core.miniature.architecture import ClipModel
from calip_core.miniature.batches import make_batch

TEXT_TOWER = "mini-rn"
"""The backbone whose text tower mini-vit reuses."""

_PICTURES = 768  # from which the whitening is estimated
_FAINTEST = 0.01  # variance of a direction below which it counts as noise
_LONGEST_WAVE = 100.0
_POSITION_SIZE = 0.7


def start_vit(model: ClipModel, seed: int) -> None:
    """Replace parts of a mini-vit's default CLIP initialisation, in place."""
    whiten_patches(model.visual.conv1, make_batch(seed, 0, _PICTURES, model.visual.input_resolution).images)
    grid = model.visual.input_resolution // model.visual.conv1.kernel_size[0]
    with torch.no_grad():
        model.visual.positional_embedding[1:] = _POSITION_SIZE * sinusoids(grid, model.visual.conv1.out_channels)
    borrow_text_tower(model)


@torch.no_grad()
def whiten_patches(conv: nn.Conv2d, images: Float[Tensor, "n 3 h w"]) -> None:
    """Make the patch embedding a whitening transform: outputs are uncorrelated with equal variance on these images.

    By default, it responds to colour far more strongly than to edges. The strongest principal components of the patches
    are scaled to equal variance, then rotated at random, so that no channel is special.
    """
    side, channels = conv.kernel_size[0], conv.out_channels
    patches = nn.functional.unfold(images, side, stride=side).transpose(1, 2).flatten(0, 1)  # (n m, 3 side side)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    strongest = directions[:, -channels:] / (variances[-channels:] + _FAINTEST).sqrt()
    rotation = torch.linalg.qr(conv.weight.new_empty(channels, channels).copy_(conv.weight.flatten(1)[:, :channels])).Q
    conv.weight.copy_((strongest @ rotation).T.reshape(conv.weight.shape))


def sinusoids(grid: int, width: int) -> Float[Tensor, "m c"]:
    """2-D sinusoidal position embeddings (after Vaswani et al. 2017): nearby positions get similar vectors."""
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(grid)] * 2, indexing="ij"))
    waves = _LONGEST_WAVE ** -(torch.arange(width // 4) / (width // 4))
    angles = [axis.unsqueeze(1) * waves for axis in (rows, columns)]
    return torch.cat([function(angle) for angle in angles for function in (torch.sin, torch.cos)], dim=1)


def borrow_text_tower(model: ClipModel) -> None:
    """Load the text tower and the logit scale of the shipped mini-rn, and freeze the text tower.

    This is locked-image tuning (Zhai et al., LiT, CVPR 2022) with image and text exchanged.

    Raises:
        FileNotFoundError: there is no mini-rn.
        ValueError: its weights do not match its card, or have other sizes.
    """
    weights: Any = read_torch(checkpoint_path(TEXT_TOWER))
    borrowed = {name: weight.float() for name, weight in weights.items() if not name.startswith("visual.")}
    try:
        missing = model.load_state_dict(borrowed, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f"the text tower of {TEXT_TOWER} does not fit: {error}") from error
    if any(not name.startswith("visual.") for name in missing):
        raise ValueError(f"the text tower of {TEXT_TOWER} lacks {missing}: train it again")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("visual.") or name == "logit_scale")
