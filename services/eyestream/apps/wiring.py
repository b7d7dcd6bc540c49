"""Names in settings → objects: the one place that chooses implementations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from eyestream import triage
from eyestream.apps import stores
from eyestream.apps.kafka import kafka_options
from eyestream.banks.shelf import Bank, Shelf
from eyestream.brokers.kafka import KafkaBroker
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream.intake import Intake
from eyestream.patience import Patience
from eyestream.pipeline import Pace, Parts
from eyestream.programmes import Programme
from eyestream.records import Decision, Digest, Picture
from eyestream.settings import Kafka, Settings
from eyestream.sinks.redis import RedisSink
from eyestream.telemetry import Metrics, Verb

log = logging.getLogger(__name__)


class BanksInService:
    """The shelf's current banks for one engine, exchanged while the line runs; one that does not fit is not taken."""

    def __init__(self, shelf: Shelf, *, encoder: Digest, preprocessing: Digest, metrics: Metrics) -> None:
        self._shelf, self._metrics, self._encoder = shelf, metrics, encoder
        self._banks: Mapping[str, Bank] = shelf.open(encoder, preprocessing)
        if not self._banks:
            raise Misconfigured(
                "No bank is in service: publish one with `eyestream bank build PROGRAMME --activate` before starting."
            )
        for name, bank in self._banks.items():
            self._metrics.bank_info.labels(name, bank.head.digest, encoder).set(1)

    def __call__(self) -> Mapping[str, Bank]:
        """The banks in service now. Does not block."""
        return self._banks

    def refresh(self) -> None:
        """Look at the pointers and take what changed. Blocks for a few file operations."""
        changed = self._shelf.poll()
        if not changed:
            return
        before = self._banks
        self._banks = {**before, **changed}
        for name, bank in changed.items():
            if name in before:
                self._metrics.bank_info.remove(name, before[name].head.digest, self._encoder)
            self._metrics.bank_info.labels(name, bank.head.digest, self._encoder).set(1)
            self._metrics.bank_swaps.labels(name).inc()
            log.info("bank exchanged", extra={"action": Verb.SWAPPED, "programme": name, "bank": bank.head.digest})

    def retention_s(self, programme: str) -> float:
        """How long the programme's results are kept."""
        return self._programme(programme).retention.results_days * 86_400.0

    def decide(self, programme: str, exam_id: str, pictures: Sequence[Picture]) -> Decision:
        """One exam's decision under its programme's rules as they stand now."""
        return triage.decide(self._programme(programme), exam_id, pictures)

    def _programme(self, name: str) -> Programme:
        """An exam keeps the programme of its first picture, whatever its later pictures say."""
        if name not in self._banks:
            raise Misconfigured(
                f"An exam of programme {name!r} got a picture, and no bank is in service for that programme any more:"
                " put one back with `eyestream bank build PROGRAMME --activate` until its exams are done."
            )
        return self._banks[name].programme


@dataclass(frozen=True, slots=True)
class Wired:
    """What a line runs on, put together."""

    parts: Parts
    pace: Pace
    banks: BanksInService


async def connect(settings: Settings, metrics: Metrics) -> Wired:
    """Every part of the line, connected; waits for parts that are away and raises Misconfigured when two do not fit."""
    stores.require(settings.pictures.references, named="pictures.references")
    patience = Patience(metrics)
    encoder = await patience.until(
        lambda: TritonEncoder.connect(
            settings.triton.address,
            settings.triton.model,
            timeout_s=settings.triton.timeout_s,
            may_reload=settings.triton.may_reload,
        )
    )
    encoder.spec.require_pictures()
    preprocessing = Preprocessing.from_json(encoder.spec.preprocessing)
    banks = await asyncio.to_thread(
        BanksInService,
        Shelf(settings.banks.shelf),
        encoder=encoder.spec.digest,
        preprocessing=preprocessing.digest,
        metrics=metrics,
    )
    redis = settings.redis
    sink = RedisSink(
        redis.url.get_secret_value(),
        decide=banks.decide,
        cluster=redis.cluster,
        shards=redis.shards,
        retention=banks.retention_s,
        wait_replicas=redis.wait_replicas,
        wait_fsync=redis.wait_fsync,
        wait_timeout_ms=redis.wait_timeout_ms,
    )
    await patience.until(sink.check)
    line = settings.line
    parts = Parts(
        broker=broker(settings.kafka),
        encoder=encoder,
        sink=sink,
        banks=banks,
        intake=Intake(
            preprocessing=preprocessing,
            height=encoder.spec.height,
            width=encoder.spec.width,
            limits=Limits(max_bytes=settings.pictures.max_bytes, max_pixels=settings.pictures.max_pixels),
            references=settings.pictures.references,
        ),
        executor=ThreadPoolExecutor(line.decoders, thread_name_prefix="decode"),
        metrics=metrics,
        patience=patience,
    )
    pace = Pace(
        max_batch=min(line.max_batch, encoder.spec.max_batch),
        max_wait_s=line.max_wait_s,
        depth=line.depth or 2 * encoder.spec.instances,
        decoders=line.decoders,
        max_in_flight=line.max_in_flight,
        max_in_flight_bytes=line.max_in_flight_bytes,
    )
    return Wired(parts=parts, pace=pace, banks=banks)


def broker(kafka: Kafka) -> KafkaBroker:
    """The broker these settings name, not yet connected."""
    return KafkaBroker(kafka_options(kafka))
