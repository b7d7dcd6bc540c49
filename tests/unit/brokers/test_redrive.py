"""The index of dead letters where Kafka goes away amid a look; what it reads of a real one is tested with that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from eyestream.brokers import redrive
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import address, dead_letter_headers, marker_headers, parse
from eyestream.brokers.redrive import DeadLetterIndex
from eyestream.errors import Rejected, Unavailable
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


def test_a_letter_that_was_put_back_stays_so_though_kafka_went_amid_a_look(topic):
    message = Message(b"eye", {}, Position("screening.images", 0, 7), produced=1.0, fetched=2.0, key=b"exam-1")
    headers = dead_letter_headers(message, Rejected("truncated", "Send it again."), attempts=1, failed=3.0)
    letter = parse(Position(TOPIC, 0, 0), key=b"exam-1", headers=headers, nbytes=3)
    topic += [a_record(0, headers), a_record(1, marker_headers(letter)), None, a_record(2, headers)]
    index = DeadLetterIndex(KafkaOptions(bootstrap="kafka:9092"))
    with pytest.raises(Unavailable):
        index.look()
    found = {address(each.position): each.redriven for each in index.look()}
    assert found == {f"{TOPIC}/0/0": True, f"{TOPIC}/0/2": False}
