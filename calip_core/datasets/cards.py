"""Dataset cards: one YAML file per task in ``data/cards`` with everything known about it before any image is read."""

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

from calip_core.datasets.checks import SPLITS, check_classnames, check_templates
from calip_core.paths import DATA_DIR
from calip_core.pointclouds.names import UpAxis
from calip_core.templates import Templates, read_descriptions
from calip_core.yaml_model import read_model

CARD_DIR = DATA_DIR / "cards"
TEMPLATE_DIR = DATA_DIR / "templates"

Text = Annotated[str, Field(min_length=1)]
Kind = Literal["images", "clouds"]


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"{path!r} is not a path below the data root: write it relative, with / and without ..")
    return path


BelowRoot = Annotated[str, Field(min_length=1), AfterValidator(_below)]
"""A relative path that cannot leave its folder, with ``/`` between its parts."""


class Photograph(BaseModel):
    """One photograph that is a class of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: Text
    """What it shows, as worded in a prompt: the class name."""
    file: Annotated[str, Field(pattern=r"^[a-z]+/[^/].*$")]
    """The installed package and the path within it, as in ``skimage/data/moon.png``."""
    credit: Text
    """Its author and licence."""


Reader = Literal[
    "class_folders", "path_lists", "pets", "cars", "flowers", "aircraft", "sun397", "ucf101", "imagenet", "variant",
    "clouds_off", "clouds_text", "clouds_hdf5", "tables",
]  # fmt: skip
"""The reader that finds the images or clouds, labels and splits of a dataset."""
LISTED = ("path_lists", "clouds_text", "clouds_hdf5")
"""Readers that need ``lists``."""


class Place(BaseModel):
    """A possible location of a dataset below the data root, and how it differs from the rest of the layout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: BelowRoot
    """The dataset's folder, below the root."""
    images: BelowRoot = "."
    """The folder of its images or clouds, below ``folder``; paths in split files start here."""
    reader: Reader | None = None
    """The reader for this location's format; by default, the layout's."""
    lists: dict[str, BelowRoot] = {}
    """The lists for that reader."""
    own_sizes: dict[str, NonNegativeInt] | None = None
    """Sizes of the dataset in that format, where they differ."""
    class_names: BelowRoot | None = None
    """An optional text file with the classes of the clouds, one per line in the order of the labels."""
    up: UpAxis = "y"
    """Which axis of the stored clouds points up."""


class Layout(BaseModel):
    """How a dataset on disk is read.

    Raises:
        pydantic.ValidationError: a field is missing or unknown, or a reader lacks the lists that it needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    """CoOp's location first, then others such as torchvision's; the first that exists is read."""
    split_file: BelowRoot | None = None
    """CoOp's JSON, below the dataset's folder."""
    reader: Reader
    """The reader that finds images, labels and splits when there is no split file."""
    lists: dict[str, BelowRoot] = {}
    """Split -> file; without a file for val, it is cut from train. For ``path_lists``, a text file of paths
    ``class/image``; for ``clouds_text``, of names ``class_number``; for ``clouds_hdf5``, of HDF5 files, or one such
    file itself; for ``tables``, the split of the tables that serves as it, where that is another."""
    own_sizes: dict[str, NonNegativeInt] | None = None
    """Sizes of the dataset's own split, where they differ from CoOp's."""
    rename: dict[str, Text] = {}
    """Class name on disk -> class name in a prompt; in all other names, ``_`` is read as a space."""
    drop: tuple[str, ...] = ()
    """Folders that are not classes."""
    partial: bool = False
    """Whether fewer classes or images than the card's are accepted; records then say that it is a part."""

    @model_validator(mode="after")
    def _lists_are_there(self) -> "Layout":
        for place in map(self.at, self.places):
            listed = place.reader if place.reader in LISTED else None
            wanted = {"train", "test"} if listed else set()
            if not wanted <= set(place.lists) or (place.lists and not wanted and place.reader != "tables"):
                fault = f"reader {place.reader} with lists {sorted(place.lists)}"
                raise ValueError(f"{fault}: {listed or LISTED[0]} needs train and test")
        return self

    def at(self, place: Place) -> Place:
        """The place, with the layout's values wherever it has none of its own."""
        if place.reader is not None:
            return place
        return place.model_copy(
            update={"reader": self.reader, "lists": self.lists, "own_sizes": place.own_sizes or self.own_sizes}
        )


