"""Validation of a chapter's parameters before any work: names, types, ranges and choices."""

import re
from collections.abc import Iterable, MutableMapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from calip_core.paths import expanded

_PLAIN = (str, int, float, bool, type(None), list, dict, tuple)
_IPYTHON = frozenset({"In", "Out", "exit", "quit"})
_OPEN_CLIP = re.compile(r"open_clip:[^\s/:]+(?P<weights>/[^\s/:]+)?")
_CHECKED = "_calip_parameters_checked"


class ParameterError(ValueError):
    """A chapter got an unknown parameter or an invalid value."""


def _suggest(name: str, choices: Iterable[str]) -> str:
    close = get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _backbone(name: str) -> str:
    """Validate a name known to ``load_backbone``, an open_clip name with its weights, or the path of a checkpoint."""
    from calip_core.backbones import available_backbones

    names = tuple(available_backbones())
    found = _OPEN_CLIP.fullmatch(name)
    if found and not found["weights"]:
        raise ValueError(f"names no weights, so they would be random. Choose {name}/TAG.")
    if name in names or found or expanded(name).is_file():
        return name
    raise ValueError(
        f"is neither a backbone nor a checkpoint's file.{_suggest(name, names)} "
        f"Choose one of {', '.join(names)}, open_clip:MODEL/TAG, or the path of a checkpoint."
    )


def _task(kind: Literal["images", "clouds"], own: Sequence[str], name: str) -> str:
    """Validate a name known to ``load_task`` for this kind, or a prefix for own files with an existing folder."""
    from calip_core.datasets import available_tasks, check_task_name, split_template_set
    from calip_core.datasets.names import own_name

    names = available_tasks(kind)
    dataset, template_set = split_template_set(name)
    if own_name(dataset) in names:
        if template_set is not None:
            check_task_name(name)
        return name
    for prefix in own:
        if not name.startswith(prefix):
            continue
        folder = expanded(name.removeprefix(prefix))
        if folder.is_dir():
            return name
        raise ValueError(f"names a folder that does not exist: {folder}. Give {prefix}PATH an existing folder.")
    known = name in available_tasks()
    fault = _OTHER_CHAPTER[kind] if known else f"is not a dataset.{_suggest(name, available_tasks())}"
    raise ValueError(f"{fault} Choose one of {', '.join(names)}, or {own[0]}PATH for your own {kind}.")


_OTHER_CHAPTER = {
    "images": "is a dataset of point clouds, for chapter 7.",
    "clouds": "is a dataset of images, for the other chapters.",
}


def Choice(*options: str, then: Iterable[str] = ()) -> Any:
    """The type of a parameter that is one of these options, optionally followed by a comma and one of ``then``."""
    seconds = tuple(then)
    more = f", optionally followed by a comma and one of {', '.join(seconds)}" if seconds else ""

    def validate(value: str) -> str:
        word, comma, second = value.partition(", ")
        if word not in options or (comma and second not in seconds):
            raise ValueError(f"is not a choice.{_suggest(value, options)} Choose one of {', '.join(options)}{more}.")
        return value

    return Annotated[str, AfterValidator(validate)]


def _projection(text: str) -> str:
    """Validate a text that ``Projection.parse`` can read."""
    from calip_core.datasets.clouds.views import Projection
    from calip_core.pointclouds import available_view_sets

    sets = available_view_sets()
    try:
        Projection.parse(text)
    except ValueError as error:
        raise ValueError(
            f"cannot be used ({error}).{_suggest(text.partition(',')[0], sets)} Choose one of {', '.join(sets)}, "
            "optionally followed by the points per cloud, as in 'pointclip, 512 points'."
        ) from None
    return text


def AtLeast(minimum: int) -> Any:
    """The type of a count with a minimum, below which a chapter has too little to measure."""
    return Annotated[int, Field(ge=minimum)]


BackboneName = Annotated[str, AfterValidator(_backbone)]
TaskName = Annotated[str, AfterValidator(partial(_task, "images", ("folder:", "wds:", "parquet:")))]
CloudTaskName = Annotated[str, AfterValidator(partial(_task, "clouds", ("points:",)))]
ProjectionName = Annotated[str, AfterValidator(_projection)]
Count = Annotated[int, Field(ge=1)]
Minutes = Annotated[float, Field(gt=0, le=120)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


def check_parameters(namespace: MutableMapping[str, Any], **declared: Any) -> None:
    """Check a chapter's parameters before any work, and report all problems at once.

    A public plain value that is not declared counts as a misspelt parameter: papermill would set it, and nothing would
    read it. Only the first check in a kernel looks for those, because later the chapter's own variables exist.

    Args:
        namespace: the chapter's ``globals()``.
        declared: the type of each parameter, such as ``seed=Seed``.

    Raises:
        ParameterError: a name is missing or unknown, or a type or value is wrong. The message lists the choices.
    """
    problems = [problem for name, kind in declared.items() if (problem := _problem(namespace, name, kind))]
    if not namespace.get(_CHECKED):
        problems += [_misspelt(name, declared) for name in _undeclared(namespace, declared)]
    if problems:
        raise ParameterError("The chapter's parameters cannot be used:\n" + "\n".join(f"- {p}" for p in problems))
    namespace[_CHECKED] = True


def _problem(namespace: MutableMapping[str, Any], name: str, kind: Any) -> str | None:
    if name not in namespace:
        return f"{name} is missing: run the cell of parameters first."
    value = namespace[name]
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        choices = _choices(kind) if not isinstance(value, str) else ""
        return f"{name} = {value!r}: {reason[0].lower()}{reason[1:]}{choices}"
    return None


def _choices(kind: Any) -> str:
    """The valid choices, for a value that is not a string where one is expected."""
    try:
        TypeAdapter(kind).validate_python("")
    except ValidationError as error:
        reason: str = error.errors()[0]["msg"]
        return ". " + reason[reason.index("Choose") :] if "Choose" in reason else ""
    return ""


def _undeclared(namespace: MutableMapping[str, Any], declared: Iterable[str]) -> list[str]:
    known = _IPYTHON | set(declared)
    return [
        name
        for name, value in namespace.items()
        if not name.startswith("_") and name not in known and isinstance(value, _PLAIN)
    ]


def _misspelt(name: str, declared: Iterable[str]) -> str:
    names = list(declared)
    return f"{name} is not a parameter of this chapter.{_suggest(name, names)} Its parameters: {', '.join(names)}."
