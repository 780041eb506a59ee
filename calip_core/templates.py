"""Prompt templates, texts with a placeholder for the class name, and class descriptions, which take their place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import TypeAlias

from calip_core.errors import did_you_mean
from calip_core.reading import read_json

Templates: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Texts with one ``{}`` each, where the class name goes; or class descriptions: name of a class -> texts about it."""

_SHOWN = 3  # names in a message


def check_template(template: str, owner: str = "") -> None:
    """Refuse a template that does not have exactly one place for the class name.

    Args:
        template: the text.
        owner: the owner of the template, for the message.

    Raises:
        ValueError: there is not exactly one ``{}`` in it.
    """
    if template.count("{}") != 1:
        raise ValueError(
            f"{owner}{': ' * bool(owner)}the template {template!r} needs exactly one {{}}, where the class name goes, "
            "as in 'a photo of a {}.'"
        )


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read class descriptions from a JSON file: an object of lists of texts, ``{"cat": ["a small animal.", ...]}``.

    This is the layout of CuPL (Pratt et al., ICCV 2023; sarahpratt/CuPL, ``all_prompts``), and of the templates of one
    dataset in LAION-AI/CLIP_benchmark, if each class has its own.

    Args:
        path: the file.

    Returns:
        Name of a class -> texts about it, as they stand in the file. A text may occur more than once.

    Raises:
        ValueError: the file is not JSON, repeats a class, or holds something else; the message names the file.
        OSError: the file cannot be opened.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds {shortened(content)}, expected class descriptions: an object of lists of texts, as in "
            '{"cat": ["a small animal."]}'
        )
    check_texts(content, str(path))
    return {name: tuple(texts) for name, texts in content.items()}


def check_texts(descriptions: Mapping[str, object], owner: str) -> None:
    """Refuse what cannot be texts about classes.

    Args:
        descriptions: name of a class -> texts about it.
        owner: their owner, for the message.

    Raises:
        ValueError: a class has no list of texts, or a text is blank, is not valid Unicode, or has a place for a name.
    """
    for name, texts in descriptions.items():
        if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
            raise ValueError(f"{owner}: {name!r} has {shortened(texts)}, expected a list of at least one text about it")
        for text in texts:
            if not isinstance(text, str) or not text.strip() or not _is_unicode(text):
                raise ValueError(f"{owner}: {name!r} has the text {shortened(text)}, expected one that can be read")
            if "{}" in text or "{c}" in text:
                raise ValueError(
                    f"{owner}: {name!r} has the text {text!r}, in which nothing is replaced: write the class's name"
                )


def check_descriptions(descriptions: Mapping[str, Sequence[str]], classnames: Sequence[str], owner: str) -> None:
    """Refuse class descriptions that are not exactly those of the classes.

    Args:
        descriptions: name of a class -> texts about it.
        classnames: names of the classes; two classes may share a name, and then share its texts.
        owner: the owner of the descriptions, for the message.

    Raises:
        ValueError: as ``check_texts``; or a class has no descriptions, or descriptions are of no class.
    """
    check_texts(descriptions, owner)
    known = set(classnames)
    missing = [name for name in dict.fromkeys(classnames) if name not in descriptions]
    unknown = [name for name in descriptions if name not in known]
    faults = [f"missing: {_listed(missing)}"] if missing else []
    faults += [f"unknown: {_listed(unknown, missing)}"] if unknown else []
    if faults:
        raise ValueError(f"{owner}: the class descriptions do not fit the class names ({'; '.join(faults)})")


def _listed(names: Sequence[str], meant: Sequence[str] = ()) -> str:
    """The first few names, each with the one that may be meant, and how many follow."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r}{did_you_mean(str(name), meant)}" for name in names[:_SHOWN]) + more


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may hold half of a character, such as ``"\\ud83d"``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
