"""Prompt templates: texts with a placeholder for the class name."""


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
