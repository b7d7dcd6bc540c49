"""Where reading cannot simply go on: no offset yet, offsets that Kafka deleted, records that cannot be read.

Each ends in a decision that somebody can see: go on, refuse to start, or a stand-in that becomes a dead letter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eyestream.brokers.connection import KafkaOptions, translated
from eyestream.brokers.deadletters import UNREADABLE
from eyestream.errors import Misconfigured
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

log = logging.getLogger(__name__)

Records = Mapping["TopicPartition", list[Any]]

_PROBE_S = 10.0


def recovered(consumer: KafkaConsumer, error: Exception, options: KafkaOptions) -> Records:
    """Put the consumer where it can go on after this error of `poll`, or raise what the error means.

    Returns stand-ins for records that cannot be read, each with the header `eyestream-unreadable`. After an error that
    is not understood the consumer must not be polled again: kafka-python would spin on the broken batch.
    """
    from kafka import errors

    if isinstance(error, errors.NoOffsetForPartitionError):
        consumer.seek_to_beginning(*error.args[0])
        return {}
    if isinstance(error, errors.OffsetOutOfRangeError):
        for where, offset in error.args[0].items():
            _pass_over(consumer, where, offset, options)
        return {}
    if isinstance(error, errors.LogTruncationError):
        _rewind(consumer, error)
        return {}
    if isinstance(error, errors.KafkaError) and not isinstance(error, errors.CorruptRecordError):
        raise translated(error.__cause__ or error) from error
    return _stand_in(consumer, error, options)


def _pass_over(consumer: KafkaConsumer, where: TopicPartition, offset: int, options: KafkaOptions) -> None:
    first = consumer.beginning_offsets([where])[where]
    end = consumer.end_offsets([where])[where]
    place = f"partition {where.partition} of {where.topic}"
    if offset < first:
        text = (
            f"Kafka deleted {first - offset} pictures of {place} (offsets {offset} to {first - 1}) before they were"
            " screened: raise the topic's retention.ms and retention.bytes, and have the devices send them again"
        )
    else:
        text = (
            f"{place} ends at {end} but group {options.group} had read up to {offset}: the topic was made anew or lost"
            f" its end; everything it holds, from {first}, would be screened again"
        )
    if not options.skip_deleted:
        raise Misconfigured(f"{text}. To go on with what is there, set skip_deleted")
    log.error(text, extra={"action": Verb.FAILED, "partition": where.partition, "count": max(0, first - offset)})
    consumer.seek(where, first)


def _rewind(consumer: KafkaConsumer, error: Any) -> None:
    """A new leader knows less than we read: go on where it still agrees with us. What we stored stays stored."""
    for where, safe in error.divergent_offsets.items():
        log.error(
            "Kafka lost the end of a partition in an unclean election",
            extra={"action": Verb.FAILED, "partition": where.partition, "offset": safe.offset if safe else None},
        )
        if safe is None:
            consumer.seek_to_beginning(where)
        else:
            consumer.seek(where, safe.offset)


def _stand_in(consumer: KafkaConsumer, error: Exception, options: KafkaOptions) -> Records:
    """Find the record that cannot be read by reading each partition's next one with a consumer of its own."""
    from kafka import KafkaConsumer
    from kafka.consumer.fetcher import ConsumerRecord

    consumer.pause(*consumer.assignment())
    with KafkaConsumer(**options.consumer_config() | {"max_poll_records": 1}) as probe:
        for where in consumer.assignment():
            offset = consumer.position(where)
            if offset >= (consumer.highwater(where) or 0):
                continue
            probe.assign([where])
            probe.seek(where, offset)
            try:
                probe.poll(timeout_ms=round(_PROBE_S * 1000))
            except type(error) as found:
                text = f"{type(found).__name__}: {found}"[:300]
                log.error(  # noqa: TRY400  the text below says it; kafka-python's own frames would add nothing
                    "a record cannot be read and becomes a dead letter",
                    extra={"action": Verb.REFUSED, "partition": where.partition, "offset": offset},
                )
                consumer.seek(where, offset + 1)
                headers = [(UNREADABLE, text.encode())]
                record = ConsumerRecord(
                    where.topic, where.partition, -1, offset, -1, 0, None, b"", headers, None, -1, 0, -1
                )
                return {where: [record]}
    raise error
