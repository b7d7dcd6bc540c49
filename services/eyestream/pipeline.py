"""The line: messages → captures → batches → embeddings → screenings → stored → acknowledged.

Pull-based: the next message is taken only when there is room, so backpressure needs no code of its own. Nothing here
knows Kafka, Triton, Redis or Ray; the parts come in through their seams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from eyestream import records
from eyestream.banks.shelf import Bank
from eyestream.batching import Clock, MonotonicClock, batches
from eyestream.brokers.base import Broker
from eyestream.encoders.base import Encoder
from eyestream.errors import Rejected
from eyestream.intake import Intake, attempts_of, meta_of
from eyestream.judging import judge
from eyestream.patience import Patience
from eyestream.records import Batch, Capture, Message, Position, Screening, Unreadable, Vectors
from eyestream.sinks.base import Sink
from eyestream.telemetry import STAGES, Metrics, Verb
from eyestream.window import Window

log = logging.getLogger(__name__)

Banks = Callable[[], Mapping[str, Bank]]
"""Programme name → the bank in service, asked anew for each batch: that is all a hot swap takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much the line takes on at once.

    `depth` batches are with the encoder or the sink together; keep it at 2 × the encoder's instances, so that none
    idles while a batch travels. `decoders` pictures are decoded together. `max_wait_s` bounds how long a picture waits
    for its batch to fill.
    """

    max_batch: int = 8
    max_wait_s: float = 0.05
    depth: int = 4
    decoders: int = 2
    max_in_flight: int = 256
    max_in_flight_bytes: int = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a line is put together from; `eyestream.apps.wiring` chooses them."""

    broker: Broker
    encoder: Encoder
    sink: Sink
    banks: Banks
    intake: Intake
    executor: Executor
    metrics: Metrics
    patience: Patience


