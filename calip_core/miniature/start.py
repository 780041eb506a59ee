"""Where a mini-vit's training starts: fine detail as loud as colour, places known, and words that mini-rn has learnt.

A vision transformer has to find out from pictures what a convolution knows by its form, and twenty minutes show it too
few. Each of these three starts saves it a part of that; mini-rn needs none of them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calip_core.backbones.model_card import checkpoint_path
from calip_core.miniature.architecture import ClipModel
from calip_core.miniature.batches import make_batch

TEXT_TOWER = "mini-rn"
"""Whose text tower mini-vit takes over."""

_PICTURES = 768  # whose patches are whitened
_FAINTEST = 0.01  # variance below which a direction of patches counts as noise
_LONGEST_WAVE = 100.0
_POSITION_SIZE = 0.7


def start_vit(model: ClipModel, seed: int) -> None:
    """Set the first weights of a mini-vit that differ from clip's own initialisation, in place."""
    whiten_patches(model.visual.conv1, make_batch(seed, 0, _PICTURES, model.visual.input_resolution).images)
    grid = model.visual.input_resolution // model.visual.conv1.kernel_size[0]
    with torch.no_grad():
        model.visual.positional_embedding[1:] = _POSITION_SIZE * sinusoids(grid, model.visual.conv1.out_channels)
    borrow_text_tower(model)


@torch.no_grad()
def whiten_patches(conv: nn.Conv2d, images: Float[Tensor, "n 3 h w"]) -> None:
    """Make the patch embedding a whitening: its outputs are uncorrelated and of one size on these images.

    Left alone it hears colour at many times the loudness of edges. The strongest principal components of the patches
    are scaled to one size, then turned by a random rotation, so that no channel is special.
    """
    side, channels = conv.kernel_size[0], conv.out_channels
    patches = nn.functional.unfold(images, side, stride=side).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    strongest = directions[:, -channels:] / (variances[-channels:] + _FAINTEST).sqrt()
    rotation = torch.linalg.qr(conv.weight.new_empty(channels, channels).copy_(conv.weight.flatten(1)[:, :channels])).Q
    conv.weight.copy_((strongest @ rotation).T.reshape(conv.weight.shape))


def sinusoids(grid: int, width: int) -> Float[Tensor, "m c"]:
    """Sines and cosines of row and column (Vaswani et al. 2017, in two dimensions): near places get like vectors."""
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(grid)] * 2, indexing="ij"))
    waves = _LONGEST_WAVE ** -(torch.arange(width // 4) / (width // 4))
    angles = [axis.unsqueeze(1) * waves for axis in (rows, columns)]
    return torch.cat([function(angle) for angle in angles for function in (torch.sin, torch.cos)], dim=1)


def borrow_text_tower(model: ClipModel) -> None:
    """Take over the text tower and the logit scale of the shipped mini-rn; the text tower is not trained further.

    Locked-image tuning (Zhai et al., LiT, CVPR 2022) with the sides exchanged.

    Raises:
        FileNotFoundError: mini-rn is not there.
        ValueError: its weights are not its card's, or of other sizes.
    """
    weights = torch.load(checkpoint_path(TEXT_TOWER), map_location="cpu", weights_only=True)
    borrowed = {name: weight.float() for name, weight in weights.items() if not name.startswith("visual.")}
    try:
        missing = model.load_state_dict(borrowed, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f"the text tower of {TEXT_TOWER} does not fit: {error}") from error
    if any(not name.startswith("visual.") for name in missing):
        raise ValueError(f"the text tower of {TEXT_TOWER} lacks {missing}: train it again")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("visual.") or name == "logit_scale")
