"""Dataset cards: one YAML file a task in ``data/cards`` with what is known of it before any image is read."""

from typing import Annotated

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from calip_core.datasets.task import (
    SPLITS,
    Split,
    Task,
    check_classnames,
    check_templates,
)
from calip_core.paths import DATA_DIR

CARD_DIR = DATA_DIR / "cards"

Text = Annotated[str, Field(min_length=1)]


class Photograph(BaseModel):
    """One photograph that is a class of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: Text
    """What it shows, as it stands in a prompt: the class name."""
    file: Annotated[str, Field(pattern=r"^[a-z]+/[^/].*$")]
    """The installed package and the path inside it, as in ``skimage/data/moon.png``."""
    credit: Text
    """Who made it, and its licence."""


class Card(BaseModel):
    """What a task is, from where, under which licence, and how large it should be.

    The class names stand in exactly one of ``classnames``, ``photographs`` (their captions), or, where another part of
    the repository owns them, ``classnames_from`` says where.

    Raises:
        pydantic.ValidationError: a field is missing, unknown, of the wrong type, or at odds with another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    title: Text
    description: Text
    classes: PositiveInt
    classnames: tuple[str, ...] | None = None
    classnames_from: Text | None = None
    photographs: tuple[Photograph, ...] | None = None
    templates: tuple[str, ...]
    sizes: dict[str, NonNegativeInt]
    licence: Text
    source: Text
    citation: Text | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Card":
        origins = ("classnames", "classnames_from", "photographs")
        given = [origin for origin in origins if getattr(self, origin) is not None]
        if len(given) != 1:
            raise ValueError(f"the class names stand in {given or 'nothing'}, expected exactly one of {origins}")
        names = self.listed_classnames()
        if names is not None:
            check_classnames(names, self.name)
            if len(names) != self.classes:
                raise ValueError(f"classes is {self.classes}, but {len(names)} class names are listed")
        check_templates(self.templates, self.name)
        if set(self.sizes) != set(SPLITS):
            raise ValueError(f"sizes has {sorted(self.sizes)}, expected {sorted(SPLITS)}")
        return self

    def listed_classnames(self) -> tuple[str, ...] | None:
        """The class names, or None where the card only says where they come from."""
        if self.photographs is not None:
            return tuple(photograph.caption for photograph in self.photographs)
        return self.classnames

    def task(self, splits: dict[str, Split], classnames: tuple[str, ...] | None = None) -> Task:
        """The task of this card over these images.

        Args:
            splits: the labelled images.
            classnames: the names, where the card does not list them; where it does, they must be the same.

        Raises:
            ValueError: the names differ from the card, so that labels and names could part company unseen.
        """
        listed = self.listed_classnames()
        names = classnames or listed or ()
        if listed not in (None, names) or len(names) != self.classes:
            raise ValueError(
                f"card {self.name} expects {self.classes} classes, {listed or self.classnames_from}, but the task has "
                f"{len(names)}: {names}; bring the card in {CARD_DIR} up to date"
            )
        return Task(self.name, self.title, names, self.templates, splits, self.licence, self.source, self.citation)


def available_cards() -> list[str]:
    """Names of all cards in the repository, sorted."""
    return sorted(path.stem for path in CARD_DIR.glob("*.yaml"))


def load_card(name: str) -> Card:
    """Read and check ``data/cards/NAME.yaml``.

    Raises:
        ValueError: there is no such card, it is no YAML, or it does not describe a task; the message names the file
            and the field.
    """
    if name not in available_cards():
        raise ValueError(f"no dataset card {name!r} in {CARD_DIR}; there are: {', '.join(available_cards())}")
    path = CARD_DIR / f"{name}.yaml"
    try:
        card = Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'card'}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"{path} does not describe a task: {faults}") from error
    if card.name != name:
        raise ValueError(f"{path} is the card of {card.name!r}: its name must be that of its file, {name!r}")
    return card
