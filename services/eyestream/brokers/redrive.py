"""Read the dead letters and put them back. Knows Kafka and no group: reading them moves nobody's offsets.

That a dead letter was put back is written into the dead-letter topic itself, in the letter's own partition: the mark
needs no topic or database of its own, is always newer than the letter, and goes when retention takes the letter.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from eyestream.brokers.connection import KafkaOptions, missing_topic, require_answer, translated
from eyestream.brokers.deadletters import (
    DeadLetter,
    address,
    marked,
    marker_headers,
    original_headers,
    parse,
)
from eyestream.errors import Unavailable
from eyestream.records import Position
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

log = logging.getLogger(__name__)

Fate = Literal["put back", "would be put back", "put back before", "put back too often", "picture gone"]

_PATIENCE_S = 30.0
"""How long Kafka may give nothing where it said there is something."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of one dead letter; `position` is where its message lies now, when it was put back."""

    letter: DeadLetter
    fate: Fate
    position: Position | None = None


class DeadLetterIndex:
    """The dead letters that were there at the last look, without their pictures; each look reads only what is new.

    Blocks; used by one thread at a time. What retention took from the topic goes from the index at the next look.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._read: dict[int, int] = {}
        self._letters: dict[str, DeadLetter] = {}

    def look(self) -> list[DeadLetter]:
        """Every dead letter, oldest failure first; see `read_dead_letters`."""
        bounds: dict[int, tuple[int, int]] = {}
        for record in _everything(self._options, self._options.dead_letter_topic, self._read, bounds):
            self._read[record.partition] = record.offset + 1
            headers = record.headers or ()
            if (name := marked(headers)) is not None:
                # At once: Kafka may go before the last record, and this one will not be read again.
                if name in self._letters:
                    self._letters[name] = dataclasses.replace(self._letters[name], redriven=True)
                continue
            position = Position(record.topic, record.partition, record.offset)
            letter = parse(position, key=record.key, headers=headers, nbytes=len(record.value or b""))
            if letter is not None:
                self._letters[address(position)] = letter
        self._read = {partition: end for partition, (_, end) in bounds.items()}
        self._letters = {name: letter for name, letter in self._letters.items() if _within(bounds, letter.position)}
        return sorted(self._letters.values(), key=lambda letter: letter.failed)


def read_dead_letters(options: KafkaOptions) -> list[DeadLetter]:
    """Every dead letter that was there at the call, oldest failure first, without the pictures.

    Reads the whole topic, pictures included, which Kafka cannot leave out. Records that are not eyestream's are passed
    over. Raises Misconfigured where there is no such topic, Unavailable where Kafka stops answering. Blocks.
    """
    return DeadLetterIndex(options).look()


def replay(
    options: KafkaOptions,
    letters: Sequence[DeadLetter],
    *,
    again: bool = False,
    max_redrives: int = 3,
    dry_run: bool = False,
) -> Iterator[Replay]:
    """Put the messages of these dead letters back at the end of their own topic, one after another, in this order.

    Each keeps its key, picture and headers and says how often it was put back. One that was put back before is left
    alone unless `again`, one put back `max_redrives` times always. The message is durable before its letter is marked:
    should the process die in between, a second replay screens the picture twice, which the sink absorbs. `dry_run`
    writes nothing. Raises Unavailable when Kafka is away and Misconfigured when a picture's topic is; what was yielded
    has happened. Blocks.
    """
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import KafkaError

    require_answer(options)
    try:
        with (
            KafkaConsumer(**_one_at_a_time(options)) as consumer,
            KafkaProducer(**options.producer_config()) as producer,
        ):
            for letter in letters:
                fate = _fate(letter, again=again, max_redrives=max_redrives, dry_run=dry_run)
                if fate != "put back":
                    yield Replay(letter, fate)
                    continue
                value = _picture(consumer, letter)
                if value is None:
                    yield Replay(letter, "picture gone")
                    continue
                yield Replay(letter, fate, _put_back(producer, letter, value))
    except KafkaError as error:
        raise translated(error) from error


def _fate(letter: DeadLetter, *, again: bool, max_redrives: int, dry_run: bool) -> Fate:
    if letter.redrives >= max_redrives:
        return "put back too often"
    if letter.redriven and not again:
        return "put back before"
    return "would be put back" if dry_run else "put back"


def _put_back(producer: KafkaProducer, letter: DeadLetter, value: bytes) -> Position:
    seconds = 40
    at = producer.send(letter.original.topic, key=letter.key, value=value, headers=original_headers(letter)).get(
        seconds
    )
    producer.send(
        letter.position.topic,
        key=letter.key,
        partition=letter.position.partition,
        headers=marker_headers(letter),
        value=b"",
    ).get(seconds)
    log.info(
        "dead letter put back",
        extra={
            "action": Verb.REDRIVEN,
            "reason": letter.reason,
            "attempts": letter.redrives + 1,
            "partition": at.partition,
            "offset": at.offset,
        },
    )
    return Position(at.topic, at.partition, at.offset)


def _picture(consumer: KafkaConsumer, letter: DeadLetter) -> bytes | None:
    """The picture's bytes, from the dead letter or, when it was too large to travel, from where it was read."""
    from kafka import TopicPartition

    at = letter.position if letter.carried else letter.original
    where = TopicPartition(at.topic, at.partition)
    numbers = consumer.partitions_for_topic(at.topic)
    if not numbers:
        raise missing_topic(at.topic)
    if at.partition not in numbers:  # made anew with fewer; asked for its offsets, Kafka would be waited for in vain
        return None
    if not consumer.beginning_offsets([where])[where] <= at.offset < consumer.end_offsets([where])[where]:
        return None
    consumer.assign([where])
    consumer.seek(where, at.offset)
    for record in _until(consumer, {where: at.offset + 1}):
        if record.offset == at.offset:
            return bytes(record.value or b"")
    return None


