"""A record without its score: what is known of an evaluation before any image is classified."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from calip_core.blend.landscape import BetaLandscape
from calip_core.evaluation.record import (
    Asked,
    ChoicePart,
    DataPart,
    EncoderPart,
    HeadPart,
    Record,
    RunPart,
    ScorePart,
    SpreadPart,
    setting_key,
)
from calip_core.methods.base import Head
from calip_core.methods.calip import Calip


@dataclass(frozen=True)
class Draft:
    """An evaluation of a head that sees one image at a time; it can be sent to other machines.

    Attributes:
        seed: of the evaluation.
        data: the test images.
        encoder: the backbone.
        head_part: the head, as the record describes it.
        choice: how its weights were chosen; to be chosen yet if there is a ``judge``.
        run: where it was drafted.
        head: the head itself, fitted, on the CPU.
        logit_scale: s, for CLIP's own logits.
        judge: the split whose labels choose the blend; None if it is given.
        judge_images: number of images of that split.
    """

    seed: int
    data: DataPart
    encoder: EncoderPart
    head_part: HeadPart
    choice: ChoicePart
    run: RunPart
    head: Head
    logit_scale: float
    judge: Literal["val", "test"] | None
    judge_images: int

    @cached_property
    def key(self) -> str:
        """The key of the record, the same as that of an evaluation on one machine."""
        choice = self.choice
        asked = Asked(choice.protocol, choice.criterion, choice.grid, choice.view_weighting, self.head_part.batch_size)
        return setting_key(self.data, self.encoder, self.head_part.method, self.head_part.options, asked, self.seed)

    def choosing(self, landscape: BetaLandscape) -> "Draft":
        """The draft with the blend that the landscape of the judge's images chooses."""
        assert isinstance(self.head, Calip) and self.judge is not None
        head = self.head.take_landscape(landscape)
        chosen = {
            "chosen_by": head.chosen_by,
            "chosen_on": landscape.images,
            "values": head.chosen,
            "labels_seen": {"val": "validation", "test": "test"}[self.judge],
        }
        return replace(self, choice=ChoicePart.model_validate(self.choice.model_dump() | chosen))

    def record(self, score: ScorePart, seconds: float, spread: SpreadPart) -> Record:
        """The record, once the test images are counted."""
        run = {"time": datetime.now(UTC), "seconds": seconds, "spread": spread}
        return Record(
            seed=self.seed, data=self.data, encoder=self.encoder, head=self.head_part, choice=self.choice, score=score,
            run=self.run.model_copy(update=run),
        )  # fmt: skip
