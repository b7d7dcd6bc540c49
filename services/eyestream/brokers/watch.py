"""What is known of Kafka without asking it: whether it answers, and how much waits."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eyestream.brokers.inbox import Inbox, Partition
from eyestream.records import Message
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from confluent_kafka import Consumer

log = logging.getLogger(__name__)

_QUIET_S = 10.0


class Sparingly(logging.Filter):
    """Lets one line of a kind through in ten seconds: a Kafka that is away is tried many times in each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """The kind is the message's first word, or what it was logged to be about."""
        kind = getattr(record, "reason", None) or record.getMessage().partition(" ")[0]
        now = self._clock()
        if now - self._told.get(kind, float("-inf")) < _QUIET_S:
            return False
        self._told[kind] = now
        return True


def _sparing(parent: logging.Logger) -> logging.Logger:
    """A logger of one consumer's own, so that it takes its filter with it when it goes."""
    logger = logging.Logger(parent.name)  # noqa: LOG001  not one of the registry's, which would keep it
    logger.parent = parent
    logger.addFilter(Sparingly())
    return logger


class Watch:
    """Kept by the reader's thread through librdkafka's callbacks; read from anywhere."""

    def __init__(self, topic: str, inbox: Inbox) -> None:
        self._topic = topic
        self._inbox = inbox
        self._ends: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._contact = time.monotonic()
        self.log = _sparing(log)
        """For what librdkafka has to say."""
        self.refusal: Any = None
        """The last login that Kafka refused, as librdkafka's error."""

    def contact(self) -> None:
        """Kafka has just answered."""
        self._contact = time.monotonic()

    @property
    def silence_s(self) -> float:
        """How long it has not."""
        return time.monotonic() - self._contact

    @property
    def lag(self) -> int:
        """Messages of our partitions that nobody took yet, as of Kafka's last answer."""
        following = dict(self._next)
        behind = 0
        for where, end in dict(self._ends).items():
            if self._inbox.epoch(where) is not None:
                behind += max(0, end - following.get(where, end))
        return behind + self._inbox.waiting

    def fetched(self, consumer: Consumer, message: Message) -> None:
        """This one came."""
        from confluent_kafka import KafkaException, TopicPartition

        at = message.position
        where = at.topic, at.partition
        self._next[where] = at.offset + 1
        with contextlib.suppress(KafkaException):
            _, end = consumer.get_watermark_offsets(TopicPartition(*where), cached=True)
            self._ends[where] = max(end, at.offset + 1)

    def statistics(self, text: str) -> None:
        """Read librdkafka's statistics; they know the ends of partitions that are not being fetched, too."""
        statistics: dict[str, Any] = json.loads(text)
        if any(broker["nodeid"] >= 0 and broker["state"] == "UP" for broker in statistics["brokers"].values()):
            self.contact()
        for number, partition in statistics["topics"].get(self._topic, {}).get("partitions", {}).items():
            where = self._topic, int(number)
            if partition["hi_offset"] >= 0:
                self._ends[where] = partition["hi_offset"]
            if self._inbox.epoch(where) is not None and partition["app_offset"] >= 0:
                self._next[where] = partition["app_offset"]

    def trouble(self, error: Any) -> None:
        """What librdkafka could not do and is trying again."""
        if error.name() == "_AUTHENTICATION":
            self.refusal = error
        self.log.warning(
            "Kafka: %s", error.name(), extra={"action": Verb.RETRIED, "part": "kafka", "reason": error.name()}
        )
