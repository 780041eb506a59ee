"""Prompts: class names and templates become the weights of a zero-shot classifier."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.paths import DATA_DIR
from calip_core.reading import read_text
from calip_core.templates import check_template

IMAGENET_NAMES = DATA_DIR / "class_names" / "imagenet.txt"
"""ImageNet's WordNet ids, sorted, each with the name that CLIP's authors gave it."""


@runtime_checkable
class TextEncoder(Protocol):
    """The text encoder of a backbone."""

    def encode_text(self, prompts: list[str], /) -> Float[Tensor, "p c"]:
        """Rows of unit length, one per prompt."""


def zero_shot_classifier(
    backbone: TextEncoder, classnames: Iterable[str], templates: Iterable[str], *, batch_size: int = 256
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
        UserWarning: a name occurs twice, other than in ImageNet's own list; no text can distinguish such classes.

    Raises:
        ValueError: there are no class names or no templates, one is not a text, a name is blank, a template does not
            have exactly one ``{}``, or the batch size is below 1.
    """
    classnames, templates = check_prompts(classnames, templates)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    prompts = [template.replace("{}", name) for name in classnames for template in templates]
    batches = [prompts[i : i + batch_size] for i in range(0, len(prompts), batch_size)]
    features = torch.cat([backbone.encode_text(batch) for batch in batches])
    return normalize(features.view(len(classnames), len(templates), -1).mean(dim=1), dim=-1)


def check_prompts(classnames: Iterable[str], templates: Iterable[str]) -> tuple[list[str], list[str]]:
    """Check class names and templates, and return them as lists.

    Warns:
        UserWarning: a name occurs twice, other than in ImageNet's own list.

    Raises:
        ValueError: there are no class names or no templates, one is not a text, a name is blank, or a template does not
            have exactly one ``{}``.
    """
    names, forms = listed_texts("classnames", classnames), listed_texts("templates", templates)
    for template in forms:
        check_template(template)
    blank = [i for i, name in enumerate(names) if not name.strip()]
    if blank:
        raise ValueError(f"classnames[{blank[0]}] is {names[blank[0]]!r}, expected a name that can be read")
    if shared := shared_names(names):
        warnings.warn(
            f"class names occur more than once and cannot be told apart by text: {', '.join(shared)}", stacklevel=3
        )
    return names, forms


def shared_names(classnames: Sequence[str]) -> list[str]:
    """Names of several classes, which no text can distinguish, except those that ImageNet's own list repeats.

    Its owner cannot rename those: published accuracies are measured with that list.
    """
    counts = Counter(classnames)
    return [name for name, count in counts.items() if count > 1 and count > _official_counts()[name]]


@cache
def _official_counts() -> Counter[str]:
    return Counter(line.partition(" ")[2] for line in read_text(IMAGENET_NAMES).splitlines())


def listed_texts(argument: str, texts: Iterable[str]) -> list[str]:
    """Texts as a list, from any iterable: a tuple, an array, a column of a table or a generator.

    Raises:
        ValueError: it is a single text, it is empty, or one of its items is not a text.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable) or not (listed := list(texts)):
        raise ValueError(f"{argument} is {texts!r}, expected a list of at least one text")
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise ValueError(f"{argument}[{i}] is {text!r}, expected a text")
    return listed
