"""Where the files of a card belong on this disk: where the card says, or beside an existing copy of the images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from calip_core.datasets.cards import Card, Place, Source
from calip_core.datasets.hub.origin import NOTE
from calip_core.datasets.readers.disk import Found, find_dataset


@dataclass(frozen=True)
class Whereabouts:
    """The files of a dataset under one root.

    Attributes:
        card: the dataset's card.
        root: the parent folder of all datasets.
        found: the existing copy, if its images are present.
    """

    card: Card
    root: Path
    found: Found | None

    @classmethod
    def look(cls, card: Card, root: Path) -> "Whereabouts":
        """Look for the dataset in all places that its card names."""
        try:
            return cls(card, root, find_dataset(card, root))
        except (ValueError, OSError):  # nothing is present, or too little to determine the layout
            return cls(card, root, None)

    def has(self, source: Source) -> bool:
        """Whether a source's files are present, in the card's first layout or in that of the existing copy.

        Tables of the Hub are present once all of them are, which a note then says.
        """
        if source.hub:
            return (self.root / source.gives / NOTE).is_file()
        return any(path.exists() for path in (self.root / source.gives, *self._elsewhere(source.gives)))

    def goal(self, source: Source) -> Path:
        """Where a source's files belong: beside the existing images, else where the card says."""
        return next(self._elsewhere(source.gives), self.root / source.gives)

    def into(self, source: Source) -> Path:
        """The folder into which a source's archive is unpacked: lists join an existing copy, images never do."""
        unpacked = PurePosixPath(source.into)
        if self.found is None or source.into == "." or self._is_images(PurePosixPath(source.gives)):
            return self.root / unpacked
        top = self._places()[0].folder
        return self.found.folder / unpacked.relative_to(top) if unpacked.is_relative_to(top) else self.root / unpacked

    def _elsewhere(self, gives: str) -> Iterator[Path]:
        """Where the existing copy has files that the card places elsewhere."""
        if self.found is None:
            return
        path, reader = PurePosixPath(gives), self.found.place.reader
        if self._is_images(path):
            if any(place.reader == reader and _images(place) == path for place in self._places()):
                yield self.found.images
            return
        for place in self._places():
            if place.folder != "." and path.is_relative_to(place.folder):
                rest = path.relative_to(place.folder)
                yield from (self.found.folder / rest, self.found.images / rest)

    def _places(self) -> list[Place]:
        assert self.card.layout is not None  # find_dataset refuses a card without one
        return [self.card.layout.at(place) for place in self.card.layout.places]

    def _is_images(self, path: PurePosixPath) -> bool:
        return any(_images(place) == path for place in self._places())


def _images(place: Place) -> PurePosixPath:
    return PurePosixPath(place.folder, place.images)
