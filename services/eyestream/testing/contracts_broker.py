"""What every broker must do, as tests. Subclass BrokerContract, give it a world, and pytest runs it on yours.

Nothing here knows Kafka; docs/howto/add-a-broker.md walks through one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import pytest

from eyestream.brokers.base import Broker
from eyestream.errors import Rejected
from eyestream.records import Message, Position


class BrokerWorld(Protocol):
    """What the suite needs around a broker: one topic of two partitions, new to each test.

    `patience_s` is how long anything that must happen may take; `prefetch` how many messages, at most, a member may
    hold for a reader that does not ask.
    """

    patience_s: float
    prefetch: int

    async def put(
        self, value: bytes, *, partition: int = 0, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Append a message to the partition; durable when it returns."""
        ...

    def member(self) -> Broker:
        """A new member of the one group. The world closes what a test leaves open."""
        ...

    async def crash(self, member: Broker) -> None:
        """End the member without another word, or with `close` where a process cannot do worse to itself."""
        ...

    async def reassign(self, member: Broker) -> None:
        """Take at least one partition away from this only member and give it back."""
        ...

    async def dead_letters(self) -> list[tuple[bytes, Mapping[str, bytes]]]:
        """Value and headers of every dead letter so far.

        Headers hold at least what the message had, and `eyestream-reason`, `eyestream-stage`, `eyestream-explanation`
        and `eyestream-attempts`.
        """
        ...

    async def prefetched(self, member: Broker) -> int:
        """How many messages the member holds that nobody has asked for, once it has had time to fetch more."""
        ...