class Source(BaseModel):
    """One file of a dataset, or the tables of one of its mirrors on the Hub.

    It is downloaded from ``url``, ``drive`` or ``hub``, or put in place by hand as ``manual`` describes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    """Name of the download."""
    url: Annotated[str, Field(pattern=r"^(https?|file)://")] | None = None
    fallback: Annotated[str, Field(pattern=r"^(https?|file)://")] | None = None
    """Another address of the same file, which its checksum confirms, for when ``url`` does not answer."""
    drive: Annotated[str, Field(pattern=r"^[\w-]{20,60}$")] | None = None
    """Its id on Google Drive."""
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    """Owner and name of a repository on the Hub, of which the tables of ``splits`` are taken."""
    splits: tuple[str, ...] = ("train", "test")
    manual: Text | None = None
    """Where a person gets it, and why a program cannot or may fail."""
    untried: bool = False
    """Whether this way was never tried, because those who wrote the card had no network."""
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    """As stated by its publisher or a well-maintained library; None if neither states one."""
    into: BelowRoot = "."
    """Folder below the root into which an archive is unpacked or any other file is copied."""
    inner: BelowRoot | None = None
    """An archive inside the archive, if that is the only part needed."""
    gives: BelowRoot
    """The path below the root that exists once this source is in place."""
    optional: bool = False
    whole: bool = False
    """Whether this is the whole dataset: where it is present, no other file is needed. It comes last, and is fetched
    only if a needed file cannot be."""
    either: Text | None = None
    """The alternative that this file belongs to, such as "CoOp's split"; all files of one alternative are needed."""

    @model_validator(mode="after")
    def _can_be_had(self) -> "Source":
        if not (self.url or self.drive or self.hub or self.manual):
            raise ValueError(f"{self.file} has neither url nor manual: say where it comes from")
        if sum(way is not None for way in (self.url, self.drive, self.hub)) > 1:
            raise ValueError(f"{self.file} has several of url, drive and hub: name one")
        if self.fallback and not (self.url and self.checksum):
            raise ValueError(f"{self.file} has a fallback, which needs a url that it stands in for and a checksum")
        if self.whole and (self.optional or self.either):
            raise ValueError(f"{self.file} is the whole dataset, so it is neither optional nor part of an alternative")
        if self.optional and self.either:
            raise ValueError(f"{self.file} is both optional and part of an alternative: it can only be one of the two")
        return self


class Card(BaseModel):
    """What a task is, where it comes from, under which licence, and how large it should be.

    Its name is also the key of the task's rows in ``data/published``, which holds published numbers with their sources.
    The class names are given by exactly one of ``classnames``, ``photographs`` (their captions) and
    ``classnames_from``, which says which part of the repository defines them.

    Raises:
        pydantic.ValidationError: a field is missing, unknown, of the wrong type, or inconsistent with another.
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
    """What its files contain: images, or point clouds that have to be projected first."""
    licence: Text
    source: Text
    citation: Text | None = None
    aliases: tuple[str, ...] = ()
    template_sets: dict[str, Annotated[str, Field(pattern=r"^[^/\\]+$")]] = {}
    """Named alternatives to ``templates``: each is a file in ``data/templates``, a text file with one template per line
    or a JSON file of class descriptions."""
    layout: Layout | None = None
    """For a dataset that the user provides: how it is laid out on disk."""
    sources: tuple[Source, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Card":
        origins = ("classnames", "classnames_from", "photographs")
        given = [origin for origin in origins if getattr(self, origin) is not None]
        if len(given) != 1:
            raise ValueError(f"the class names are given by {given or 'nothing'}, expected exactly one of {origins}")
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
        """The class names, or None if the card only says where they come from."""
        if self.photographs is not None:
            return tuple(photograph.caption for photograph in self.photographs)
        return self.classnames

    def alternatives(self) -> dict[str, list[Source]]:
        """Alternative -> its files; all files of one alternative are needed in addition to the other sources."""
        groups: dict[str, list[Source]] = {}
        for source in self.sources:
            if source.either:
                groups.setdefault(source.either, []).append(source)
        return groups

    def choose_templates(self, template_set: str | None = None) -> Templates:
        """The card's templates, or those of a named set, or the class descriptions of a named set.

        Raises:
            ValueError: there is no such set, or its class descriptions are damaged.
        """
        if template_set is None:
            return self.templates
        if template_set not in self.template_sets:
            raise ValueError(
                f"template_set is {template_set!r}, but {self.name} has {', '.join(self.template_sets) or 'none'}"
            )
        path = TEMPLATE_DIR / self.template_sets[template_set]
        if path.suffix == ".json":
            return read_descriptions(path)
        text = path.read_text(encoding="utf-8")
        return tuple(line for line in text.splitlines() if line.strip())


def disk_datasets(kind: Kind | None = None) -> list[str]:
    """Names of the cards of datasets on disk, which the user has to fetch, sorted.

    Args:
        kind: kind of the datasets; by default, both.
    """
    cards = [load_card(name) for name in available_cards()]
    return [card.name for card in cards if card.layout is not None and kind in (None, card.kind)]


def available_cards() -> list[str]:
    """Names of all cards in the repository, sorted."""
    return sorted(path.stem for path in CARD_DIR.glob("*.yaml"))


def load_card(name: str) -> Card:
    """Read and check ``data/cards/NAME.yaml``.

    Raises:
        ValueError: there is no such card, it is not valid YAML, or it does not describe a task; the message names the
            file and the field.
    """
    if name not in available_cards():
        raise ValueError(f"no dataset card {name!r} in {CARD_DIR}; there are: {', '.join(available_cards())}")
    path = CARD_DIR / f"{name}.yaml"
    card = read_model(path, Card, "a task")
    if card.name != name:
        raise ValueError(f"{path} is the card of {card.name!r}: its name must be that of its file, {name!r}")
    return card
