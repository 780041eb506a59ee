"""Dataset cards: one YAML file a task in ``data/cards`` with what is known of it before any image is read."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
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
from calip_core.pointclouds.poses import UpAxis
from calip_core.yaml_model import read_model

CARD_DIR = DATA_DIR / "cards"
TEMPLATE_DIR = DATA_DIR / "templates"

Text = Annotated[str, Field(min_length=1)]
Kind = Literal["images", "clouds"]


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"{path!r} is no path below the data root: write it relative, with / and without ..")
    return path


BelowRoot = Annotated[str, Field(min_length=1), AfterValidator(_below)]
"""A path relative to some folder that cannot lead out of it, with ``/`` between its parts."""


class Photograph(BaseModel):
    """One photograph that is a class of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: Text
    """What it shows, as it stands in a prompt: the class name."""
    file: Annotated[str, Field(pattern=r"^[a-z]+/[^/].*$")]
    """The installed package and the path inside it, as in ``skimage/data/moon.png``."""
    credit: Text
    """Who made it, and its licence."""


Reader = Literal[
    "class_folders", "path_lists", "pets", "cars", "flowers", "aircraft", "sun397", "ucf101", "imagenet", "variant",
    "clouds_off", "clouds_text", "clouds_hdf5",
]  # fmt: skip
"""Who finds the images or clouds, labels and splits of a dataset."""
LISTED = ("path_lists", "clouds_text", "clouds_hdf5")
"""Readers that need ``lists``."""


class Place(BaseModel):
    """Where a dataset may lie below the data root, and what differs there from the rest of its layout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: BelowRoot
    """The dataset's folder, below the root."""
    images: BelowRoot = "."
    """The folder of its images or clouds, below ``folder``; paths in split files start here."""
    reader: Reader | None = None
    """Where the same dataset lies in another format here; else the layout's."""
    lists: dict[str, BelowRoot] = {}
    """That reader's lists."""
    own_sizes: dict[str, NonNegativeInt] | None = None
    """Sizes of the dataset in that format, where they differ."""
    class_names: BelowRoot | None = None
    """A text file of the clouds' classes, one a line in the order of the labels, that is read if it is there."""
    up: UpAxis = "y"
    """Which axis of the stored clouds points up."""


class Layout(BaseModel):
    """How a dataset on disk is read.

    Raises:
        pydantic.ValidationError: a field is missing or unknown, or text lists are wanted and not named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    """CoOp's first, then others such as torchvision's; the first that exists is read."""
    split_file: BelowRoot | None = None
    """CoOp's JSON, below the dataset's folder."""
    reader: Reader
    """Who finds images, labels and splits when there is no split file."""
    lists: dict[str, BelowRoot] = {}
    """Split -> file; where val has none it is cut from train. For ``path_lists`` a text file of paths ``class/image``,
    for ``clouds_text`` one of ``class_number``, for ``clouds_hdf5`` one of HDF5 files, or an HDF5 file itself."""
    own_sizes: dict[str, NonNegativeInt] | None = None
    """Sizes of the dataset's own split, where they differ from CoOp's."""
    rename: dict[str, Text] = {}
    """A class's name on disk -> its name in a prompt; other names only have ``_`` read as a space."""
    drop: tuple[str, ...] = ()
    """Folders that are no class."""

    @model_validator(mode="after")
    def _lists_are_there(self) -> "Layout":
        for place in map(self.at, self.places):
            listed = place.reader if place.reader in LISTED else None
            wanted = {"train", "test"} if listed else set()
            if not wanted <= set(place.lists) or (place.lists and not wanted):
                fault = f"reader {place.reader} with lists {sorted(place.lists)}"
                raise ValueError(f"{fault}: {listed or LISTED[0]} needs train and test")
        return self

    def at(self, place: Place) -> Place:
        """The place with all that it does not say for itself as the layout says it."""
        if place.reader is not None:
            return place
        return place.model_copy(
            update={"reader": self.reader, "lists": self.lists, "own_sizes": place.own_sizes or self.own_sizes}
        )


class Source(BaseModel):
    """One file of a dataset: fetched from ``url``, or put in place by hand as ``manual`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    """Name of the download."""
    url: Annotated[str, Field(pattern=r"^(https?|file)://")] | None = None
    manual: Text | None = None
    """Where a person gets it, and why a program does not."""
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    """As its publisher or a well-kept library states it; None where neither is known."""
    into: BelowRoot = "."
    """Folder below the root in which an archive is unpacked and any other file is put."""
    inner: BelowRoot | None = None
    """An archive inside the archive, the only part that is wanted."""
    gives: BelowRoot
    """What exists below the root once it is in place."""
    optional: bool = False
    either: Text | None = None
    """What this file belongs to, where a card has alternatives, such as "CoOp's split": all files of one are needed."""

    @model_validator(mode="after")
    def _can_be_had(self) -> "Source":
        if self.url is None and self.manual is None:
            raise ValueError(f"{self.file} has neither url nor manual: say where it comes from")
        if self.optional and self.either:
            raise ValueError(f"{self.file} is optional and one of several alternatives: it can only be one of the two")
        return self


class Card(BaseModel):
    """What a task is, from where, under which licence, and how large it should be.

    Its name is also the key of the task's rows in ``data/published``, where published numbers lie with their sources.
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
    kind: Kind = "images"
    """What its files show: pictures, or point clouds that have to be projected first."""
    licence: Text
    source: Text
    citation: Text | None = None
    aliases: tuple[str, ...] = ()
    template_sets: dict[str, Annotated[str, Field(pattern=r"^[^/\\]+$")]] = {}
    """Named alternatives to ``templates``: each a file of ``data/templates`` with one template a line."""
    layout: Layout | None = None
    """For a dataset that the reader brings: how it lies on disk."""
    sources: tuple[Source, ...] = ()

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
        if len(self.alternatives()) == 1:
            raise ValueError(f"sources name one alternative, {[*self.alternatives()]}, expected none or several")
        return self

    def listed_classnames(self) -> tuple[str, ...] | None:
        """The class names, or None where the card only says where they come from."""
        if self.photographs is not None:
            return tuple(photograph.caption for photograph in self.photographs)
        return self.classnames

    def alternatives(self) -> dict[str, list[Source]]:
        """Alternative -> its files; one of them, with all its files, is needed beside the other sources."""
        groups: dict[str, list[Source]] = {}
        for source in self.sources:
            if source.either:
                groups.setdefault(source.either, []).append(source)
        return groups

    def choose_templates(self, template_set: str | None = None) -> tuple[str, ...]:
        """The card's templates, or those of one of its named sets.

        Raises:
            ValueError: there is no such set.
        """
        if template_set is None:
            return self.templates
        if template_set not in self.template_sets:
            raise ValueError(
                f"template_set is {template_set!r}, but {self.name} has {', '.join(self.template_sets) or 'none'}"
            )
        text = (TEMPLATE_DIR / self.template_sets[template_set]).read_text(encoding="utf-8")
        return tuple(line for line in text.splitlines() if line.strip())

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


def disk_datasets(kind: Kind | None = None) -> list[str]:
    """Names of the cards that describe a dataset on disk, which the reader fetches, sorted.

    Args:
        kind: of the datasets; both kinds when left out.
    """
    cards = [load_card(name) for name in available_cards()]
    return [card.name for card in cards if card.layout is not None and kind in (None, card.kind)]


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
    card = read_model(path, Card, "a task")
    if card.name != name:
        raise ValueError(f"{path} is the card of {card.name!r}: its name must be that of its file, {name!r}")
    return card
