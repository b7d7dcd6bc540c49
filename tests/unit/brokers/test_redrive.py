"""Dead letters read and put back by what Kafka answers; those in a real one are tested with that."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace

import kafka
import pytest
from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from eyestream.brokers import redrive
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import (
    REDRIVE_COUNT,
    REDRIVEN_FROM,
    address,
    dead_letter_headers,
    marked,
    marker_headers,
    parse,
)
from eyestream.brokers.redrive import DeadLetterIndex, replay
from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.records import Message, Position

TOPIC = "screening.images.dlq"


def a_record(offset, headers):
    return SimpleNamespace(topic=TOPIC, partition=0, offset=offset, key=b"exam-1", headers=headers, value=b"")


@pytest.fixture
def topic(monkeypatch):
    """Records of one partition, read from where the index was; None among them is Kafka going away, once."""
    records = []

    def everything(_options, _topic, read, bounds):
        bounds[0] = (0, len(records))
        for record in [each for each in records if each is None or each.offset >= read.get(0, 0)]:
            if record is None:
                records.remove(None)
                raise Unavailable("kafka", "went amid a look")
            yield record

    monkeypatch.setattr(redrive, "_everything", everything)
    return records


OPTIONS = KafkaOptions(bootstrap="kafka:9092")
MESSAGE = Message(
    b"eye", {"traceparent": b"00-1"}, Position("screening.images", 3, 7), produced=1.0, fetched=2.0, key=b"exam-1"
)


def a_letter(offset=0, *, carried=True, **changed):
    rejection = Rejected("truncated", "Send it again.")
    headers = dead_letter_headers(MESSAGE, rejection, attempts=1, failed=3.0, carried=carried)
    letter = parse(Position(TOPIC, 0, offset), key=b"exam-1", headers=headers, nbytes=3)
    return dataclasses.replace(letter, **changed)


class Client:
    """What a consumer and a producer have in common."""

    def __init__(self, world, **options):
        self.world, self.options = world, options

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Consumer(Client):
    """Reads one record at a time."""

    def partitions_for_topic(self, topic):
        return self.world.partitions.get(topic, set())

    def beginning_offsets(self, partitions):
        for topic, partition in partitions:
            if partition not in self.partitions_for_topic(topic):
                raise KafkaTimeoutError("Failed to get offsets by timestamps in 30000 ms")
        return dict.fromkeys(partitions, self.world.first)

    def end_offsets(self, partitions):
        return dict.fromkeys(partitions, self.world.end)

    def assign(self, partitions):
        (self.where,) = partitions

    def seek(self, where, offset):
        assert where == self.where
        self.at = offset

    def position(self, where):
        assert where == self.where
        return self.at

    def poll(self, *, timeout_ms):
        assert timeout_ms == 30_000
        assert self.options["max_poll_records"] == 1
        offset, self.at = self.at, self.at + 1
        value = self.world.records.get((*self.where, offset))
        return {} if value is None else {self.where: [SimpleNamespace(offset=offset, value=value)]}


class Producer(Client):
    """Sends one record after another, each only when the one before is durable."""

    def send(self, topic, **record):
        assert self.world.durable == len(self.world.sent)
        self.world.sent.append((topic, record))
        return self

    def get(self, seconds):
        assert seconds > 0
        if self.world.failure is not None:
            raise self.world.failure
        self.world.durable += 1
        return SimpleNamespace(topic=self.world.sent[-1][0], partition=5, offset=55)


@pytest.fixture
def kafka_of_pictures(monkeypatch):
    """What is at each (topic, partition, offset), from `first` to before `end`; and what was sent, in order."""
    partitions = {TOPIC: {0}, "screening.images": {0, 1, 2, 3}}
    world = SimpleNamespace(records={}, partitions=partitions, first=0, end=100, sent=[], durable=0, failure=None)
    monkeypatch.setattr(kafka, "KafkaConsumer", functools.partial(Consumer, world))
    monkeypatch.setattr(kafka, "KafkaProducer", functools.partial(Producer, world))
    monkeypatch.setattr(redrive, "require_answer", lambda _options: None)
    return world


def test_a_letter_is_put_back_whole_and_marked_only_then(kafka_of_pictures):
    kafka_of_pictures.records = {(TOPIC, 0, 4): b"eye"}
    letter = a_letter(4)
    (told,) = replay(OPTIONS, [letter])
    assert (told.letter, told.fate, told.position) == (letter, "put back", Position("screening.images", 5, 55))
    (topic, message), (marks, mark) = kafka_of_pictures.sent
    assert (topic, message["key"], message["value"]) == ("screening.images", b"exam-1", b"eye")
    assert dict(message["headers"]) == {
        "traceparent": b"00-1",
        REDRIVE_COUNT: b"1",
        REDRIVEN_FROM: f"{TOPIC}/0/4".encode(),
    }
    assert (marks, mark["partition"], mark["key"], mark["value"]) == (TOPIC, 0, b"exam-1", b"")
    assert marked(mark["headers"]) == f"{TOPIC}/0/4"


def test_a_letter_whose_message_is_not_durable_is_not_marked(kafka_of_pictures):
    kafka_of_pictures.records = {(TOPIC, 0, 4): b"eye"}
    kafka_of_pictures.failure = KafkaConnectionError("gone")
    with pytest.raises(Unavailable):
        list(replay(OPTIONS, [a_letter(4)]))
    assert [topic for topic, _ in kafka_of_pictures.sent] == ["screening.images"]


@pytest.mark.parametrize(
    ("changed", "asked", "fate"),
    [
        ({"redriven": True}, {}, "put back before"),
        ({"redriven": True}, {"again": True}, "put back"),
        ({"redrives": 2}, {}, "put back"),
        ({"redrives": 3}, {}, "put back too often"),
        ({"redrives": 3, "redriven": True}, {"again": True}, "put back too often"),
        ({"redrives": 3}, {"max_redrives": 4}, "put back"),
        ({"redrives": 1}, {"max_redrives": 1}, "put back too often"),
        ({}, {"dry_run": True}, "would be put back"),
        ({"redriven": True}, {"dry_run": True}, "put back before"),
    ],
)
def test_a_letter_is_put_back_once_unless_asked_and_never_too_often(kafka_of_pictures, changed, asked, fate):
    kafka_of_pictures.records = {(TOPIC, 0, 4): b"eye", (TOPIC, 0, 5): b"fellow"}
    first, second = replay(OPTIONS, [a_letter(4, **changed), a_letter(5)], **asked)
    assert first.fate == fate
    assert second.fate == ("would be put back" if "dry_run" in asked else "put back")
    values = [record["value"] for _, record in kafka_of_pictures.sent]
    kept = [b"eye", b""] if fate == "put back" else []
    assert values == ([] if "dry_run" in asked else [*kept, b"fellow", b""])


def test_a_picture_too_large_for_its_letter_comes_from_where_it_was_read(kafka_of_pictures):
    kafka_of_pictures.records = {(TOPIC, 0, 4): b"", ("screening.images", 3, 7): b"a large eye"}
    (told,) = replay(OPTIONS, [a_letter(4, carried=False)])
    assert told.fate == "put back"
    assert kafka_of_pictures.sent[0][1]["value"] == b"a large eye"


@pytest.mark.parametrize(("first", "end", "lies_at"), [(5, 100, 4), (0, 4, 4), (0, 100, None)])
def test_a_picture_that_is_gone_is_told_and_nothing_is_put_in_its_place(kafka_of_pictures, first, end, lies_at):
    """Deleted, not there yet after the topic was made anew, or between others in a compacted topic."""
    kafka_of_pictures.first, kafka_of_pictures.end = first, end
    kafka_of_pictures.records = {(TOPIC, 0, lies_at): b"another eye"}
    (told,) = replay(OPTIONS, [a_letter(4)])
    assert (told.fate, told.position, kafka_of_pictures.sent) == ("picture gone", None, [])


def test_a_picture_whose_partition_is_gone_is_told_and_the_next_letter_is_put_back(kafka_of_pictures):
    kafka_of_pictures.partitions["screening.images"] = {0, 1, 2}
    kafka_of_pictures.records = {(TOPIC, 0, 5): b"fellow"}
    gone, fellow = replay(OPTIONS, [a_letter(4, carried=False), a_letter(5)])
    assert (gone.fate, fellow.fate) == ("picture gone", "put back")


def test_a_picture_whose_topic_is_gone_is_no_fault_of_kafkas(kafka_of_pictures):
    del kafka_of_pictures.partitions["screening.images"]
    with pytest.raises(Misconfigured, match="no topic"):
        list(replay(OPTIONS, [a_letter(4, carried=False)]))


def test_a_letter_that_was_put_back_stays_so_though_kafka_went_amid_a_look(topic):
    message = Message(b"eye", {}, Position("screening.images", 0, 7), produced=1.0, fetched=2.0, key=b"exam-1")
    headers = dead_letter_headers(message, Rejected("truncated", "Send it again."), attempts=1, failed=3.0)
    letter = parse(Position(TOPIC, 0, 0), key=b"exam-1", headers=headers, nbytes=3)
    topic += [a_record(0, headers), a_record(1, marker_headers(letter)), None, a_record(2, headers)]
    index = DeadLetterIndex(OPTIONS)
    with pytest.raises(Unavailable):
        index.look()
    found = {address(each.position): each.redriven for each in index.look()}
    assert found == {f"{TOPIC}/0/0": True, f"{TOPIC}/0/2": False}
