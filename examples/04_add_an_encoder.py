"""An encoder of one's own: here a colour histogram, which needs no server. Run it: it screens three drawn eyes."""

from __future__ import annotations

import asyncio

import numpy as np

from eyestream.encoders.base import EncoderSpec
from eyestream.records import Pixels, Vectors, digest
from eyestream.testing.line import MemoryLine


class HistogramEncoder:
    """Implements `eyestream.encoders.base.Encoder`: how often each of 8 levels of each colour occurs."""

    spec = EncoderSpec(
        name="histogram",
        digest=digest("histogram encoder, 8 levels"),
        height=8,
        width=8,
        dim=24,
        max_batch=16,
        instances=1,
        preprocessing="{}",
    )

    async def encode(self, pixels: Pixels) -> Vectors:
        """Unit vectors [n, 24] of pictures [n, 8, 8, 3]."""
        levels = np.eye(8, dtype=np.float32)[pixels // 32]
        counts = levels.mean(axis=(1, 2)).reshape(len(pixels), -1)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    async def check(self) -> None:
        """There is no server that could be away."""

    async def close(self) -> None:
        """There is no connection to drop."""


async def main() -> None:
    """Screen three pictures with it."""
    line = MemoryLine(encoder=HistogramEncoder())
    for seed in range(3):
        line.put(seed, exam_id=f"exam-{seed}")
    await line.run()
    for seed in range(3):
        (screening,) = await line.sink.screenings(f"exam-{seed}")
        loudest = max(screening.findings, key=lambda finding: finding.probability)
        print(f"exam-{seed}: {loudest.condition} {loudest.probability:.2f}, encoder {screening.identity.encoder[:12]}")


if __name__ == "__main__":
    asyncio.run(main())
