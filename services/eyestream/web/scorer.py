"""One picture at a time through the line's own intake, encoder and head. Stores nothing, sends nothing."""

from __future__ import annotations

from eyestream import records
from eyestream.errors import Rejected
from eyestream.judging import judge
from eyestream.records import ImageMeta, Screening
from eyestream.web.engine import EngineRoom, Room


class LineScorer:
    """The `Scorer` of a line.

    `at_once` bounds the pictures in work: beyond twice as many, a caller is told to come again.
    """

    def __init__(self, room: EngineRoom, *, at_once: int = 2) -> None:
        self._engines = room
        self._room = Room("scoring", at_once=at_once, waiting=at_once)

    async def score(self, value: bytes, meta: ImageMeta, *, content_type: str | None) -> Screening:
        """See `Scorer.score`."""
        async with self._room:
            engine = await self._engines.engine()
            capture = await self._engines.capture(engine, value, meta, content_type)
            embeddings = await self._engines.encode(engine, capture.pixels[None])
            [result] = judge(
                [capture],
                embeddings,
                banks=engine.banks,
                encoder=engine.encoder.spec.digest,
                preprocessing=engine.preprocessing.digest,
                encoded=records.now(),
            )
        if isinstance(result, Rejected):
            raise result
        return result
