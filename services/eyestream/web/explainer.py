"""Where in a picture its findings are, and the picture as the engine sees it; both made when asked for."""

from __future__ import annotations

import dataclasses
import io
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from eyestream import scoring
from eyestream.judging import refusal_of
from eyestream.occlusion import Doubles, Occlusion
from eyestream.records import Capture, Digest, ImageMeta, Pixels
from eyestream.web.engine import Engine, EngineRoom, Room

_QUALITY: Final = 88
_KNOWN: Final = 64
"""Explanations remembered; 20 kB each."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What each place of a picture speaks for each condition, by the engine and bank in service when it was made.

    `lost` [cells, cells, conditions] is what a condition's log-odds lose when the place is covered; `probabilities`
    and `log_odds` [conditions] are of the picture uncovered, and in the order of `conditions`.
    """

    encoder: Digest
    bank: Digest
    conditions: tuple[str, ...]
    probabilities: tuple[float, ...]
    log_odds: tuple[float, ...]
    lost: Doubles


class LineExplainer:
    """The `Explainer` of a line: one picture after another, one batch at a time.

    So the line's own batches come in between, and whoever looks at heat maps costs it at most one batch's wait. Beyond
    four who wait, a caller is told to come again.
    """

    def __init__(self, room: EngineRoom, *, views_at_once: int = 2) -> None:
        self._engines = room
        self._explaining = Room("explaining", at_once=1, waiting=4)
        self._viewing = Room("viewing", at_once=views_at_once, waiting=32)
        self._known: OrderedDict[tuple[str, ...], Explanation] = OrderedDict()

    async def seen(self, value: bytes, meta: ImageMeta, *, side: int, content_type: str | None) -> bytes:
        """See `Explainer.seen`."""
        async with self._viewing:
            engine = await self._engines.engine()
            intake = engine.intake
            times = max(1, math.ceil(side / min(intake.height, intake.width)))
            larger = dataclasses.replace(intake, height=times * intake.height, width=times * intake.width)
            shown = dataclasses.replace(engine, intake=larger)
            capture = await self._engines.capture(shown, value, meta, content_type)
            return await self._engines.run(_jpeg, capture.pixels)

    async def explain(self, value: bytes, meta: ImageMeta, *, content_type: str | None) -> Explanation:
        """See `Explainer.explain`."""
        async with self._explaining:
            engine = await self._engines.engine()
            capture = await self._engines.capture(engine, value, meta, content_type)
            bank = engine.banks[meta.programme].head.digest
            key = (meta.sha256, meta.laterality, str(meta.orientation), engine.encoder.spec.digest, bank)
            if key not in self._known:
                self._known[key] = await self._explain(engine, capture)
                if len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    async def _explain(self, engine: Engine, capture: Capture) -> Explanation:
        occlusion, head = Occlusion(capture.pixels), engine.banks[capture.meta.programme].head
        batches = occlusion.batches(engine.encoder.spec.max_batch)
        embeddings = []
        while (batch := await self._engines.run(next, batches, None)) is not None:
            embeddings.append(await self._engines.encode(engine, batch))
        vectors = np.concatenate(embeddings)
        for vector in vectors:
            if (refusal := refusal_of(vector)) is not None:
                raise refusal
        scores = scoring.probabilities(head, vectors, lateralities=[capture.meta.laterality] * len(vectors))
        return Explanation(
            encoder=engine.encoder.spec.digest,
            bank=head.digest,
            conditions=tuple(judge.condition for judge in head.judges),
            probabilities=tuple(scores.probabilities[0].tolist()),
            log_odds=tuple(scores.log_odds[0].tolist()),
            lost=occlusion.lost(scores.log_odds),
        )


def _jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
