from __future__ import annotations

import pytest

from eyestream.brokers.memory import MemoryBroker, MemoryTopic
from eyestream.errors import Rejected, Unavailable
from eyestream.records import Position


async def test_members_share_the_partitions() -> None:
    topic = MemoryTopic(partitions=2)
    first, second = MemoryBroker(topic), MemoryBroker(topic)
    topic.put(b"zero", partition=0)
    source = first.messages()
    await anext(source)
    other = second.messages()
    topic.put(b"one", partition=1)
    assert (await anext(other)).position.partition == 1
    assert (await anext(source)).position.partition == 0


async def test_a_crash_leaves_the_partitions_to_the_others() -> None:
    topic = MemoryTopic()
    topic.put(b"picture")
    first, second = MemoryBroker(topic), MemoryBroker(topic)
    await anext(first.messages())
    first.crash()
    assert (await anext(second.messages())).value == b"picture"


async def test_a_rebalance_hands_out_again_what_was_not_acknowledged() -> None:
    topic = MemoryTopic()
    topic.put(b"picture")
    broker = MemoryBroker(topic)
    source = broker.messages()
    before = await anext(source)
    topic.rebalance()
    after = await anext(source)
    assert after.value == before.value
    assert after.position == Position(topic.name, 0, 0, before.position.epoch + 1)


async def test_it_is_unavailable_as_often_as_scripted() -> None:
    topic = MemoryTopic()
    topic.put(b"picture")
    broker = MemoryBroker(topic)
    message = await anext(broker.messages())
    topic.unavailable(2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await broker.dead_letter(message, Rejected("truncated", "Send it again."), attempts=1)
    await broker.dead_letter(message, Rejected("truncated", "Send it again."), attempts=1)
    assert [letter.message for letter in topic.dead_letters] == [message]


async def test_it_can_be_away_at_the_start() -> None:
    topic = MemoryTopic()
    topic.unavailable(1)
    broker = MemoryBroker(topic)
    with pytest.raises(Unavailable):
        await anext(broker.messages())
    topic.put(b"picture")
    assert (await anext(broker.messages())).value == b"picture"


async def test_acknowledgements_can_be_looked_at() -> None:
    topic = MemoryTopic(partitions=2)
    for partition in (0, 1, 1):
        topic.put(b"picture", partition=partition)
    broker = MemoryBroker(topic)
    source = broker.messages()
    for _ in range(3):
        await broker.acknowledge((await anext(source)).position)
    assert topic.acknowledged == {0: 1, 1: 2}


async def test_messages_can_be_asked_for_once() -> None:
    broker = MemoryBroker()
    broker.topic.put(b"picture")
    await anext(broker.messages())
    with pytest.raises(RuntimeError, match="once"):
        await anext(broker.messages())