def _within(bounds: Mapping[int, tuple[int, int]], position: Position) -> bool:
    begin, end = bounds.get(position.partition, (0, 0))
    return begin <= position.offset < end


def _everything(
    options: KafkaOptions, topic: str, read: Mapping[int, int], bounds: dict[int, tuple[int, int]]
) -> Iterator[Any]:
    """Each record of the topic up to what is its end now, in order within a partition, from where it was `read` before.

    Tells in `bounds` where each partition begins and ends now. One that is shorter than was read was made anew.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    require_answer(options)
    try:
        with KafkaConsumer(**options.consumer_config()) as consumer:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise missing_topic(topic)
            where = [TopicPartition(topic, number) for number in sorted(numbers)]
            begins, ends = consumer.beginning_offsets(where), consumer.end_offsets(where)
            bounds.update({one.partition: (begins[one], ends[one]) for one in where})
            seen = {one: read.get(one.partition, 0) for one in where}
            start = {one: max(begins[one], seen[one] if seen[one] <= ends[one] else 0) for one in where}
            left = {one: end for one, end in ends.items() if start[one] < end}
            consumer.assign(list(left))
            for one in left:
                consumer.seek(one, start[one])
            yield from _until(consumer, left)
    except KafkaError as error:
        raise translated(error) from error


def _until(consumer: KafkaConsumer, ends: dict[TopicPartition, int]) -> Iterator[Any]:
    """Records before these offsets. Ends by position: a compacted or control record may leave the last one empty."""
    while left := [where for where, end in ends.items() if (consumer.position(where) or 0) < end]:
        polled = consumer.poll(timeout_ms=round(_PATIENCE_S * 1000))
        if not polled and all((consumer.position(where) or 0) < ends[where] for where in left):
            raise Unavailable("kafka", f"gave nothing for {_PATIENCE_S:.0f} s")
        for where, batch in polled.items():
            yield from (record for record in batch if record.offset < ends[where])


def _one_at_a_time(options: KafkaOptions) -> dict[str, Any]:
    """Fetch single records: after each the next seek throws away what else was fetched."""
    return {**options.consumer_config(), "max_partition_fetch_bytes": 1, "max_poll_records": 1}
