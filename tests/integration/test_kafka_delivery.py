"""What the Kafka broker promises beyond the contract: members that share, die, pause and meet odd records."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import UNREADABLE
from eyestream.brokers.kafka import KafkaBroker
from eyestream.brokers.redrive import read_dead_letters
from eyestream.brokers.topics import create_topics
from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.records import Message

pytestmark = pytest.mark.stack

PATIENCE_S = 20.0

MEMBER_THAT_DIES = """
import asyncio, sys
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.kafka import KafkaBroker

async def main():
    broker = KafkaBroker(KafkaOptions(bootstrap=sys.argv[1], topic=sys.argv[2], group=sys.argv[2]))
    count = 0
    async for message in broker.messages():
        count += 1
        if count <= 10:
            await broker.acknowledge(message.position)
        if count == 15:
            await asyncio.sleep(1)
            print("fifteen read, ten acknowledged", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def options(kafka_bootstrap: str) -> KafkaOptions:
    name = f"delivery-{uuid.uuid4().hex[:12]}"
    return KafkaOptions(bootstrap=kafka_bootstrap, topic=name, group=name)


@pytest.fixture
def producer(kafka_bootstrap: str) -> Iterator[KafkaProducer]:
    with KafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=8 * 2**20) as producer:
        yield producer


@pytest.fixture
async def member(options: KafkaOptions) -> AsyncIterator[Callable[[], KafkaBroker]]:
    made: list[KafkaBroker] = []

    def make() -> KafkaBroker:
        made.append(KafkaBroker(options))
        return made[-1]

    yield make
    await asyncio.gather(*(broker.close() for broker in made))


def put(producer: KafkaProducer, topic: str, values: list[bytes], *, partitions: int = 1) -> None:
    for number, value in enumerate(values):
        producer.send(topic, value=value, partition=number % partitions)
    producer.flush(30)


async def collect(broker: KafkaBroker, into: list[Message]) -> None:
    """Read and acknowledge until the broker is drained or closed."""
    async with aclosing(broker.messages()) as messages:
        async for message in messages:
            into.append(message)
            await broker.acknowledge(message.position)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is waited for happens in another process
            await asyncio.sleep(0.02)


async def test_members_that_come_and_go_lose_and_double_nothing(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=4)
    first, second = member(), member()
    by_first: list[Message] = []
    by_second: list[Message] = []
    numbers = iter(range(10_000))

    def put_more() -> list[bytes]:
        values = [b"%d" % next(numbers) for _ in range(40)]
        put(producer, options.topic, values, partitions=4)
        return values

    sent = put_more()
    staying = asyncio.create_task(collect(first, by_first))
    await until(lambda: len(by_first) == 40)
    coming = asyncio.create_task(collect(second, by_second))
    async with asyncio.timeout(PATIENCE_S):
        while not by_second:
            sent += put_more()
            await asyncio.sleep(0.1)
    await until(lambda: len(by_first) + len(by_second) >= len(sent))
    assert {m.position.partition for m in by_second} < {0, 1, 2, 3}
    await second.close()
    await coming
    sent += put_more()
    await until(lambda: len(by_first) + len(by_second) >= len(sent))
    await first.drain()
    await staying
    assert Counter(m.value for m in by_first + by_second) == Counter(sent)


async def test_a_killed_members_messages_come_again_within_the_session_time_out(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=1)
    put(producer, options.topic, [b"%d" % number for number in range(20)])
    arguments = [sys.executable, "-c", MEMBER_THAT_DIES, options.bootstrap, options.topic]
    dying = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    assert dying.stdout is not None
    assert (await dying.stdout.readline()).startswith(b"fifteen read")
    dying.kill()
    await dying.wait()
    killed = time.monotonic()
    read: list[Message] = []
    reading = asyncio.create_task(collect(heir := member(), read))
    await until(lambda: len(read) == 10)
    assert [int(message.value) for message in read] == list(range(10, 20))
    assert time.monotonic() - killed < options.session_timeout_s + 4
    await heir.close()
    await reading


async def test_a_reader_that_pauses_longer_than_the_session_keeps_its_place(
    options: KafkaOptions, producer: KafkaProducer, kafka_bootstrap: str
) -> None:
    create_topics(options, partitions=1)
    small = KafkaOptions(bootstrap=kafka_bootstrap, topic=options.topic, group=options.group, max_prefetch_messages=4)
    put(producer, options.topic, [b"%d" % number for number in range(30)])
    broker = KafkaBroker(small)
    messages = broker.messages()
    read = [await anext(messages)]
    await asyncio.sleep(options.session_timeout_s + 2)
    await broker.check()
    async with asyncio.timeout(PATIENCE_S):
        read += [await anext(messages) for _ in range(29)]
    await broker.close()
    assert [int(message.value) for message in read] == list(range(30))
    assert {message.position.epoch for message in read} == {1}


