"""How much of a topic a group has not finished yet. Joins no group and moves nobody's offsets."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eyestream.brokers.connection import KafkaOptions, require_answer, translated

if TYPE_CHECKING:
    from kafka import KafkaConsumer


class Backlog:
    """Asks Kafka through a connection that it keeps open. Blocks; used by one thread at a time."""

    def __init__(self, options: KafkaOptions, *, timeout_s: float = 10.0) -> None:
        self._options = options
        self._timeout_s = timeout_s
        self._consumer: KafkaConsumer | None = None

    def count(self) -> int:
        """Messages that the group has not acknowledged: those that wait, and the few in flight.

        A partition of which it never acknowledged anything counts whole. Raises Unavailable; the next call connects
        anew.
        """
        from kafka import TopicPartition
        from kafka.errors import KafkaError

        try:
            consumer = self._connected()
            topic = self._options.topic
            everywhere = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            if not everywhere:
                return 0
            begins, ends = consumer.beginning_offsets(everywhere), consumer.end_offsets(everywhere)
            done = {where: consumer.committed(where) for where in everywhere}
            return sum(ends[where] - max(begins[where], done[where] or 0) for where in everywhere)
        except (KafkaError, OSError) as error:
            self.close()
            raise translated(error) from error

    def close(self) -> None:
        """Drop the connection. Idempotent; the next call connects anew."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):  # it may have been broken already, and nothing depends on it any more
                consumer.close()

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            from kafka import KafkaConsumer

            require_answer(self._options, within_s=self._timeout_s)
            ours = {"group_id": self._options.group, "bootstrap_timeout_ms": round(1000 * self._timeout_s)}
            self._consumer = KafkaConsumer(**{**self._options.consumer_config(), **ours})
        return self._consumer
