"""Single records looked up again by their position. Knows no group: looking moves nobody's offsets."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from eyestream.brokers.connection import KafkaOptions, require_answer, translated
from eyestream.brokers.deadletters import as_mapping
from eyestream.errors import Unavailable
from eyestream.records import Message, Position, now

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

_ROUND_MS: Final = 200


class Lookup:
    """Reads one record at a time through a consumer that it keeps open. Blocks; used by one thread at a time."""

    def __init__(self, options: KafkaOptions, *, timeout_s: float = 10.0) -> None:
        self._options = options
        self._timeout_s = timeout_s
        self._consumer: KafkaConsumer | None = None

    def message(self, position: Position) -> Message | None:
        """The record at that position, or None when the topic keeps it no longer.

        Raises Unavailable when Kafka is away or silent for `timeout_s`; the next call connects anew.
        """
        from kafka.errors import KafkaError

        try:
            return self._read(position)
        except (KafkaError, OSError) as error:
            self.close()
            raise translated(error) from error
        except Unavailable:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection. Idempotent; the next call connects anew."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):  # it may have been broken already, and nothing depends on it any more
                consumer.close()

    def _read(self, position: Position) -> Message | None:
        from kafka import TopicPartition

        consumer = self._connected()
        where = TopicPartition(position.topic, position.partition)
        if position.partition not in (consumer.partitions_for_topic(position.topic) or ()):
            return None
        if not consumer.beginning_offsets([where])[where] <= position.offset < consumer.end_offsets([where])[where]:
            return None
        consumer.assign([where])
        consumer.seek(where, position.offset)
        record = self._next(consumer, where)
        if record.offset != position.offset:  # behind a transaction's mark, or where a compacted topic had another
            return None
        return Message(
            value=bytes(record.value or b""),
            headers=as_mapping(record.headers),
            position=position,
            produced=record.timestamp / 1000,
            fetched=now(),
            key=record.key,
        )

    def _next(self, consumer: KafkaConsumer, where: TopicPartition) -> Any:
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=_ROUND_MS).values():
                if records:
                    return records[0]
        raise Unavailable("kafka", f"gave nothing of {where.topic} within {self._timeout_s:.0f} s")

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            from kafka import KafkaConsumer

            require_answer(self._options, within_s=self._timeout_s)
            # Single records: the next seek throws away what else was fetched.
            one_at_a_time = {"max_partition_fetch_bytes": 1, "max_poll_records": 1}
            bound = {"bootstrap_timeout_ms": round(1000 * self._timeout_s)}
            self._consumer = KafkaConsumer(**{**self._options.consumer_config(), **one_at_a_time, **bound})
        return self._consumer
