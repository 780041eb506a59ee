"""Prompts: class names and templates, or class descriptions, become the weights of a zero-shot classifier."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.paths import DATA_DIR
from calip_core.reading import read_text
from calip_core.templates import Templates, check_descriptions, check_template

IMAGENET_NAMES = DATA_DIR / "class_names" / "imagenet.txt"
"""ImageNet's WordNet ids, sorted, each with the name that CLIP's authors gave it."""


@runtime_checkable
class TextEncoder(Protocol):
    """The text encoder of a backbone."""

    def encode_text(self, prompts: list[str], /) -> Float[Tensor, "p c"]:
        """Rows of unit length, one per prompt."""


def zero_shot_classifier(
    backbone: TextEncoder, classnames: Iterable[str], templates: Iterable[str] | Templates, *, batch_size: int = 256
) -> Float[Tensor, "k c"]:
    """F_t: for each class the mean of its prompts' unit vectors, made unit length again.

    With templates this is the prompt ensemble of CLIP (Radford et al. 2021, section 3.1.4), in the space of embeddings;
    with class descriptions it is the classifier of CuPL (Pratt et al. 2023, arXiv 2209.03320). For the mean over both,
    add the templates, with the name put in, to the texts of each class.

    Args:
        backbone: the encoder to use.
        classnames: k names, put into the templates as they are.
        templates: texts with one ``{}`` each, such as "a photo of a {}."; or class descriptions, which are taken as
            they are: a mapping from the name of each class to texts about it.
        batch_size: prompts per call of the backbone.

    Returns:
        Rows of unit length, float32, on the backbone's device.

    Warns:
        UserWarning: a name occurs twice, other than in ImageNet's own list; no text can distinguish such classes.

    Raises:
        ValueError: there are no class names or no templates, one is not a text, a name or a description is blank, a
            template does not have exactly one ``{}``, the descriptions are not exactly of these classes, or the batch
            size is below 1.
    """
    return class_vectors(backbone, prompts_by_class(classnames, templates), batch_size)


def class_vectors(
    backbone: TextEncoder, prompts: Sequence[Sequence[str]], batch_size: int = 256
) -> Float[Tensor, "k c"]:
    """``zero_shot_classifier`` for prompts that are complete and checked: those of each class, one or more.

    Raises:
        ValueError: the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    texts = [text for of_class in prompts for text in of_class]
    batches = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
    features = torch.cat([backbone.encode_text(batch) for batch in batches])  # p c, class after class
    parts = features.split([len(of_class) for of_class in prompts])
    return normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)  # k c


def prompts_by_class(classnames: Iterable[str], templates: Iterable[str] | Templates) -> list[list[str]]:
    """Check class names and templates or class descriptions, and return the prompts of each class.

    Warns:
        UserWarning: a name occurs twice, other than in ImageNet's own list.

    Raises:
        ValueError: there are no class names or no templates, one is not a text, a name or a description is blank, a
            template does not have exactly one ``{}``, or the descriptions are not exactly of these classes.
    """
    names = listed_texts("classnames", classnames)
    blank = [i for i, name in enumerate(names) if not name.strip()]
    if blank:
        raise ValueError(f"classnames[{blank[0]}] is {names[blank[0]]!r}, expected a name that can be read")
    prompts = _written_out(names, templates)
    if shared := shared_names(names):
        warnings.warn(
            f"class names occur more than once and cannot be told apart by text: {', '.join(shared)}", stacklevel=3
        )
    return prompts


def _written_out(names: Sequence[str], templates: Iterable[str] | Templates) -> list[list[str]]:
    if isinstance(templates, Mapping):
        check_descriptions(templates, names, "templates")
        return [list(templates[name]) for name in names]
    forms = listed_texts("templates", templates)
    for form in forms:
        check_template(form)
    return [[form.replace("{}", name) for form in forms] for name in names]


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
