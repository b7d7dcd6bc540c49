"""A member that leaves while the group is shared out anew; what Kafka makes of it is tested with a real one."""

from __future__ import annotations

import threading

from confluent_kafka import TopicPartition

from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.membership import Membership
from eyestream.records import Message, Position

TOPIC = "screening.images"


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
