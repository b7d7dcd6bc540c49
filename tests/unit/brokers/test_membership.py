"""A member while the group is shared out anew: it leaves, or Kafka is away; the rest is tested with a real one."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from eyestream.brokers import membership
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.membership import Membership
from eyestream.records import Message, Position

TOPIC = "screening.images"
SILENCE = KafkaError._TIMED_OUT  # noqa: SLF001  librdkafka's own codes


class Consumer:
    """Answers commits when polled, and takes the partition away at the poll that the test says."""

    def __init__(self, revoke_at):
        self.polls, self.revoke_at = 0, revoke_at
        self.committed, self.pending = 0, []

    def subscribe(self, _topics, *, on_revoke, **_callbacks):
        self.revoke = on_revoke

    def commit(self, *, offsets, asynchronous):
        self.pending.append(offsets)
        if not asynchronous:
            self._answer()
        return offsets

    def poll(self, _seconds):
        self.polls += 1
        if self.polls == self.revoke_at:
            self.revoke(self, [TopicPartition(TOPIC, 0)])
        self._answer()

    def incremental_unassign(self, _partitions):
        pass

    def close(self):
        self._answer()

    def _answer(self):
        answered, self.pending = self.pending, []
        for offsets in answered:
            self.committed = max(self.committed, *(one.offset for one in offsets))
            self.member.committed(None, offsets)


def test_what_was_finished_is_committed_though_the_partition_moves_while_its_member_leaves():
    leaving = threading.Event()
    inbox = Inbox(max_messages=8, max_bytes=8)
    inbox.assign([(TOPIC, 0)])
    inbox.put(Message(b"", {}, Position(TOPIC, 0, offset, 1), 0.0, 0.0) for offset in range(2))
    first, second = inbox.take().position, inbox.take().position
    consumer = Consumer(revoke_at=1)
    consumer.member = Membership(KafkaOptions(bootstrap="kafka:9092"), inbox, leaving=leaving)
    consumer.member.join(consumer)
    inbox.acknowledge(first)
    consumer.member.commit(consumer)
    inbox.acknowledge(second)  # after the commit that is under way was sent
    leaving.set()
    consumer.member.leave(consumer)
    assert consumer.committed == 2


class Assigned:
    """A consumer that was given a partition; Kafka answers each question about it with the next of `answers`."""

    def __init__(self, *answers):
        self.answers, self.assigned = list(answers), None

    def subscribe(self, _topics, *, on_assign, **_callbacks):
        self.assign = on_assign

    def committed(self, partitions, *, timeout):
        assert timeout <= 10
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [TopicPartition(one.topic, one.partition, answer) for one in partitions]

    def get_watermark_offsets(self, _partition, *, timeout):
        assert timeout <= 10
        return 0, 100

    def incremental_assign(self, partitions):
        self.assigned = partitions


def given(consumer):
    """The member that `consumer` belongs to, after partition 0 was given to it."""
    member = Membership(
        KafkaOptions(bootstrap="kafka:9092"), Inbox(max_messages=8, max_bytes=8), leaving=threading.Event()
    )
    member.join(consumer)
    consumer.assign(consumer, [TopicPartition(TOPIC, 0)])
    return member


def test_a_member_asks_again_where_to_read_on_while_kafka_is_away(monkeypatch):
    monkeypatch.setattr(membership, "_ASK_AGAIN_S", 0)
    away = [KafkaException(KafkaError(code)) for code in (SILENCE, KafkaError.COORDINATOR_NOT_AVAILABLE)]
    consumer = Assigned(*away, 42)
    given(consumer).check()
    assert [one.offset for one in consumer.assigned] == [42]


def test_a_member_that_may_not_read_its_group_says_so_at_once():
    consumer = Assigned(KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), 42)
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        given(consumer).check()
    assert consumer.assigned == []


def test_a_kafka_that_stays_away_ends_the_member(monkeypatch):
    monkeypatch.setattr(membership, "_PATIENCE_S", -1)
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        given(Assigned(KafkaException(KafkaError(SILENCE)))).check()
