"""The seam between words and vectors. Nothing here knows a tokenizer or a network.

To add a text tower, write a class with these members and run `eyestream.testing.contracts_bank.TextEncoderContract`
on it; docs/howto/add-a-bank.md walks through one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eyestream.records import Digest, Vectors


class TextEncoder(Protocol):
    """Turns phrases into vectors of the space that one image encoder's embeddings live in."""

    @property
    def digest(self) -> Digest:
        """sha256 of the text tower, its vocabulary and padding policy included."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector: that of the image encoder's embeddings."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [n, dim], float32, row for row; [0, dim] for no texts.

        The same text gives the same vector whatever its neighbours, up to 1e-5 a number: a tower whose vectors depend
        on padding pads to a fixed length. Blocks; deterministic. Raises ValueError for a text it cannot read whole.
        """
        ...
