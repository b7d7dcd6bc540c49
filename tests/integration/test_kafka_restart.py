"""Kafka killed and started again under a reading member: nothing lost, nobody has to be restarted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing

import pytest
from kafka import KafkaProducer

from eyestream.apps.local import Stack
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.kafka import KafkaBroker
from eyestream.brokers.redrive import read_dead_letters
from eyestream.brokers.topics import create_topics
from eyestream.errors import Rejected, Unavailable
from eyestream.records import Message

pytestmark = pytest.mark.stack


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  what is waited for happens in another process
            await asyncio.sleep(0.05)


async def until_unavailable(broker: KafkaBroker) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await broker.check()
            except Unavailable:
                return
            await asyncio.sleep(0.1)


async def collect(broker: KafkaBroker, into: list[Message]) -> None:
    async with aclosing(broker.messages()) as messages:
        async for message in messages:
            into.append(message)
            await broker.acknowledge(message.position)


def put(options: KafkaOptions, first: int, count: int) -> None:
    with KafkaProducer(bootstrap_servers=options.bootstrap) as producer:
        for number in range(first, first + count):
            producer.send(options.topic, value=b"%d" % number, partition=number % 2)
        producer.flush(30)


@pytest.mark.timeout(180)
async def test_kafka_killed_and_started_again_loses_nothing(stack: Stack, kafka_bootstrap: str) -> None:
    name = f"restart-{uuid.uuid4().hex[:12]}"
    options = KafkaOptions(bootstrap=kafka_bootstrap, topic=name, group=name, close_timeout_s=2.0)
    create_topics(options, partitions=2)
    put(options, 0, 100)
    read: list[Message] = []
    staying, leaving = KafkaBroker(options), KafkaBroker(KafkaOptions(bootstrap=kafka_bootstrap, topic=name, group="b"))
    reading = asyncio.create_task(collect(staying, read))
    other = leaving.messages()
    await anext(other)
    await until(lambda: len(read) == 100)
    stack.kill("kafka")
    try:
        await until_unavailable(staying)
        with pytest.raises(Unavailable):
            await staying.dead_letter(read[0], Rejected("truncated", "The file ends early."), attempts=1)
        began = time.monotonic()
        await leaving.close()
        assert time.monotonic() - began < 20
    finally:
        await asyncio.to_thread(stack.start, "kafka")
    await asyncio.to_thread(put, options, 100, 100)
    await until(lambda: len({message.value for message in read}) == 200)
    await staying.check()
    await staying.dead_letter(read[0], Rejected("truncated", "The file ends early."), attempts=1)
    await staying.close()
    await reading
    assert {int(message.value) for message in read} == set(range(200))
    assert len(await asyncio.to_thread(read_dead_letters, options)) == 1
    heir = KafkaBroker(options)
    put(options, 200, 1)
    async with asyncio.timeout(30):
        assert (await anext(heir.messages())).value == b"200"
    await heir.close()
