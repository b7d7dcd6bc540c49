"""A text encoder without a model, for tests and examples: words that are shared bring phrases together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from eyestream.records import Digest, Vectors, digest


class FakeTextEncoder:
    """Deterministic unit vectors: each word has a direction of its own, and each phrase a little of its own besides.

    The same on every machine. `seed` makes another tower, whose vectors have nothing to do with this one's.
    """

    def __init__(self, dim: int = 32, *, seed: int = 0) -> None:
        self._dim, self._seed = dim, seed

    @property
    def digest(self) -> Digest:
        """Depends on dim and seed."""
        return digest("fake text encoder", str(self._dim), str(self._seed))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [n, dim]; raises ValueError for a text without a word."""
        vectors = np.zeros((len(texts), self._dim))
        for row, text in enumerate(texts):
            words = text.casefold().split()
            if not words:
                raise ValueError("a text without a word has no vector")
            vectors[row] = sum((self._direction(word) for word in words), 0.3 * self._direction(" ".join(words) + "."))
            vectors[row] /= np.linalg.norm(vectors[row])
        return vectors.astype(np.float32)

    def _direction(self, word: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        seed = hashlib.sha256(f"{self._seed}:{word}".encode()).digest()[:8]
        direction = np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(self._dim)
        return direction / np.linalg.norm(direction)
