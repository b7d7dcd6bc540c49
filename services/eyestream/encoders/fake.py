"""An encoder without a network: deterministic, so that a test can tell whose embedding it holds. Shipped for tests."""

from __future__ import annotations

import asyncio
import hashlib

import numpy as np

from eyestream.encoders.base import EncoderSpec
from eyestream.errors import Unavailable
from eyestream.records import Pixels, Vectors, digest


class FakeEncoder:
    """Implements `Encoder`; a picture's embedding is drawn from the hash of its pixels.

    `unavailable(n)` makes the next n calls fail; `poison(pixels)` makes that picture's row NaN; `gate`, when cleared,
    holds every call until it is set, so that a test decides the order in which batches finish.
    """

    def __init__(self, *, height: int = 8, width: int = 8, dim: int = 16, max_batch: int = 8) -> None:
        self._spec = EncoderSpec(
            name="fake",
            digest=digest("fake-encoder", str(dim)),
            height=height,
            width=width,
            dim=dim,
            max_batch=max_batch,
            instances=1,
            preprocessing="{}",
        )
        self._failures = 0
        self._poisoned: set[bytes] = set()
        self.batches: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder says of itself."""
        return self._spec

    def unavailable(self, times: int) -> None:
        """Fail the next calls."""
        self._failures = times

    def poison(self, pixels: Pixels) -> None:
        """Give this picture no finite embedding from now on."""
        self._poisoned.add(pixels.tobytes())

    def embedding(self, pixels: Pixels) -> Vectors:
        """What `encode` gives this picture [height, width, 3], as [dim]."""
        raw = pixels.tobytes()
        seed = int.from_bytes(hashlib.sha256(raw).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(self._spec.dim).astype(np.float32)
        if raw in self._poisoned:
            vector[:] = np.nan
        return vector / np.linalg.norm(vector)

    async def encode(self, pixels: Pixels) -> Vectors:
        """Embeddings [n, dim] of pictures [n, height, width, 3]."""
        await self.gate.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("encoder", "the script says so")
        self.batches.append(len(pixels))
        return np.stack([self.embedding(one) for one in pixels])

    async def check(self) -> None:
        """Raises Unavailable while the script says so."""
        if self._failures:
            raise Unavailable("encoder", "the script says so")

    async def close(self) -> None:
        """Nothing to drop."""
