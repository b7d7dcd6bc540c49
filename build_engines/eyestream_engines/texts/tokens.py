"""From texts to the numbers a text tower reads. Knows no tokenizer's rules and no tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Tokenizer(Protocol):
    """Turns a text into ids of a vocabulary; `start`, `end` and `pad` are ids too."""

    pad: int
    start: int
    end: int

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without the start and the end."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """`ids` int64 [texts, length] and `mask`, true where there is text rather than padding."""

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], *, context: int, length: int | None = None) -> Tokens:
    """The texts between start and end, padded on the right to `length`, or to the longest of them.

    Raises ValueError for a text without a token, or with more than `context` tokens, start and end counted: the
    originals cut such a text short, and what was cut off would be asked of nobody.
    """
    read = [[tokenizer.start, *tokenizer.pieces(text), tokenizer.end] for text in texts]
    for text, row in zip(texts, read, strict=True):
        if len(row) == 2:  # noqa: PLR2004 - nothing between start and end
            raise ValueError(f"{text!r} holds nothing that this text tower can read")
        if len(row) > context:
            raise ValueError(f"{text!r} has {len(row)} tokens, this text tower reads {context}: shorten it")
    width = max(length or 0, *(len(row) for row in read), 0)
    ids = np.full((len(read), width), tokenizer.pad, np.int64)
    mask = np.zeros((len(read), width), np.bool_)
    for place, row in enumerate(read):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = True
    return Tokens(ids, mask)
