"""YAML files read and checked against a pydantic model; errors name the file and the field."""

import io
import re
from collections.abc import Hashable
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from calip_core.reading import reading

MOST_NODES = 100_000
"""Maximum number of values in a file: a small file with nested aliases could expand beyond the memory."""

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "keys with values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "model_type": "keys with values",
    "string_type": "a text",
    "too_short": "{min_length} or more entries",
}
"""Kind of a fault -> what was expected, if pydantic's own words are meant for programmers."""

Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, model: type[Model], what: str) -> Model:
    """Read a YAML file and check it against a model.

    Args:
        path: the file.
        model: a pydantic model.
        what: what the file should describe, for messages, such as "a view set".

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is not YAML, repeats a key, or does not fit the model; the message names file and field.
    """
    with reading(path, "YAML"):
        content = yaml.load(_named(path), Loader=_Strict)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not describe {what}: {describe_faults(error, model)}") from error


def _named(path: Path) -> io.StringIO:
    """The text of a file; YAML takes the name for its messages."""
    text = io.StringIO(path.read_text(encoding="utf-8-sig"))
    text.name = path.name  # type: ignore[attr-defined]
    return text


def describe_faults(error: ValidationError, model: type[BaseModel]) -> str:
    """The faults found by a model, field by field, in words."""
    faults = error.errors()
    if faults[0]["loc"] == () and faults[0]["input"] is None:
        needed = (name for name, field in model.model_fields.items() if field.is_required())
        return f"the file is empty: it needs at least {' and '.join(needed)}"
    known = list(model.model_fields)
    extra = [fault["loc"][0] for fault in faults if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1]
    meant = {(name,) for key in extra for name in get_close_matches(str(key), known, 1)}
    return "; ".join(
        _in_words(fault, known) for fault in faults if fault["type"] != "missing" or fault["loc"] not in meant
    )


def _in_words(fault: ErrorDetails, known: list[str]) -> str:
    kind, place, value = fault["type"], ".".join(map(str, fault["loc"])), fault["input"]
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "missing":
        return f"{place} is missing"
    if kind == "extra_forbidden":
        return _unknown_key(place, known)
    if kind == "value_error":
        return f"{place}: {message}" if place else message
    if kind == "list_type":
        message = f"a list: write [{value}]" if isinstance(value, str | int) else "a list"
    elif kind in _EXPECTED:
        message = _EXPECTED[kind].format(**fault.get("ctx", {}))
    above, _, last = place.rpartition(".")
    subject = f"{above} has" if last.isdecimal() else f"{place or 'the file'} is"
    return f"{subject} {shortened(value)}, expected {message}"


def _unknown_key(place: str, known: list[str]) -> str:
    if "." in place:
        return f"unknown key {place!r}"
    close = get_close_matches(place, known, 1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown key {place!r}{hint} Keys: {', '.join(known)}"


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values in a node, with every alias counted in full."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        below = [part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in below)
    return known[id(node)]


_INTEGER = "tag:yaml.org,2002:int"


class _Strict(yaml.SafeLoader):
    """Refuses repeated keys, of which YAML's own loader silently keeps the last.

    Only decimal numbers are integers: YAML reads ``010`` as eight and ``1:30`` as ninety. Here they remain text, which
    a model then refuses.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _INTEGER]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_document(self, node: yaml.Node) -> Any:
        if (count := _count(node, {})) > MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"it means {count} values", node.start_mark)
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given in line {seen[key]} and again: give it once",
                    key_node.start_mark,
                )  # fmt: skip
            if isinstance(key, Hashable):
                seen[key] = line
        return super().construct_mapping(node, deep)


_Strict.add_implicit_resolver(_INTEGER, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
