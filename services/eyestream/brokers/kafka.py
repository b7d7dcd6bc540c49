"""Pictures from a Kafka topic, dead letters to another. Nothing here knows what a picture is.

The consumer lives in a thread of its own (`reader`); this side belongs to the event loop. Between them lies the inbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from eyestream import records
from eyestream.brokers.connection import KafkaOptions, require_answer, translated
from eyestream.brokers.deadletters import Headers, dead_letter_headers
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.reader import Reader
from eyestream.errors import Rejected, Unavailable
from eyestream.records import Message, Position
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from kafka import KafkaProducer

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long a dead letter waits for a Kafka that does not take connections before its caller is told."""


class KafkaBroker:
    """One member of a consumer group; see `base.Broker` for what it promises.

    Pictures in flight when the group is shared out anew are given `revoke_grace_s` to finish before their partition
    moves; partitions that stay keep their messages and their epoch. Of several headers with one name the last counts.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._inbox = Inbox(max_messages=options.max_prefetch_messages, max_bytes=options.max_prefetch_bytes // 2)
        self._reader = Reader(options, self._inbox, changed=self._wake)
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producer: KafkaProducer | None = None
        self._producing = asyncio.Lock()
        self._closed = False

    async def messages(self) -> AsyncIterator[Message]:
        """See `base.Broker`. Raises Misconfigured when a topic is missing or pictures were deleted unread."""
        if self._loop is not None:
            raise RuntimeError("messages() is called once")
        self._loop = asyncio.get_running_loop()
        if not self._closed:
            self._reader.start()
        while not self._inbox.closed and self._reader.failure is None:
            self._changed.clear()
            message = self._inbox.take()
            if message is not None:
                yield message
            elif not self._reader.alive:
                break
            else:
                await self._changed.wait()
        if self._reader.failure is not None:
            raise self._reader.failure

    async def acknowledge(self, position: Position) -> None:
        """See `base.Broker`. Written down with the others of the next 100 ms."""
        self._inbox.acknowledge(position)

    async def dead_letter(self, message: Message, rejection: Rejected, *, attempts: int) -> None:
        """See `base.Broker`. A picture too large for the dead-letter topic stays where it is: the letter says where."""
        from kafka.errors import MessageSizeTooLargeError

        failed = records.now()
        try:
            headers = dead_letter_headers(message, rejection, attempts=attempts, failed=failed)
            await self._write(message.key, message.value, headers)
        except MessageSizeTooLargeError:
            headers = dead_letter_headers(message, rejection, attempts=attempts, failed=failed, carried=False)
            await self._write(message.key, b"", headers)

    async def lag(self) -> int:
        """See `base.Broker`."""
        return self._reader.lag

    @property
    def prefetched(self) -> int:
        """How many messages wait here to be read by the line."""
        return self._inbox.waiting

    async def check(self) -> None:
        """Raises Unavailable when Kafka has not answered for longer than a member may be silent, or reading ended."""
        if self._reader.failure is not None:
            raise Unavailable("kafka", "reading has ended") from self._reader.failure
        silence_s = self._reader.silence_s
        if self._reader.alive and silence_s > self._options.session_timeout_s:
            raise Unavailable("kafka", f"no answer for {silence_s:.0f} s")

    async def drain(self) -> None:
        """See `base.Broker`. What was fetched and not handed out is given back: another member reads it."""
        given_back = self._inbox.close()
        self._changed.set()
        log.info("fetching no more", extra={"action": Verb.DRAINING, "count": given_back})

    async def close(self) -> None:
        """See `base.Broker`. Returns within three times `close_timeout_s`, Kafka there or not."""
        self._closed = True
        self._inbox.close()
        self._changed.set()
        self._reader.stop()
        timeout_s = self._options.close_timeout_s
        if not await asyncio.to_thread(self._reader.join, 2 * timeout_s):
            log.warning("Kafka did not let go in time", extra={"action": Verb.FAILED, "seconds": 2 * timeout_s})
        if self._producer is not None:
            await self._drop(self._producer)

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _write(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        from kafka.errors import KafkaError, MessageSizeTooLargeError

        async with self._producing:
            if self._producer is None:
                self._producer = await asyncio.to_thread(self._new_producer)
            producer = self._producer
        try:
            await asyncio.to_thread(self._send, producer, key, value, headers)
        except KafkaError as error:
            # An idempotent producer that gave a record up, refused or out of time, may never send again: the next
            # attempt gets a new one.
            await self._drop(producer)
            if isinstance(error, MessageSizeTooLargeError) and value:
                raise
            raise Unavailable("kafka", f"dead letter not written: {type(error).__name__}") from error

    async def _drop(self, producer: KafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await asyncio.to_thread(producer.close, timeout=self._options.close_timeout_s)

    def _new_producer(self) -> KafkaProducer:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError

        require_answer(self._options, within_s=_PATIENCE_S)
        try:
            return KafkaProducer(**self._options.producer_config())
        except KafkaError as error:
            raise translated(error) from error

    def _send(self, producer: KafkaProducer, key: bytes | None, value: bytes, headers: Headers) -> None:
        producer.send(self._options.dead_letter_topic, key=key, value=value, headers=list(headers)).get(timeout=40)
