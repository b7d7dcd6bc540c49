"""`eyestream status`: each part of the line asked by really using it, and what the workers say of themselves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from eyestream import settings as settings_module
from eyestream.apps.kafka import kafka_options
from eyestream.apps.members import members
from eyestream.banks.shelf import Shelf
from eyestream.brokers.connection import KafkaOptions, require_answer, translated
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import EyestreamError, Unavailable
from eyestream.settings import Settings
from eyestream.telemetry import FATES

_PATIENCE_S: Final = 5.0
"""How long Kafka is waited for: for a connection, and then for Kafka behind it."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part of the line: whether it answers, and a sentence on how it stands."""

    part: str
    well: bool
    told: str


async def statuses(settings: Settings) -> list[PartStatus]:
    """Every part, asked at the same time; none hides another's answer."""
    return list(
        await asyncio.gather(
            _ask("kafka", lambda: asyncio.to_thread(_kafka, kafka_options(settings.kafka))),
            _ask("triton", lambda: _triton(settings)),
            _ask("redis", lambda: _redis(settings)),
            _ask("banks", lambda: asyncio.to_thread(_banks, settings)),
            _ask("workers", lambda: asyncio.to_thread(_workers, settings)),
        )
    )


def status(
    settings_file: Annotated[
        Path | None, typer.Option("--settings", "-s", help="TOML file; EYESTREAM_* variables override it.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """Ask every part of the line how it stands; exit 1 when one does not answer."""
    told = asyncio.run(statuses(settings_module.load(settings_file)))
    if as_json:
        for one in told:
            typer.echo(json.dumps({"part": one.part, "well": one.well, "told": one.told}))
    else:
        table = Table("part", "", "how it stands", box=None)
        for one in told:
            table.add_row(one.part, "[green]well[/]" if one.well else "[red]away[/]", one.told)
        Console().print(table)
    if not all(one.well for one in told):
        raise typer.Exit(1)


async def _ask(part: str, question: Callable[[], Awaitable[str]]) -> PartStatus:
    try:
        return PartStatus(part, well=True, told=await question())
    except EyestreamError as error:
        return PartStatus(part, well=False, told=str(error))


def _kafka(options: KafkaOptions) -> str:
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    require_answer(options, within_s=_PATIENCE_S)
    try:
        ours = {"group_id": options.group, "bootstrap_timeout_ms": round(1000 * _PATIENCE_S)}
        consumer = KafkaConsumer(**{**options.consumer_config(), **ours})
        try:
            waiting, counts = {}, {}
            for topic in (options.topic, options.dead_letter_topic):
                partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
                if not partitions:
                    raise Unavailable("kafka", f"the topic {topic} does not exist")
                begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
                done = {part: (consumer.committed(part) if topic == options.topic else None) for part in partitions}
                waiting[topic] = sum(ends[part] - max(begins[part], done[part] or 0) for part in partitions)
                counts[topic] = len(partitions)
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise translated(error) from error
    return (
        f"{waiting[options.topic]} pictures wait in {options.topic} (partitions: {counts[options.topic]}), "
        f"{waiting[options.dead_letter_topic]} records in {options.dead_letter_topic}"
    )


async def _triton(settings: Settings) -> str:
    triton = settings.triton
    encoder = await TritonEncoder.connect(triton.address, triton.model, timeout_s=triton.timeout_s)
    try:
        started = time.perf_counter()
        await encoder.check()
        took_ms = 1000 * (time.perf_counter() - started)
    finally:
        await encoder.close()
    spec = encoder.spec
    return (
        f"{spec.name} {spec.digest[:12]}, {spec.height}×{spec.width} → {spec.dim}, {spec.instances} instances, "
        f"canary answered in {took_ms:.0f} ms"
    )


async def _redis(settings: Settings) -> str:
    from eyestream.records import now, utc
    from eyestream.sinks.redis_reader import ResultsReader

    reader = ResultsReader(settings.redis.url.get_secret_value(), cluster=settings.redis.cluster)
    try:
        await reader.exam("none")  # where no bank is in service, nothing below asks Redis anything
        told = []
        for programme in Shelf(settings.banks.shelf).programmes():
            counts = await reader.counts(programme, utc(now()).date())
            told.append(f"{programme} today: " + ", ".join(f"{value} {name}" for name, value in sorted(counts.items())))
    finally:
        await reader.close()
    return "; ".join(told) or "answers"


def _banks(settings: Settings) -> str:
    shelf = Shelf(settings.banks.shelf)
    serving = [(name, bank) for name in shelf.programmes() if (bank := shelf.current(name)) is not None]
    if not serving:
        raise Unavailable("banks", "none is in service: `eyestream bank build PROGRAMME --activate`")
    return ", ".join(f"{name} {bank.head.digest[:12]}" for name, bank in serving)


def _workers(settings: Settings) -> str:
    folder = settings.telemetry.members
    if folder is None:
        return "not watched from here: telemetry.members names no folder"
    told = []
    found = members(folder)
    for member in found:
        if member.figures is None:
            told.append(f"{member.pid} does not answer: it was killed")
            continue
        counted = ", ".join(f"{member.fates[fate]} {fate}" for fate in FATES)
        told.append(f"{member.pid}: {counted}" + "".join(f", waits for {part}" for part in member.waits_for))
    if all(member.figures is None for member in found):
        raise Unavailable("workers", "; ".join([*told, "none runs: `eyestream screening run`"]))
    return "; ".join(told)