class BrokerContract:
    """Override the fixture `world`; leave the tests as they are."""

    @pytest.fixture
    def world(self) -> BrokerWorld:
        """The broker under test and what is around it."""
        raise NotImplementedError("override the fixture `world` in your subclass of BrokerContract")

    async def test_messages_of_a_partition_come_in_order(self, world: BrokerWorld) -> None:
        for number in range(20):
            await world.put(b"%d" % number, partition=number % 2)
        messages = await read(world, world.member(), 20)
        for partition in (0, 1):
            mine = [message for message in messages if message.position.partition == partition]
            assert [message.position.offset for message in mine] == list(range(10))
            assert [int(message.value) for message in mine] == list(range(partition, 20, 2))

    async def test_a_message_arrives_byte_for_byte(self, world: BrokerWorld) -> None:
        value = bytes(range(256)) * 10
        await world.put(value, key=b"exam-1", headers={"content-type": b"image/jpeg", "eyestream-meta": b"{}"})
        (message,) = await read(world, world.member(), 1)
        assert message.value == value
        assert message.key == b"exam-1"
        assert dict(message.headers) == {"content-type": b"image/jpeg", "eyestream-meta": b"{}"}
        assert message.fetched >= message.produced

    async def test_a_message_put_while_the_reader_waits_arrives(self, world: BrokerWorld) -> None:
        member = world.member()
        reading = asyncio.ensure_future(read(world, member, 2))
        await world.put(b"first")
        await world.put(b"second")
        assert [message.value for message in await reading] == [b"first", b"second"]

    async def test_what_was_not_acknowledged_comes_again_after_a_crash(self, world: BrokerWorld) -> None:
        for number in range(4):
            await world.put(b"%d" % number)
        member = world.member()
        messages = await read(world, member, 4)
        await member.acknowledge(messages[1].position)
        await member.close()
        again = await read(world, world.member(), 2)
        assert [message.value for message in again] == [b"2", b"3"]

    async def test_nothing_comes_again_that_was_acknowledged_and_closed(self, world: BrokerWorld) -> None:
        for number in range(3):
            await world.put(b"%d" % number)
        member = world.member()
        await member.acknowledge((await read(world, member, 3))[-1].position)
        await member.close()
        await world.put(b"next")
        (message,) = await read(world, world.member(), 1)
        assert message.value == b"next"

    async def test_everything_comes_again_when_nothing_was_acknowledged(self, world: BrokerWorld) -> None:
        for number in range(3):
            await world.put(b"%d" % number)
        member = world.member()
        await read(world, member, 3)
        await world.crash(member)
        again = await read(world, world.member(), 3)
        assert [message.value for message in again] == [b"0", b"1", b"2"]

    async def test_acknowledging_twice_or_backwards_changes_nothing(self, world: BrokerWorld) -> None:
        for number in range(4):
            await world.put(b"%d" % number)
        member = world.member()
        messages = await read(world, member, 4)
        for position in (messages[2].position, messages[2].position, messages[0].position):
            await member.acknowledge(position)
        await member.close()
        (message,) = await read(world, world.member(), 1)
        assert message.value == b"3"

    async def test_acknowledging_what_was_never_handed_out_is_a_bug(self, world: BrokerWorld) -> None:
        for number in range(3):
            await world.put(b"%d" % number)
        member = world.member()
        (first,) = await read(world, member, 1)
        at = first.position
        with pytest.raises(ValueError, match="not handed out"):
            await member.acknowledge(Position(at.topic, at.partition, at.offset + 1, at.epoch))

    async def test_an_acknowledgement_of_an_earlier_assignment_is_ignored(self, world: BrokerWorld) -> None:
        await world.put(b"zero", partition=0)
        await world.put(b"one", partition=1)
        member = world.member()
        source = member.messages()
        before = {m.position.partition: m for m in [await following(world, source), await following(world, source)]}
        await world.reassign(member)
        again = await following(world, source)
        old = before[again.position.partition]
        assert again.value == old.value
        assert again.position.epoch > old.position.epoch
        await member.acknowledge(old.position)
        await world.crash(member)
        once_more = await read(world, world.member(), 2)
        assert {message.value for message in once_more} == {b"zero", b"one"}

    async def test_a_dead_letter_holds_the_message_and_the_reason(self, world: BrokerWorld) -> None:
        await world.put(b"\xff\xd8 not a picture", key=b"exam-1", headers={"content-type": b"image/jpeg"})
        member = world.member()
        (message,) = await read(world, member, 1)
        rejection = Rejected("truncated", "The file ends early: send it again.", stage="decoding")
        await member.dead_letter(message, rejection, attempts=2)
        ((value, headers),) = await world.dead_letters()
        assert value == message.value
        assert headers["content-type"] == b"image/jpeg"
        assert headers["eyestream-reason"] == b"truncated"
        assert headers["eyestream-stage"] == b"decoding"
        assert headers["eyestream-explanation"] == b"The file ends early: send it again."
        assert headers["eyestream-attempts"] == b"2"

    async def test_a_dead_letter_is_not_an_acknowledgement(self, world: BrokerWorld) -> None:
        await world.put(b"broken")
        member = world.member()
        (message,) = await read(world, member, 1)
        await member.dead_letter(message, Rejected("truncated", "The file ends early."), attempts=1)
        await world.crash(member)
        (again,) = await read(world, world.member(), 1)
        assert again.value == b"broken"

    async def test_headers_that_imitate_ours_do_not_hide_the_reason(self, world: BrokerWorld) -> None:
        await world.put(b"x", headers={"eyestream-reason": b"harmless", "eyestream-stage": b"none"})
        member = world.member()
        (message,) = await read(world, member, 1)
        await member.dead_letter(message, Rejected("truncated", "The file ends early."), attempts=1)
        ((_, headers),) = await world.dead_letters()
        assert headers["eyestream-reason"] == b"truncated"
        assert headers["eyestream-stage"] == b"decoding"

    async def test_a_drain_ends_the_messages_and_keeps_acknowledgements(self, world: BrokerWorld) -> None:
        for number in range(10):
            await world.put(b"%d" % number)
        member = world.member()
        source = member.messages()
        taken = [await following(world, source) for _ in range(3)]
        await member.drain()
        async with asyncio.timeout(world.patience_s):
            taken += [message async for message in source]
        await member.acknowledge(taken[-1].position)
        await member.close()
        rest = await read(world, world.member(), 10 - len(taken))
        assert [int(message.value) for message in taken + rest] == list(range(10))

    async def test_close_wakes_a_reader_that_waits(self, world: BrokerWorld) -> None:
        member = world.member()
        await world.put(b"only")
        source = member.messages()
        await following(world, source)
        waiting = asyncio.ensure_future(anext(source, None))
        await asyncio.sleep(0)
        await member.close()
        async with asyncio.timeout(world.patience_s):
            assert await waiting is None

    async def test_closing_twice_or_before_reading_is_harmless(self, world: BrokerWorld) -> None:
        member = world.member()
        await member.close()
        await member.close()
        assert [message async for message in member.messages()] == []

    async def test_another_member_goes_on_where_one_closed(self, world: BrokerWorld) -> None:
        for number in range(6):
            await world.put(b"%d" % number, partition=number % 2)
        leaver, stayer = world.member(), world.member()
        for message in await read(world, leaver, 6):
            await leaver.acknowledge(message.position)
        source = stayer.messages()
        waiting = asyncio.ensure_future(following(world, source))
        await leaver.close()
        await world.put(b"6", partition=0)
        await world.put(b"7", partition=1)
        assert {(await waiting).value, (await following(world, source)).value} == {b"6", b"7"}

    async def test_no_more_is_fetched_than_the_reader_asks_for(self, world: BrokerWorld) -> None:
        for _ in range(3 * world.prefetch):
            await world.put(b"picture")
        member = world.member()
        await read(world, member, 1)
        assert await world.prefetched(member) <= world.prefetch
        assert await member.lag() >= 2 * world.prefetch

    async def test_lag_is_what_waits(self, world: BrokerWorld) -> None:
        for _ in range(5):
            await world.put(b"picture")
        member = world.member()
        await read(world, member, 2)
        assert await member.lag() == 3


async def following(world: BrokerWorld, source: AsyncIterator[Message]) -> Message:
    """The next message, within the world's patience."""
    async with asyncio.timeout(world.patience_s):
        return await anext(source)


async def read(world: BrokerWorld, member: Broker, count: int) -> list[Message]:
    """So many messages of a member that was not read yet. The reader then asks for no more."""
    source = member.messages()
    return [await following(world, source) for _ in range(count)]
