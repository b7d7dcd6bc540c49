"""A lookup by what Kafka answers it; one in a real Kafka is tested with redriving."""

from __future__ import annotations

from types import SimpleNamespace

import kafka
import pytest
from kafka.errors import KafkaConfigurationError, KafkaConnectionError

from eyestream.brokers import lookup
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.lookup import Lookup
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Position

TOPIC = "screening.images"


class Consumer:
    """Holds records of partition 0 by offset; a poll gives the first from where it was sought, or raises `failure`."""

    made: list[Consumer]
    records: dict[int, bytes | None]
    bounds = (5, 9)
    failure: Exception | None = None

    def __init__(self, **options):
        self.options, self.closed, self.at = options, 0, None
        self.made.append(self)

    def partitions_for_topic(self, topic):
        return {0} if topic == TOPIC else None

    def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, self.bounds[0])

    def end_offsets(self, partitions):
        return dict.fromkeys(partitions, self.bounds[1])

    def assign(self, partitions):
        (self.where,) = partitions

    def seek(self, where, offset):
        assert where == self.where
        self.at = offset

    def poll(self, *, timeout_ms):
        assert 0 < timeout_ms <= 1000
        if self.failure is not None:
            raise self.failure
        found = [offset for offset in sorted(self.records) if offset >= self.at]
        return {self.where: [self.record(offset) for offset in found]} if found else {}

    def record(self, offset):
        headers = [("content-type", b"image/png"), ("content-type", b"image/jpeg"), ("traceparent", None)]
        return SimpleNamespace(
            offset=offset, value=self.records[offset], headers=headers, timestamp=1_500, key=b"exam-1"
        )

    def close(self):
        self.closed += 1
        raise OSError("it was closed already")


@pytest.fixture
def consumer(monkeypatch):
    """The class of consumers that lookups make, without records."""
    made = type("Made", (Consumer,), {"made": [], "records": {}})
    monkeypatch.setattr(kafka, "KafkaConsumer", made)
    monkeypatch.setattr(lookup, "require_answer", lambda _options, *, within_s: None)
    return made


@pytest.fixture
def looking(consumer):
    return Lookup(KafkaOptions(bootstrap="kafka:9092"), timeout_s=0.01)


def test_the_record_at_a_position_comes_whole(consumer, looking):
    consumer.records = {offset: bytes([offset]) for offset in range(5, 9)}
    for offset in (7, 5, 8):
        found = looking.message(Position(TOPIC, 0, offset))
        assert (found.value, found.key, found.produced) == (bytes([offset]), b"exam-1", 1.5)
        assert found.position == Position(TOPIC, 0, offset)
        assert found.headers == {"content-type": b"image/jpeg", "traceparent": b""}
    assert len(consumer.made) == 1


def test_a_lookup_fetches_no_more_than_it_was_asked_for(consumer, looking):
    consumer.records = {5: b"picture"}
    looking.message(Position(TOPIC, 0, 5))
    (one,) = consumer.made
    assert (one.options["max_partition_fetch_bytes"], one.options["max_poll_records"]) == (1, 1)
    assert one.options.get("group_id") is None


@pytest.mark.parametrize(
    "position",
    [Position(TOPIC, 0, 4), Position(TOPIC, 0, 9), Position(TOPIC, 1, 5), Position("another", 0, 5)],
    ids=["before the first", "at the end", "no such partition", "no such topic"],
)
def test_a_position_that_the_topic_does_not_hold_is_none_and_waits_for_nothing(consumer, looking, position):
    consumer.records = {offset: bytes([offset]) for offset in range(20)}
    assert looking.message(position) is None
    assert consumer.made[0].at is None


def test_another_record_never_stands_for_one_that_is_gone(consumer, looking):
    """As behind a transaction's mark, or in a topic that keeps the last of each key."""
    consumer.records = {7: b"another eye"}
    assert looking.message(Position(TOPIC, 0, 6)) is None


def test_a_kafka_that_gives_nothing_is_unavailable_and_asked_anew(consumer, looking):
    with pytest.raises(Unavailable, match=f"gave nothing of {TOPIC}"):
        looking.message(Position(TOPIC, 0, 6))
    assert consumer.made[0].closed == 1
    consumer.records = {6: b"picture"}
    assert looking.message(Position(TOPIC, 0, 6)).value == b"picture"
    assert [one.closed for one in consumer.made] == [1, 0]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (KafkaConnectionError("gone"), Unavailable),
        (ConnectionResetError("gone"), Unavailable),
        (KafkaConfigurationError("no such option"), Misconfigured),
    ],
)
def test_what_kafka_raises_is_told_by_whose_fault_it_is_and_drops_the_connection(consumer, looking, failure, kind):
    consumer.failure = failure
    with pytest.raises(kind):
        looking.message(Position(TOPIC, 0, 6))
    assert consumer.made[0].closed == 1


def test_closing_twice_closes_once(consumer, looking):
    consumer.records = {6: b"picture"}
    looking.close()
    looking.message(Position(TOPIC, 0, 6))
    looking.close()
    looking.close()
    assert [one.closed for one in consumer.made] == [1]
