"""Texts become numbers: CLIP's byte pairs, or the tokenizer that open_clip chooses for a model."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from calip_core.backbones.clip_import import clip

VOCABULARY = 49408
"""Entries of CLIP's byte-pair vocabulary; the last two mark the start and the end of a text."""


@runtime_checkable
class Tokenizer(Protocol):
    """Encodes texts for one backbone.

    Attributes:
        context_length: maximum number of tokens of a text, marks included.
    """

    context_length: int

    def __call__(self, texts: Sequence[str], /) -> Int[Tensor, "p length"]:
        """One row of numbers per text, as the text encoder reads them.

        Raises:
            ValueError: a text is longer than the context, or holds one of the vocabulary's marks; it is named.
        """


class BytePairs:
    """CLIP's tokenizer; rows end after the longest text, since CLIP's text attends backwards only."""

    def __init__(self, name: str, context_length: int) -> None:
        self.name, self.context_length = name, context_length

    def __call__(self, texts: Sequence[str]) -> Int[Tensor, "p length"]:
        """Numbers of the byte pairs between the start and end marks, padded with zeros to the longest text."""
        rows = [[VOCABULARY - 2, *_byte_pairs()(text), VOCABULARY - 1] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if max(row[1:-1], default=0) >= VOCABULARY - 2:  # CLIP would stop reading at the first end
                raise _mark_inside(text, "CLIP's vocabulary, <|startoftext|> or <|endoftext|>")
            if len(row) > self.context_length:
                raise ValueError(
                    f"the prompt {text!r} has {len(row)} tokens, both end marks counted, and {self.name} reads "
                    f"{self.context_length}: shorten it"
                )
        return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


class OpenClipTokenizer:
    """open_clip's own tokenizer for a model, which cuts long texts off without a word: here they are refused.

    Rows have the length of the context: some of these text encoders read the padding too.

    Args:
        name: the backbone's, for messages.
        tokenizer: (texts, length) -> "p length", as ``open_clip.get_tokenizer`` gives it.
        context_length: how many tokens the model reads.
    """

    def __init__(self, name: str, tokenizer: Callable[[list[str], int], Tensor], context_length: int) -> None:
        self.name, self.context_length, self._tokenize = name, context_length, tokenizer
        self._empty = tokenizer([""], context_length + 1)[0]

    def __call__(self, texts: Sequence[str]) -> Int[Tensor, "p length"]:
        """The numbers that open_clip gives, for texts that fit."""
        rows = self._tokenize(list(texts), self.context_length + 1)  # one more than fits
        self._check_marks(texts, rows)
        # A text that fits is the same with one place more. Nearly all end earlier, which shows without trying.
        padding, length = self._empty[-1], self.context_length
        for i in (rows[:, length - 1 :] != padding).any(dim=1).nonzero().flatten().tolist():
            if rows[i, length] != padding or not torch.equal(self._tokenize([texts[i]], length)[0], rows[i, :length]):
                raise ValueError(
                    f"the prompt {texts[i]!r} has more tokens than the {length}, all marks counted, that {self.name} "
                    "reads: shorten it"
                )
        return rows[:, :length]

    def _check_marks(self, texts: Sequence[str], rows: Int[Tensor, "p longer"]) -> None:
        """A mark that the vocabulary sets at an end must not occur more often than in an empty text."""
        for mark in self._empty[self._empty != self._empty[-1]].unique():
            extra = (rows == mark).sum(dim=1) > (self._empty == mark).sum()
            if extra.any():
                raise _mark_inside(texts[int(extra.nonzero()[0])], "its vocabulary, such as an end")


def _mark_inside(text: str, where: str) -> ValueError:
    return ValueError(f"the prompt {text!r} holds a mark of {where}, which is expected at the ends alone: take it out")


@cache
def _byte_pairs() -> Callable[[str], list[int]]:
    """CLIP's own byte-pair encoder."""
    encode: Callable[[str], list[int]] = clip.simple_tokenizer.SimpleTokenizer().encode
    return encode