class Line:
    """One member of the consumer group, from the first message to the last acknowledgement.

    A position is acknowledged only when every earlier one of its partition is stored or in the dead letters: at least
    once in, and, since the sink keeps the first result under an identity, exactly once in effect.
    """

    def __init__(self, parts: Parts, pace: Pace, *, clock: Clock | None = None) -> None:
        self._parts, self._pace = parts, pace
        self._clock = clock or MonotonicClock()
        self._window = Window(max_pictures=pace.max_in_flight, max_bytes=pace.max_in_flight_bytes)
        self._depth = asyncio.Semaphore(pace.depth)
        self._moved = self._clock.time()
        self._stages = {stage: parts.metrics.stage_seconds.labels(stage) for stage in STAGES}

    async def run(self) -> None:
        """Screen until the broker is drained; returns when everything taken in is stored and acknowledged.

        Raises an ExceptionGroup when a fault of ours ends the line: the process must end, and what was in flight comes
        again. Cancelling it abandons what is in flight, unacknowledged.
        """
        async with asyncio.TaskGroup() as tasks:
            captures = self._captures(tasks)
            async for batch in batches(
                captures, max_size=self._pace.max_batch, max_wait_s=self._pace.max_wait_s, clock=self._clock
            ):
                await self._depth.acquire()
                tasks.create_task(self._screen(batch))

    @property
    def in_flight(self) -> int:
        """Pictures fetched and not yet acknowledged."""
        return self._window.pictures

    def stalled_s(self) -> float:
        """Seconds since a picture was last finished, while some are in flight and no part is away; else 0."""
        if self._window.pictures == 0 or self._parts.patience.waiting:
            self._moved = self._clock.time()
        return self._clock.time() - self._moved

    def _captures(self, tasks: asyncio.TaskGroup) -> AsyncIterator[Capture]:
        """Captures in the broker's order, several decoded at a time; starts the task that reads the broker."""
        decoding: asyncio.Queue[asyncio.Task[Capture | None] | None] = asyncio.Queue(self._pace.decoders)

        async def feed() -> None:
            async for message in self._parts.broker.messages():
                await self._window.open(message.position, nbytes=len(message.value))
                self._gauge()
                await decoding.put(tasks.create_task(self._capture(message)))
            await decoding.put(None)

        async def decoded() -> AsyncIterator[Capture]:
            while (task := await decoding.get()) is not None:
                if (capture := await task) is not None:
                    yield capture

        tasks.create_task(feed())
        return decoded()

    async def _capture(self, message: Message) -> Capture | None:
        """The message's picture, decoded; None when it went to the dead letters instead."""
        loop, parts = asyncio.get_running_loop(), self._parts
        started = self._clock.time()
        try:
            capture = await parts.patience.until(
                lambda: loop.run_in_executor(parts.executor, parts.intake.capture, message, parts.banks())
            )
        except Rejected as rejection:
            await self._refuse(message, rejection)
            return None
        self._observe("transit", message.fetched - message.produced)
        self._observe("decode", self._clock.time() - started)
        return capture

    async def _screen(self, batch: Batch) -> None:
        """Take one batch all the way: embeddings, screenings, stored, acknowledged."""
        try:
            embeddings = await self._embed(batch)
            screenings = []
            for capture, judged in zip(batch, self._judge(batch, embeddings), strict=True):
                if isinstance(judged, Rejected):
                    await self._refuse(capture.message, judged)
                else:
                    screenings.append(judged)
            await self._store(screenings)
            for screening in screenings:
                await self._finish(screening.position)
        finally:
            self._depth.release()

    async def _embed(self, batch: Batch) -> Vectors:
        started, sent = self._clock.time(), records.now()
        pixels = np.stack([capture.pixels for capture in batch])
        embeddings = await self._parts.patience.until(lambda: self._parts.encoder.encode(pixels))
        self._parts.metrics.batch_fill.observe(len(batch) / self._pace.max_batch)
        for capture in batch:
            self._observe("batch", sent - (capture.timings.decoded or sent))
            self._observe("encode", self._clock.time() - started)
        return embeddings

    def _judge(self, batch: Batch, embeddings: Vectors) -> list[Screening | Rejected]:
        started = self._clock.time()
        judged = judge(
            batch,
            embeddings,
            banks=self._parts.banks(),
            encoder=self._parts.encoder.spec.digest,
            preprocessing=self._parts.intake.preprocessing.digest,
            encoded=records.now(),
        )
        self._observe("score", self._clock.time() - started)
        return judged

    async def _store(self, screenings: Sequence[Screening]) -> None:
        """Returns once every result is stored, or found to be stored already."""
        if not screenings:
            return
        started, stored = self._clock.time(), records.now()
        timed = [replace(s, timings=replace(s.timings, stored=stored)) for s in screenings]
        outcomes = await self._parts.patience.until(lambda: self._parts.sink.store(timed))
        for screening, outcome in zip(timed, outcomes, strict=True):
            self._parts.metrics.pictures.labels(outcome).inc()
            self._observe("store", self._clock.time() - started)
            self._observe("total", records.now() - screening.timings.produced)

    async def _refuse(self, message: Message, rejection: Rejected) -> None:
        """Dead letter first, then a note in the picture's exam, then the acknowledgement: none can hide another."""
        parts = self._parts
        await parts.patience.until(lambda: parts.broker.dead_letter(message, rejection, attempts=attempts_of(message)))
        meta = meta_of(message)
        if meta is not None and meta.programme in parts.banks():
            note = Unreadable(meta=meta, reason=rejection.reason, explanation=rejection.explanation)
            await parts.patience.until(lambda: parts.sink.note_unreadable([note]))
        parts.metrics.pictures.labels("dead-lettered").inc()
        parts.metrics.dead_letters.labels(rejection.reason, rejection.stage).inc()
        log.warning(
            "dead letter: %s",
            rejection.explanation,
            extra={"action": Verb.DEAD_LETTERED, "reason": rejection.reason, "stage": rejection.stage},
        )
        await self._finish(message.position)

    async def _finish(self, position: Position) -> None:
        watermark = await self._window.done(position)
        self._moved = self._clock.time()
        self._gauge()
        if watermark is not None:
            await self._parts.broker.acknowledge(watermark)

    def _gauge(self) -> None:
        self._parts.metrics.in_flight.set(self._window.pictures)
        self._parts.metrics.in_flight_bytes.set(self._window.nbytes)

    def _observe(self, stage: str, seconds: float) -> None:
        self._stages[stage].observe(max(0.0, seconds))
