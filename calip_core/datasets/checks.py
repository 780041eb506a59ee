"""Checks that every task must pass, without reading images: splits, class names and templates."""

from collections.abc import Mapping, Sequence

from calip_core.templates import Templates, check_descriptions, check_template

SPLITS = ("train", "val", "test")
"""The splits that every task has; one may be empty."""


def check_classnames(classnames: Sequence[str], owner: str) -> None:
    """Refuse a list of class names that cannot make a classifier.

    Raises:
        ValueError: the list is empty, or a name is blank.
    """
    if not classnames:
        raise ValueError(f"{owner}: the list of class names is empty, expected at least one name")
    for position, name in enumerate(classnames):
        if not name.strip():
            raise ValueError(f"{owner}: class {position} has the blank name {name!r}, expected a word for a prompt")


def check_templates(templates: Templates, owner: str, classnames: Sequence[str] = ()) -> None:
    """Refuse templates that cannot hold a class name, and class descriptions that are not of these classes.

    Raises:
        ValueError: the list is empty, a template does not have exactly one ``{}``, or class descriptions are blank or
            not exactly of the classes.
    """
    if isinstance(templates, Mapping):
        check_descriptions(templates, classnames, owner)
        return
    if not templates:
        raise ValueError(f"{owner}: the list of templates is empty, expected at least one such as 'a photo of a {{}}.'")
    for template in templates:
        check_template(template, owner)
