"""Damage to a file's bytes, of the kinds that readers trip over."""

from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator

_NUMBERS = (b"0", b"-1", b"1", b"nan", b"inf", b"1e999", b"4294967295", b"99999999999999999999", b"")
_WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0", b"\0\0\0\0\0\0\xf0\x7f")


def mutated(seeds: Sequence[bytes], rng: Rng) -> bytes:
    """One of the files with one to four changes."""
    content = seeds[rng.integers(len(seeds))]
    for _ in range(rng.integers(1, 5)):
        content = _CHANGES[rng.integers(len(_CHANGES))](content, rng)
    if rng.random() < 0.1:
        other = seeds[rng.integers(len(seeds))]
        content = content[: _place(content, rng)] + other[_place(other, rng) :]
    return content


def _place(content: bytes, rng: Rng) -> int:
    """A place in the file; half of the time near its start, where headers are."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 256)
    return int(rng.integers(end + 1))


def _flip_bit(content: bytes, rng: Rng) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes(byte ^ (1 << int(rng.integers(8))) for byte in content[at : at + 1]) + content[at + 1 :]


def _overwrite(content: bytes, rng: Rng) -> bytes:
    at, size = _place(content, rng), int(rng.integers(1, 9))
    return content[:at] + rng.bytes(size) + content[at + size :]


def _extreme(content: bytes, rng: Rng) -> bytes:
    at, word = _place(content, rng), _WORDS[rng.integers(len(_WORDS))]
    return content[:at] + word + content[at + len(word) :]


def _number(content: bytes, rng: Rng) -> bytes:
    """Replace the digits that stand at a place, as they do in text formats."""
    start = _place(content, rng)
    while start < len(content) and not content[start : start + 1].isdigit():
        start += 1
    end = start
    while end < len(content) and content[end : end + 1].isdigit():
        end += 1
    return content[:start] + _NUMBERS[rng.integers(len(_NUMBERS))] + content[end:]


def _insert(content: bytes, rng: Rng) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.bytes(int(rng.integers(1, 17))) + content[at:]


def _delete(content: bytes, rng: Rng) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + int(rng.integers(1, 17)) :]


def _repeat(content: bytes, rng: Rng) -> bytes:
    at, size = _place(content, rng), int(rng.integers(1, 65))
    return content[:at] + content[at : at + size] * int(rng.integers(2, 5)) + content[at + size :]


def _truncate(content: bytes, rng: Rng) -> bytes:
    return content[: _place(content, rng)]


_CHANGES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    _flip_bit, _flip_bit, _overwrite, _extreme, _number, _insert, _delete, _repeat, _truncate,
)  # fmt: skip
