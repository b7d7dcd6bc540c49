"""The seam where pictures come in. Nothing here knows Kafka.

To add a broker, write a class with these methods and run `eyestream.testing.contracts_broker.BrokerContract` on it;
docs/howto/add-a-broker.md walks through one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from eyestream.errors import Rejected
from eyestream.records import Message, Position


class Broker(Protocol):
    """A source of messages that can be read again until they are acknowledged."""

    def messages(self) -> AsyncIterator[Message]:
        """Messages, in offset order within a partition, until `drain` or `close`.

        Pull-based: nothing is fetched beyond a bounded prefetch while the caller does not ask, and membership of the
        group survives any pause. Called once. After a crash every message that was not acknowledged comes again, so
        each comes at least once. Raises Unavailable only when the broker cannot be reached at the start; once
        reading, it waits for the broker to come back.
        """
        ...

    async def acknowledge(self, position: Position) -> None:
        """Everything up to and including this position of its partition is done with and need not come again.

        May return before the broker has written it down; `close` waits for that. Idempotent. A position older than
        one acknowledged before, or of an earlier assignment (`epoch`) of the partition, is ignored.
        """
        ...

    async def dead_letter(self, message: Message, rejection: Rejected, *, attempts: int) -> None:
        """Put the message, whole, where a person can look at it and `redrive` can take it back.

        Durable when it returns; does not acknowledge. Raises Unavailable when it could not be written: the caller
        tries again, and a message written twice is two equal dead letters.
        """
        ...

    async def lag(self) -> int:
        """How many messages wait in this member's partitions, as of the last answer of the broker. Does not block."""
        ...

    async def drain(self) -> None:
        """Fetch no more: `messages` ends once what it already holds is handed out or, better, given back."""
        ...

    async def close(self) -> None:
        """Write acknowledgements down and leave the group at once, so that others take over without a time-out.

        Idempotent. `messages` ends.
        """
        ...
