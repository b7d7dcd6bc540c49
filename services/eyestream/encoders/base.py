"""The seam between pixels and vectors. Nothing here knows Triton or a network's architecture.

To add an encoder that Triton serves, add a TOML to build_engines/encoders; to add another kind of server, write a class
with these methods and run `eyestream.testing.contracts.EncoderContract` on it (docs/howto/add-an-encoder.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from eyestream.errors import Misconfigured
from eyestream.records import Digest, Pixels, Vectors

COLOURS: Final = 3
"""Channels of the pictures that the line sends, the grey ones too."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What the served engine says of itself; read back from the server at start, so nothing can drift.

    `height` and `width` are the input in pixels, `dim` the length of an embedding, `digest` the sha256 of the
    checkpoint's file, `preprocessing` a JSON object that `eyestream.decoding.Preprocessing` reads,
    `instances` how many copies of the model the server runs. `frames` is the number of B-scans where the encoder reads
    volumes, and `channels` the numbers of a pixel; the line itself sends colour pictures.
    """

    name: str
    digest: Digest
    height: int
    width: int
    dim: int
    max_batch: int
    instances: int
    preprocessing: str
    frames: int | None = None
    channels: int = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: height, width, channels, and before them the frames of a volume."""
        picture = (self.height, self.width, self.channels)
        return picture if self.frames is None else (self.frames, *picture)

    def require_pictures(self) -> None:
        """Raises Misconfigured when the engine reads anything but colour pictures, which is all that the line sends."""
        if self.frames is None and self.channels == COLOURS:
            return
        told = " x ".join(map(str, self.shape))
        raise Misconfigured(
            f"the engine {self.name} reads {told} numbers, and the line sends single pictures, height x width x 3: "
            "name another engine in [triton] model, and ask this one through Triton directly"
        )


class Encoder(Protocol):
    """Turns decoded pictures into embeddings."""

    @property
    def spec(self) -> EncoderSpec:
        """The engine in service. Does not block."""
        ...

    async def encode(self, pixels: Pixels) -> Vectors:
        """Embeddings [n, dim] of pictures [n, height, width, 3], row for row, n from 1 to max_batch.

        The same picture gives the same row whatever its batch-mates, up to the engine's stated tolerance. Raises
        Unavailable when the server is away, and only then; safe to repeat and to call concurrently. A row that is
        not finite is returned as it is: the line refuses that picture and keeps its batch-mates.
        """
        ...

    async def check(self) -> None:
        """Encode a canary picture and compare it with its first answer; raises Unavailable when that fails.

        A server's own readiness is not asked: Triton says ready while its model process is dead.
        """
        ...

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        ...
