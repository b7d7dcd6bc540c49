"""One member's place in its group: joining, partitions coming and going, offsets written down, leaving.

Everything here runs on the reader's thread, librdkafka's callbacks included.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eyestream.brokers.connection import KafkaOptions, missing_topic
from eyestream.brokers.inbox import Inbox, Partition
from eyestream.brokers.translation import translated_librdkafka
from eyestream.errors import EyestreamError, Misconfigured, Unavailable
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

log = logging.getLogger(__name__)

_SLICE_S = 0.02
_ASK_AGAIN_S = 1.0
_PATIENCE_S = 120.0
"""How long Kafka is asked where to read on; librdkafka gives a member up that does not poll for 300 s."""


class Membership:
    """Offsets are committed together, one commit under way at a time.

    A commit that fails is not an error of the line: what it covered is committed with the next, or read again by the
    partition's next owner.
    """

    def __init__(self, options: KafkaOptions, inbox: Inbox, *, leaving: threading.Event) -> None:
        self._options = options
        self._inbox = inbox
        self._leaving = leaving
        self._ours: set[Partition] = set()
        self._last_commit = 0.0
        self._under_way: dict[Partition, int] | None = None
        self._failure: Exception | None = None
        self.joined = False

    def join(self, consumer: Consumer) -> None:
        """Ask for partitions; they come through the callbacks."""
        self.joined = True
        consumer.subscribe([self._options.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def commit(self, consumer: Consumer) -> None:
        """Send what is not written yet, unless a commit is under way or the last was just now. Does not block."""
        unwritten = self._inbox.unwritten()
        if unwritten and self._under_way is None and time.monotonic() - self._last_commit >= self._interval_s:
            self._last_commit = time.monotonic()
            self._under_way = unwritten
            self._attempt(consumer, unwritten, asynchronous=True)

    def check(self) -> None:
        """Raises what went wrong in a callback since."""
        if self._failure is not None:
            raise self._failure

    def committed(self, error: Any, partitions: Sequence[TopicPartition]) -> None:
        """Kafka's answer to `commit`; partitions may fail one by one."""
        self._under_way = None
        refused = [error] if error is not None else [one.error for one in partitions if one.error is not None]
        if refused:
            _log_uncommitted(refused[0].name())
        else:
            self._inbox.written({(one.topic, one.partition): one.offset for one in partitions})

    def leave(self, consumer: Consumer) -> None:
        """Commit what is left, waiting for Kafka no longer than the close time-out, and leave the group."""
        deadline = time.monotonic() + self._options.close_timeout_s
        while (self._inbox.unwritten() or self._under_way) and time.monotonic() < deadline:
            if self._under_way is None:
                self._under_way = self._inbox.unwritten()
                self._attempt(consumer, self._under_way, asynchronous=True)
            consumer.poll(_SLICE_S)
        consumer.close()

    def act_on(self, error: Any, record: Any) -> None:
        """An error that came instead of a record: go on, or raise what it means."""
        from confluent_kafka import KafkaError, KafkaException

        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise missing_topic(self._options.topic)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  librdkafka's own codes
            raise Misconfigured(
                f"Kafka deleted pictures of partition {record.partition()} of {record.topic()} while they were waiting"
                " to be read: raise the topic's retention.ms and retention.bytes, and start again"
            )
        if error.fatal():
            raise translated_librdkafka(KafkaException(error))
        log.warning("Kafka: %s", error.name(), extra={"action": Verb.RETRIED, "part": "kafka", "reason": error.name()})

    @property
    def _interval_s(self) -> float:
        return self._options.commit_interval_s

    def _attempt(self, consumer: Consumer, offsets: Mapping[Partition, int], *, asynchronous: bool) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        try:
            done = consumer.commit(offsets=wanted, asynchronous=asynchronous)
        except KafkaException as error:
            self.committed(error.args[0], [])
        else:
            if not asynchronous:
                self.committed(None, done)

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        try:
            begun = self._beginnings(consumer, partitions)
        except Exception as error:  # noqa: BLE001  raised outside the callback, which would swallow it
            self._failure = error
            consumer.incremental_assign([])  # without an answer librdkafka would assign them itself
            return
        self._ours |= {(one.topic, one.partition) for one in partitions}
        self._inbox.assign(self._ours)
        consumer.incremental_assign(begun)
        _report("partitions assigned", Verb.ASSIGNED, partitions)

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Let what is in flight of these partitions finish, and commit it, before they change hands.

        Whoever leaves has finished, and does not wait for Kafka here: it may be away, and leaving has its own time.
        """
        moving = {(one.topic, one.partition) for one in partitions}
        if not self._leaving.is_set():
            self._inbox.retire(moving)
            deadline = time.monotonic() + self._options.revoke_grace_s
            while not self._inbox.settled(moving) and time.monotonic() < deadline and not self._leaving.wait(_SLICE_S):
                pass
        due = {where: offset for where, offset in self._inbox.unwritten().items() if where in moving}
        if due:
            self._attempt(consumer, due, asynchronous=self._leaving.is_set())
        self._give_up(moving)
        consumer.incremental_unassign(list(partitions))
        _report("partitions given up", Verb.REVOKED, partitions)

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._give_up({(one.topic, one.partition) for one in partitions})
        consumer.incremental_unassign(list(partitions))
        _report("partitions lost to another member", Verb.REVOKED, partitions)

    def _give_up(self, partitions: set[Partition]) -> None:
        self._ours -= partitions
        self._inbox.assign(self._ours)

    def _beginnings(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where to read on, asked again while Kafka is away: brokers that are restarted share a group out anew."""
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return [self._beginning(consumer, one) for one in consumer.committed(list(partitions), timeout=10)]
            except (KafkaException, EyestreamError) as error:
                meant = translated_librdkafka(error)
                if not isinstance(meant, Unavailable) or time.monotonic() > deadline or self._leaving.is_set():
                    raise
                log.warning(
                    "Kafka does not say where to read on; it is asked again",
                    extra={"action": Verb.RETRIED, "part": "kafka", "reason": str(meant)},
                )
                self._leaving.wait(_ASK_AGAIN_S)

    def _beginning(self, consumer: Consumer, committed: TopicPartition) -> TopicPartition:
        """Where to read on: what the group committed, or the partition's first message for a new group.

        Raises Misconfigured when Kafka does not hold that offset any more, unless told to pass over what is gone.
        """
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        if committed.error is not None:
            raise translated_librdkafka(KafkaException(committed.error))
        if committed.offset < 0:
            return TopicPartition(committed.topic, committed.partition, OFFSET_BEGINNING)
        first, end = consumer.get_watermark_offsets(committed, timeout=10)
        if first <= committed.offset <= end:
            return TopicPartition(committed.topic, committed.partition, committed.offset)
        place = f"partition {committed.partition} of {committed.topic}"
        if committed.offset < first:
            text = (
                f"Kafka deleted {first - committed.offset} pictures of {place} (offsets {committed.offset} to"
                f" {first - 1}) before they were screened: raise the topic's retention.ms and retention.bytes, and have"
                " the devices send them again"
            )
        else:
            text = (
                f"{place} ends at {end} but group {self._options.group} had read up to {committed.offset}: the topic"
                f" was made anew or lost its end; everything it holds, from {first}, would be screened again"
            )
        if not self._options.skip_deleted:
            raise Misconfigured(f"{text}. To go on with what is there, set skip_deleted")
        log.error(text, extra={"action": Verb.FAILED, "partition": committed.partition})
        return TopicPartition(committed.topic, committed.partition, first)


def _report(text: str, action: Verb, partitions: Iterable[TopicPartition]) -> None:
    numbers = sorted(where.partition for where in partitions)
    log.info(text, extra={"action": action, "count": len(numbers), "partition": numbers})


def _log_uncommitted(reason: str) -> None:
    log.info(
        "offsets were not committed; they will be with the next commit, or the pictures come again",
        extra={"action": Verb.RETRIED, "part": "kafka", "reason": reason},
    )
