"""A broker in memory with scripted faults, for tests, examples and the first hour with a new line. Knows no clock.

It keeps every promise of `base.Broker` but durability: several members share its partitions, what was not acknowledged
comes again, and the script can crash a member, move its partitions or take the broker away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from eyestream.errors import Rejected, Unavailable
from eyestream.records import Message, Position

Partition = int


@dataclass(frozen=True, slots=True)
class MemoryDeadLetter:
    """What `dead_letter` was given."""

    message: Message
    rejection: Rejected
    attempts: int


@dataclass(slots=True, eq=False)
class MemoryTopic:
    """The partitions, what was acknowledged and the dead letters: all that outlives a member.

    `acknowledged` maps a partition to the offset of its first message that is not done with.
    """

    name: str = "screening.images"
    partitions: int = 1
    messages: dict[Partition, list[Message]] = field(default_factory=dict)
    acknowledged: dict[Partition, int] = field(default_factory=dict)
    dead_letters: list[MemoryDeadLetter] = field(default_factory=list)
    members: list[MemoryBroker] = field(default_factory=list)
    faults: int = 0

    def __post_init__(self) -> None:
        for partition in range(self.partitions):
            self.messages[partition] = []
            self.acknowledged[partition] = 0

    def put(
        self,
        value: bytes,
        *,
        headers: Mapping[str, bytes] | None = None,
        partition: Partition = 0,
        key: bytes | None = None,
        produced: float = 0.0,
    ) -> Position:
        """Append a message; where it lies."""
        position = Position(self.name, partition, len(self.messages[partition]))
        self.messages[partition].append(
            Message(value=value, headers=headers or {}, position=position, produced=produced, fetched=produced, key=key)
        )
        for member in self.members:
            member.notice()
        return position

    def unavailable(self, times: int) -> None:
        """Let the next so many starts and dead letters, of whichever member, fail as if the broker were away."""
        self.faults = times

    def rebalance(self) -> None:
        """Share the partitions out anew: every one leaves its member and begins its next epoch, even with the same."""
        for number, member in enumerate(self.members):
            member.assign([p for p in range(self.partitions) if p % len(self.members) == number])

    def trip(self) -> None:
        """Raises Unavailable if a fault is left to be had."""
        if self.faults:
            self.faults -= 1
            raise Unavailable("memory broker", "scripted")


class MemoryBroker:
    """One member reading a MemoryTopic. For one event loop."""

    def __init__(self, topic: MemoryTopic | None = None) -> None:
        self.topic = topic or MemoryTopic()
        self._epochs: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._turn: deque[Partition] = deque()
        self._changed = asyncio.Event()
        self._started = False
        self._ended = False

    async def messages(self) -> AsyncIterator[Message]:
        """See `base.Broker`. Partitions take turns."""
        if self._started:
            raise RuntimeError("messages() is called once")
        self.topic.trip()
        self._started = True
        if not self._ended:
            self.topic.members.append(self)
            self.topic.rebalance()
        while not self._ended:
            self._changed.clear()
            message = self._take()
            if message is not None:
                yield message
            else:
                await self._changed.wait()

    async def acknowledge(self, position: Position) -> None:
        """See `base.Broker`. Raises ValueError for a position that was not handed out."""
        partition = position.partition
        if self._epochs.get(partition) != position.epoch or partition not in self._next:
            return
        if position.offset >= self._next[partition]:
            raise ValueError(f"{position} is acknowledged but was not handed out")
        done = self.topic.acknowledged
        done[partition] = max(done[partition], position.offset + 1)

    async def dead_letter(self, message: Message, rejection: Rejected, *, attempts: int) -> None:
        """See `base.Broker`."""
        self.topic.trip()
        self.topic.dead_letters.append(MemoryDeadLetter(message, rejection, attempts))

    async def lag(self) -> int:
        """See `base.Broker`."""
        return sum(len(self.topic.messages[partition]) - offset for partition, offset in self._next.items())

    async def drain(self) -> None:
        """See `base.Broker`. Nothing is held back, so nothing is given back."""
        self._ended = True
        self._changed.set()

    async def close(self) -> None:
        """See `base.Broker`."""
        self.crash()

    def crash(self) -> None:
        """Leave as if the process had died: what it did not acknowledge comes again, to whoever is left."""
        self._ended = True
        self._next.clear()
        self._changed.set()
        if self in self.topic.members:
            self.topic.members.remove(self)
            self.topic.rebalance()

    def assign(self, partitions: Sequence[Partition]) -> None:
        """These partitions are ours from now on, in a new epoch each, from the first message that is not done with."""
        self._next = {partition: self.topic.acknowledged[partition] for partition in partitions}
        self._turn = deque(partitions)
        for partition in partitions:
            self._epochs[partition] = self._epochs.get(partition, 0) + 1
        self._changed.set()

    def notice(self) -> None:
        """There may be something new to read."""
        self._changed.set()

    def _take(self) -> Message | None:
        for _ in range(len(self._turn)):
            partition = self._turn[0]
            self._turn.rotate(-1)
            offset = self._next[partition]
            if offset < len(self.topic.messages[partition]):
                self._next[partition] = offset + 1
                message = self.topic.messages[partition][offset]
                position = Position(self.topic.name, partition, offset, self._epochs[partition])
                return Message(
                    value=message.value,
                    headers=message.headers,
                    position=position,
                    produced=message.produced,
                    fetched=message.fetched,
                    key=message.key,
                )
        return None
