"""open_clip's own configurations, made small: the classes and their wiring are the real ones, the widths are not."""

import copy
from functools import wraps

import open_clip
import timm.models._registry as registry
import torch
from open_clip import factory
from timm.models.vitamin import GeGluMlp, VitCfg, VitConvCfg
from torch import nn

from calip_core.backbones import load_backbone

TEXT = {"width": 64, "heads": 2, "layers": 2}
OWN_VIT = {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
TOKENS = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 64}
CONVS = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 48)}
MCI = {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 64)}
VITAMIN = {
    "embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 64, "mlp_layer": GeGluMlp,
    "embed_cfg": VitCfg(
        embed_dim=(16, 32, 64), depths=(1, 1, 1), stem_width=16,
        conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6), head_type="1d",
    ),
}  # fmt: skip

# Model of open_clip -> what is smaller in it: the image encoder's options (of timm's function, or of open_clip's
# configuration), image size, width of the joint space.
SMALL = {
    "RN50": ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, 64, 32),
    "ViT-B-32": (OWN_VIT, 48, 32),
    "ViT-B-32-quickgelu": (OWN_VIT, 48, 32),
    "ViT-H-14-worldwide": (OWN_VIT, 48, 32),
    "ViT-L-14-CLIPA": (OWN_VIT, 48, 32),
    "EVA01-g-14": (TOKENS | {"img_size": 56}, 56, 32),
    "EVA02-B-16": (TOKENS, 64, 32),
    "EVA02-E-14": (TOKENS | {"img_size": 56}, 56, 32),
    "MobileCLIP-B": ({"depth": 1}, 224, 32),
    "MobileCLIP2-L-14": (TOKENS | {"img_size": 56}, 56, 32),
    "MobileCLIP-S1": (MCI, 128, 32),
    "MobileCLIP2-S0": (MCI, 128, 32),
    "MobileCLIP2-S4": ({"layers": (1, 1, 1, 1, 1), "embed_dims": (16, 16, 32, 32, 64)}, 128, 32),
    "ViTamin-S": (VITAMIN, 64, 32),
    "convnext_base": (CONVS, 64, 32),
    "convnext_large_d": (CONVS, 64, 32),
    "ViT-B-16-SigLIP": (TOKENS, 64, 64),
    "ViT-SO400M-14-SigLIP2": (TOKENS | {"img_size": 56}, 56, 64),
    "PE-Core-T-16-384": (TOKENS | {"attn_pool_num_heads": 4}, 64, 32),
}


def make_small(monkeypatch, names=SMALL) -> None:
    """Replace configurations and timm's models by small ones, under their own names."""
    for name in names:
        options, side, width = SMALL[name]
        config = copy.deepcopy(factory._MODEL_CONFIGS[name])
        vision, text = config["vision_cfg"], config["text_cfg"]
        config["embed_dim"] = width
        text.update(TEXT)
        text["vocab_size"] = min(text["vocab_size"], 49408)
        if model := vision.get("timm_model_name"):
            vision["image_size"] = side
            monkeypatch.setitem(registry._model_entrypoints, model, _smaller(model, options))
        else:
            vision.update(options)
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, config)


def _smaller(model, options):
    real = registry._model_entrypoints[model]

    @wraps(real)
    def small(pretrained=False, **kwargs):
        return real(pretrained=pretrained, **(options | kwargs))

    return small


class Words:
    """Stands for a tokenizer that lives on the Hub: a number per word, an end, padding, all of its own choice."""

    def __init__(self, context_length, end=2, padding=1):
        self.context_length, self.end, self.padding = context_length, end, padding

    def __call__(self, texts, context_length=None):
        length = context_length or self.context_length
        rows = [[*(3 + sum(map(ord, word)) % 900 for word in text.split()), self.end] for text in texts]
        rows = [row if len(row) <= length else [*row[: length - 1], self.end] for row in rows]
        return torch.tensor([row + [self.padding] * (length - len(row)) for row in rows])


def shake(model: nn.Module) -> nn.Module:
    """Move every parameter and statistic away from the values that would hide a mistake: zeros and ones."""
    generator = torch.Generator().manual_seed(5)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and name not in ("logit_scale", "logit_bias"):
            noise = torch.rand(value.shape, generator=generator) * 0.2
            value += noise if name.endswith("running_var") else noise - 0.1
    return model


def load_pair(monkeypatch, name, **options):
    """The backbone, and open_clip's own model with the same random weights."""
    torch.manual_seed(0)
    plain = shake(open_clip.create_model(name, pretrained_text=False).eval())
    real = open_clip.create_model_and_transforms

    def same_weights(*arguments, **keywords):
        model, *transforms = real(*arguments, **keywords)
        model.load_state_dict(plain.state_dict())
        return model, *transforms

    with monkeypatch.context() as patched:
        patched.setattr(open_clip, "create_model_and_transforms", same_weights)
        backbone = load_backbone(f"open_clip:{name}", device="cpu", **{"precision": "fp32", **options})
    return backbone, plain
