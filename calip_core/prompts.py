"""Prompts: class names and templates become the weights of a zero-shot classifier."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.templates import check_template


@runtime_checkable
class TextEncoder(Protocol):
    """The half of a backbone that reads."""

    def encode_text(self, prompts: list[str], /) -> Float[Tensor, "p c"]:
        """Rows of unit length, one per prompt."""


def zero_shot_classifier(
    backbone: TextEncoder, classnames: Sequence[str], templates: Sequence[str], *, batch_size: int = 256
) -> Float[Tensor, "k c"]:
    """F_t: for each class the mean of its prompts' unit vectors, made unit length again.

    This is the prompt ensemble of CLIP (Radford et al. 2021, section 3.1.4), in the space of embeddings.

    Args:
        backbone: the encoder to use.
        classnames: k names, put into the templates as they are.
        templates: texts with one ``{}`` each, such as "a photo of a {}.".
        batch_size: prompts per call of the backbone.

    Returns:
        Rows of unit length, float32, on the backbone's device.

    Warns:
        UserWarning: names that occur twice; no classifier by text can tell such classes apart.

    Raises:
        ValueError: no class names, no templates, a template without exactly one ``{}``, or a batch size below 1.
    """
    check_prompts(classnames, templates)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    prompts = [template.replace("{}", name) for name in classnames for template in templates]
    batches = [prompts[i : i + batch_size] for i in range(0, len(prompts), batch_size)]
    features = torch.cat([backbone.encode_text(batch) for batch in batches])
    return normalize(features.view(len(classnames), len(templates), -1).mean(dim=1), dim=-1)


def check_prompts(classnames: Sequence[str], templates: Sequence[str]) -> None:
    """Refuse names and templates that no classifier can be made of.

    Warns:
        UserWarning: names that occur twice.

    Raises:
        ValueError: no class names, no templates, or a template without exactly one ``{}``.
    """
    for argument, values in (("classnames", classnames), ("templates", templates)):
        if isinstance(values, str) or not values:
            raise ValueError(f"{argument} is {values!r}, expected a list of at least one text")
    for template in templates:
        check_template(template)
    repeated = [name for name, count in Counter(classnames).items() if count > 1]
    if repeated:
        warnings.warn(
            f"class names occur more than once and cannot be told apart by text: {', '.join(repeated)}", stacklevel=3
        )
