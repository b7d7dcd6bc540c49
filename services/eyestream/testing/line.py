"""A whole line over parts in memory, stepped by hand: for tests of the line and of a part of your own in it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from eyestream import triage
from eyestream.banks.build import build
from eyestream.banks.shelf import Bank
from eyestream.brokers.memory import MemoryBroker, MemoryTopic
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.base import Encoder
from eyestream.encoders.fake import FakeEncoder
from eyestream.intake import Intake
from eyestream.patience import LONGEST_WAIT_S, Patience
from eyestream.pipeline import Line, Pace, Parts
from eyestream.programmes import Programme
from eyestream.records import ImageMeta
from eyestream.sinks.memory import MemorySink
from eyestream.telemetry import Metrics
from eyestream.testing.badpictures import good_headers
from eyestream.testing.clock import SteppingClock
from eyestream.testing.messages import meta_for, png
from eyestream.testing.texts import FakeTextEncoder


class MemoryLine:
    """The line over a MemoryTopic, a FakeEncoder, or one of yours, and a MemorySink; time passes only in `step`.

    `start` makes a fresh member, as after a restart, over the same topic, encoder and sink.
    """

    def __init__(self, *, partitions: int = 1, pace: Pace | None = None, encoder: Encoder | None = None) -> None:
        self.pace = pace or Pace(max_batch=4, max_wait_s=0.01, depth=2, decoders=3, max_in_flight=32)
        self.topic = MemoryTopic(partitions=partitions)
        self.fake = FakeEncoder()
        self.encoder: Encoder = encoder or self.fake
        self.programme = Programme.builtin("demo")
        self.intake = Intake(
            preprocessing=Preprocessing(),
            height=self.encoder.spec.height,
            width=self.encoder.spec.width,
            limits=Limits(min_side=1),
        )
        self.banks = {"demo": self.bank()}
        self.sink = MemorySink(lambda _, exam, pictures: triage.decide(self.programme, exam, pictures))
        self.metrics = Metrics()
        self.clock = SteppingClock()
        self.patience = Patience(self.metrics, clock=self.clock)
        self.start()

    def bank(self, *, seed: int = 0) -> Bank:
        """A bank for the encoder; another seed is another bank."""
        head = build(
            self.programme,
            FakeTextEncoder(self.encoder.spec.dim, seed=seed),
            encoder_digest=self.encoder.spec.digest,
            preprocessing_digest=self.intake.preprocessing.digest,
        )
        return Bank(self.programme, head)

    def start(self) -> None:
        """Make a new member; `run` runs it."""
        self.broker = MemoryBroker(self.topic)
        parts = Parts(
            broker=self.broker,
            encoder=self.encoder,
            sink=self.sink,
            banks=lambda: self.banks,
            intake=self.intake,
            executor=ThreadPoolExecutor(2),
            metrics=self.metrics,
            patience=self.patience,
        )
        self.line = Line(parts, self.pace, clock=self.clock)

    def put(self, seed: int, *, exam_id: str = "exam-1", partition: int = 0, programme: str = "demo") -> ImageMeta:
        """Send the seed's picture."""
        value = png(seed)
        return self.send(value, meta_for(value, exam_id=exam_id, programme=programme), partition=partition)

    def put_broken(self, seed: int, *, exam_id: str = "exam-1", partition: int = 0) -> ImageMeta:
        """Send the seed's picture with its end cut off."""
        value = png(seed)[:-40]
        return self.send(value, meta_for(value, exam_id=exam_id), partition=partition)

    def send(self, value: bytes, meta: ImageMeta, *, partition: int = 0) -> ImageMeta:
        """Send any file under any metadata."""
        self.topic.put(value, headers=good_headers(meta, "image/png"), partition=partition)
        return meta

    async def step(self, seconds: float = LONGEST_WAIT_S) -> None:
        """Pass time, and give the decoding threads a turn."""
        await self.clock.advance(seconds)
        await asyncio.to_thread(lambda: None)
        await self.clock.advance(0)

    async def until_acknowledged(self, *, steps: int = 2000) -> None:
        """Step until everything sent is acknowledged; AssertionError when that takes too long."""
        for _ in range(steps):
            if self.unacknowledged() == 0:
                return
            await self.step()
        raise AssertionError(f"{self.unacknowledged()} messages are still not acknowledged")

    async def drain(self, running: asyncio.Task[None], *, steps: int = 2000) -> None:
        """Drain and step until the line has ended; raises what ended it, AssertionError when that takes too long.

        What came again after it was acknowledged may still be waiting for time to pass, so awaiting `running` is not
        enough.
        """
        await self.broker.drain()
        for _ in range(steps):
            if running.done():
                return await running
            await self.step()
        raise AssertionError(f"{self.line.in_flight} pictures are still in flight")

    async def run(self) -> None:
        """Screen everything sent, then drain; raises what ended the line."""
        running = asyncio.create_task(self.line.run())
        waiting = asyncio.create_task(self.until_acknowledged())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await self.drain(running)
        await self.broker.close()

    def unacknowledged(self) -> int:
        """Messages that are not acknowledged."""
        return sum(len(sent) - self.topic.acknowledged[partition] for partition, sent in self.topic.messages.items())

    def counted(self, fate: str) -> float:
        """Pictures with this fate, as the metric has it."""
        return self.metrics.registry.get_sample_value("eyestream_pictures_total", {"fate": fate}) or 0.0
