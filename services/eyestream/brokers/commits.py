"""Writing acknowledgements down in Kafka: together, one commit under way at a time, and never fatal.

A commit that fails is not an error of the line: what it covered is committed with the next or read again by the
partition's next owner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eyestream.brokers.inbox import Inbox, Partition
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

log = logging.getLogger(__name__)


class Commits:
    """The offsets of one member's inbox on their way to Kafka."""

    def __init__(self, consumer: KafkaConsumer, inbox: Inbox, *, interval_s: float) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._interval_s = interval_s
        self._last = 0.0
        self._under_way: tuple[Any, dict[Partition, int]] | None = None

    def start_one(self) -> None:
        """Send what is not written yet, unless a commit is under way or the last was just now. Does not block."""
        if self._under_way is not None:
            future, offsets = self._under_way
            if not future.is_done:
                return
            self._under_way = None
            if future.succeeded():
                self._inbox.written(offsets)
            else:
                _log(future.exception)
        unwritten = self._inbox.unwritten()
        if unwritten and time.monotonic() - self._last >= self._interval_s:
            self._last = time.monotonic()
            self._under_way = self._consumer.commit_async(_offsets(unwritten)), unwritten

    async def from_listener(self) -> None:
        """Commit on the consumer's own loop, where blocking would raise; gives way to it in any case."""
        from kafka.errors import KafkaError

        unwritten = self._inbox.unwritten()
        try:
            await self._consumer.commit_async(_offsets(unwritten))
        except KafkaError as error:
            _log(error)
        else:
            self._inbox.written(unwritten)

    def finish(self, *, timeout_s: float) -> None:
        """Commit what is left, waiting for Kafka's answer no longer than this."""
        from kafka.errors import KafkaError

        if unwritten := self._inbox.unwritten():
            try:
                self._consumer.commit(_offsets(unwritten), timeout_ms=round(timeout_s * 1000))
            except KafkaError as error:
                _log(error)
            else:
                self._inbox.written(unwritten)


def _offsets(offsets: Mapping[Partition, int]) -> dict[TopicPartition, Any]:
    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

    return {
        TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1) for (topic, number), offset in offsets.items()
    }


def _log(error: BaseException) -> None:
    log.info(
        "offsets were not committed; they will be with the next commit, or the pictures come again",
        extra={"action": Verb.RETRIED, "part": "kafka", "reason": type(error).__name__},
    )