async def test_acknowledgements_are_written_down_together(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=1)
    put(producer, options.topic, [b"%d" % number for number in range(500)])
    read: list[Message] = []
    broker = member()
    started = time.monotonic()
    reading = asyncio.create_task(collect(broker, read))
    await until(lambda: len(read) == 500)
    await broker.close()
    await reading
    elapsed = time.monotonic() - started
    commits = await asyncio.to_thread(commits_of, options)
    assert [int(message.value) for message in read] == list(range(500))
    assert commits[-1] == 500
    assert len(commits) <= 2 + elapsed / options.commit_interval_s
    assert len(commits) < 100


def commits_of(options: KafkaOptions) -> list[int]:
    """Offsets of the group's commits, in order, from Kafka's own topic of them."""
    with KafkaConsumer(bootstrap_servers=options.bootstrap) as consumer:
        where = [TopicPartition("__consumer_offsets", p) for p in consumer.partitions_for_topic("__consumer_offsets")]
        consumer.assign(where)
        consumer.seek_to_beginning(*where)
        ends = consumer.end_offsets(where)
        found: list[int] = []
        while any(consumer.position(one) < end for one, end in ends.items()):
            for batch in consumer.poll(timeout_ms=1000).values():
                for record in batch:
                    is_commit = record.key[:2] in {b"\0\0", b"\0\1"}
                    if is_commit and options.topic.encode() in record.key and record.value:
                        found.append(int.from_bytes(record.value[2:10], "big"))
        return found


async def test_large_pictures_are_ready_several_together(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=1)
    put(producer, options.topic, [bytes(2 * 2**20)] * 12)
    broker = member()
    await anext(broker.messages())
    await until(lambda: broker.prefetched >= 8)


async def test_a_missing_topic_is_said_at_the_start(options: KafkaOptions) -> None:
    broker = KafkaBroker(options)
    with pytest.raises(Misconfigured, match=f"no topic '{options.topic}'"):
        await anext(broker.messages())
    await broker.close()


async def test_no_broker_at_the_start_is_unavailable() -> None:
    broker = KafkaBroker(KafkaOptions(bootstrap="127.0.0.1:1", start_timeout_s=0.5))
    with pytest.raises(Unavailable):
        await anext(broker.messages())
    await broker.close()


async def test_a_topic_deleted_while_reading_ends_the_reading(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=1)
    put(producer, options.topic, [b"picture"])
    messages = member().messages()
    await anext(messages)
    admin = KafkaAdminClient(bootstrap_servers=options.bootstrap)
    await asyncio.to_thread(admin.delete_topics, [options.topic])
    admin.close()
    async with asyncio.timeout(40):
        with pytest.raises(Misconfigured, match="no topic"):
            await anext(messages)


async def test_pictures_deleted_unread_stop_the_line_unless_told_otherwise(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=1)
    put(producer, options.topic, [b"%d" % number for number in range(10)])
    first = member()
    async with aclosing(first.messages()) as messages:
        await first.acknowledge((await anext(messages)).position)
    await first.close()
    admin = KafkaAdminClient(bootstrap_servers=options.bootstrap)
    await asyncio.to_thread(admin.delete_records, {TopicPartition(options.topic, 0): 5})
    admin.close()
    with pytest.raises(Misconfigured, match="deleted 4 pictures of partition 0"):
        await anext(member().messages())
    willing = KafkaBroker(
        KafkaOptions(bootstrap=options.bootstrap, topic=options.topic, group=options.group, skip_deleted=True)
    )
    assert (await anext(willing.messages())).value == b"5"
    await willing.close()


class UnreadableName(str):
    """A header name whose bytes are not UTF-8, as a client in C may send."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def test_a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_next_ones_arrive(
    options: KafkaOptions, producer: KafkaProducer, member: Callable[[], KafkaBroker]
) -> None:
    create_topics(options, partitions=2)
    for _ in range(300):  # enough for the interpreter to specialise the code that reads headers
        producer.send(options.topic, value=b"elsewhere", headers=[("content-type", b"image/jpeg")], partition=1)
    put(producer, options.topic, [b"before"])
    for value in (b"one", b"two"):
        producer.send(options.topic, value=value, headers=[(UnreadableName("x"), b"")], partition=0).get(10)
    put(producer, options.topic, [b"after"])
    broker = member()
    messages = broker.messages()
    async with asyncio.timeout(60):
        read = [await anext(messages) for _ in range(304)]
    mine = [message for message in read if message.position.partition == 0]
    assert [message.value for message in mine] == [b"before", b"one", b"two", b"after"]
    assert [message.position.offset for message in mine] == [0, 1, 2, 3]
    assert UNREADABLE in mine[1].headers
    await broker.dead_letter(mine[1], Rejected("no-meta", "The header is missing.", stage="meta"), attempts=1)
    (letter,) = await asyncio.to_thread(read_dead_letters, options)
    assert letter.reason == "unreadable-record"
    assert letter.original.offset == 1
