"""`python -m eyestream.apps.smoke`: is every part of an installed line there, and does a picture come through it?

What `helm test` runs. It calls the same clients as a worker, with the same settings, and prints a line for each part.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from eyestream import settings as settings_module
from eyestream.apps.kafka import kafka_options, partitions
from eyestream.errors import EyestreamError, Misconfigured, Unavailable
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, HEADER_TRACEPARENT, ImageMeta, Screening
from eyestream.settings import Settings
from eyestream.telemetry import new_traceparent

TRITON_PATIENCE_S = 30.0


def run(
    settings: Annotated[Path | None, typer.Option(help="TOML file; EYESTREAM_* variables override it.")] = None,
    programme: Annotated[str, typer.Option(help="Send one drawn picture that this programme judges.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds that its result may take.")] = 120.0,
) -> None:
    """Check Triton, Kafka and Redis; with a programme, send one picture and read its result."""
    try:
        asyncio.run(check(settings_module.load(settings), programme=programme, timeout_s=timeout))
    except EyestreamError as error:
        sys.exit(f"eyestream: {error}")


async def check(settings: Settings, *, programme: str = "", timeout_s: float = 120.0) -> None:
    """Raises the first fault found; a picture without a result within `timeout_s` is Unavailable."""
    await _check_triton(settings)
    await asyncio.to_thread(check_kafka, settings)
    await _check_redis(settings)
    if programme:
        stored = await _send_and_wait(settings, programme, timeout_s)
        print(f"line: the picture of exam {stored.meta.exam_id} was screened and stored")


async def _check_triton(settings: Settings) -> None:
    from eyestream.encoders.triton import TritonEncoder

    triton = settings.triton
    encoder = await TritonEncoder.connect(
        triton.address, triton.model, timeout_s=max(triton.timeout_s, TRITON_PATIENCE_S)
    )
    await encoder.close()
    print(f"triton: {triton.address} serves {triton.model}, encoder {encoder.spec.digest[:12]}")


def check_kafka(settings: Settings) -> None:
    """Raises Unavailable or Misconfigured unless Kafka has both topics."""
    options = kafka_options(settings.kafka)
    found = partitions(options, options.topic, options.dead_letter_topic)
    missing = [name for name, count in found.items() if not count]
    if missing:
        raise Misconfigured(f"Kafka has no topic {', '.join(missing)}, or this user may not see it: create it.")
    print("kafka: " + ", ".join(f"{name} has {count} partitions" for name, count in found.items()))


async def _check_redis(settings: Settings) -> None:
    from eyestream.sinks.redis_reader import ResultsReader

    reader = ResultsReader(settings.redis.url.get_secret_value(), cluster=settings.redis.cluster)
    try:
        await reader.exam("smoke-test")
    finally:
        await reader.close()
    print("redis: answers, and holds a line's layout")


async def _send_and_wait(settings: Settings, programme: str, timeout_s: float) -> Screening:
    from eyestream.sinks.redis_reader import ResultsReader

    exam_id = f"smoke-{uuid.uuid4().hex[:16]}"
    await asyncio.to_thread(_send, settings, programme, exam_id)
    reader = ResultsReader(settings.redis.url.get_secret_value(), cluster=settings.redis.cluster)
    try:
        async with asyncio.timeout(timeout_s):
            while not (found := await reader.screenings(exam_id)):  # noqa: ASYNC110  # another process stores it
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise Unavailable(
            "line", f"exam {exam_id} has no result after {timeout_s:.0f} s: look at the workers and at the dead letters"
        ) from None
    finally:
        await reader.close()
    return found[0]


def _send(settings: Settings, programme: str, exam_id: str) -> None:
    import hashlib

    from kafka import KafkaProducer
    from kafka.errors import KafkaError
    from PIL import Image

    from eyestream.testing.eyes import Eye, render

    file = io.BytesIO()
    Image.fromarray(render(Eye(), 1, size=(960, 1280))).save(file, "JPEG", quality=90)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    meta = ImageMeta(
        image_id=hashlib.sha256(f"{exam_id}{digest}".encode()).hexdigest()[:32],
        exam_id=exam_id,
        subject_id=uuid.uuid4().hex,
        laterality="R",
        field="macula",
        site_id="smoke-test",
        device_id="smoke-test",
        captured_at=dt.datetime.now(dt.UTC),
        programme=programme,
        sha256=digest,
    )
    headers = {
        HEADER_META: meta.to_header(),
        HEADER_CONTENT_TYPE: b"image/jpeg",
        HEADER_TRACEPARENT: new_traceparent().encode(),
    }
    try:
        producer = KafkaProducer(**kafka_options(settings.kafka).producer_config())
        try:
            future = producer.send(
                settings.kafka.topic, key=exam_id.encode(), value=file.getvalue(), headers=list(headers.items())
            )
            future.get(timeout=30)
        finally:
            producer.close()
    except KafkaError as error:
        raise Unavailable("kafka", f"the picture was not taken: {error}") from error


if __name__ == "__main__":
    typer.run(run)
