"""A member while the group is shared out anew: it leaves, or Kafka is away; the rest is tested with a real one."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from eyestream.brokers import membership
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.membership import Membership
from eyestream.errors import Misconfigured
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


class Answer:
    """What Kafka says of one partition."""

    def __init__(self, about, error):
        self.topic, self.partition, self.offset, self.error = about.topic, about.partition, about.offset, error


class Group:
    """A member of two partitions with five messages each handed out; Kafka answers its commits when the test says."""

    def __init__(self, **options):
        self.sent, self.unanswered, self.failures, self.unassigned, self.closed = [], [], [], [], False
        self.answers_polls = True
        self.inbox, self.leaving = Inbox(max_messages=99, max_bytes=99), threading.Event()
        wanted = {"commit_interval_s": 0, **options}
        self.member = Membership(KafkaOptions(bootstrap="kafka:9092", **wanted), self.inbox, leaving=self.leaving)
        self.member.join(self)
        self.assign(self, [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])
        self.put(0, range(5))
        self.put(1, range(5))
        while self.inbox.take() is not None:
            pass

    def subscribe(self, _topics, *, on_assign, on_revoke, on_lost):
        self.assign, self.revoke, self.lose = on_assign, on_revoke, on_lost

    def committed(self, partitions, *, timeout):
        assert timeout <= 10
        return [TopicPartition(one.topic, one.partition, OFFSET_INVALID) for one in partitions]

    def incremental_assign(self, _partitions):
        pass

    def commit(self, *, offsets, asynchronous):
        self.sent.append({(one.partition, one.offset) for one in offsets})
        if self.failures:
            raise self.failures.pop(0)
        if not asynchronous:
            return offsets
        self.unanswered.append(offsets)
        return None

    def answer(self, error=None, *, refused=()):
        failed = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)
        answers = [Answer(one, failed if one.partition in refused else None) for one in self.unanswered.pop(0)]
        self.member.committed(error, answers)

    def poll(self, seconds):
        assert 0 < seconds < 1
        if self.answers_polls and self.unanswered:
            self.answer()
        elif not self.answers_polls:
            time.sleep(0.001)

    def incremental_unassign(self, partitions):
        self.unassigned += [one.partition for one in partitions]
        self.epochs = self.inbox.epoch((TOPIC, 0)), self.inbox.epoch((TOPIC, 1))

    def close(self):
        self.closed = True

    def put(self, partition, offsets):
        self.inbox.put(Message(b"", {}, Position(TOPIC, partition, offset, 1), 0.0, 0.0) for offset in offsets)

    def finish(self, partition, offset):
        self.inbox.acknowledge(Position(TOPIC, partition, offset, 1))


def test_what_is_finished_is_committed_together_and_once_with_one_commit_under_way():
    group = Group()
    group.member.commit(group)
    assert group.sent == []
    group.finish(0, 1)
    group.finish(1, 3)
    group.member.commit(group)
    group.finish(0, 2)
    group.member.commit(group)
    assert group.sent == [{(0, 2), (1, 4)}]
    group.answer()
    group.member.commit(group)
    group.answer()
    group.member.commit(group)
    assert group.sent == [{(0, 2), (1, 4)}, {(0, 3)}]


def test_the_next_commit_waits_for_the_interval():
    group = Group(commit_interval_s=5)
    for offset in range(2):
        group.finish(0, offset)
        group.member.commit(group)
        if group.unanswered:
            group.answer()
    assert group.sent == [{(0, 1)}]


@pytest.mark.parametrize("error", [None, KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE)])
def test_a_commit_that_was_refused_goes_with_the_next(error, caplog):
    group = Group()
    caplog.set_level("INFO")
    group.finish(0, 0)
    group.finish(1, 0)
    group.member.commit(group)
    group.answer(error, refused={1})
    group.member.commit(group)
    assert group.sent == [{(0, 1), (1, 1)}] * 2
    (told,) = caplog.records
    assert told.reason == ("COORDINATOR_NOT_AVAILABLE" if error else "REBALANCE_IN_PROGRESS")


def test_a_commit_that_cannot_be_sent_is_no_error_and_goes_with_the_next():
    group = Group()
    group.failures = [KafkaException(KafkaError(KafkaError._TRANSPORT))]  # noqa: SLF001  librdkafka's own codes
    group.finish(0, 0)
    group.member.commit(group)
    group.member.commit(group)
    assert group.sent == [{(0, 1)}] * 2


def test_whoever_leaves_commits_what_is_left_and_hears_of_it_before_it_goes():
    group = Group()
    group.finish(0, 0)
    group.member.commit(group)
    group.finish(0, 4)
    group.failures = [KafkaException(KafkaError(KafkaError._TRANSPORT))]  # noqa: SLF001
    group.member.leave(group)
    assert group.sent == [{(0, 1)}, {(0, 5)}, {(0, 5)}]
    assert (group.unanswered, group.closed) == ([], True)


def test_whoever_has_nothing_to_commit_leaves_at_once():
    group = Group(close_timeout_s=60)
    group.member.leave(group)
    assert (group.sent, group.closed) == ([], True)


def test_whoever_leaves_waits_for_kafka_no_longer_than_the_close_time_out():
    group = Group(close_timeout_s=0.05)
    group.answers_polls = False
    group.finish(0, 0)
    began = time.monotonic()
    group.member.leave(group)
    assert 0.05 <= time.monotonic() - began < 5
    assert (group.sent, group.closed) == ([{(0, 1)}], True)


def test_a_partition_that_moves_waits_for_what_is_in_flight_of_it_and_commits_that_first():
    group = Group(revoke_grace_s=30)
    group.finish(1, 2)
    group.put(0, [5, 6])
    taken = []

    def go_on():
        taken.append(group.inbox.take())
        group.finish(0, 4)

    timer = threading.Timer(0.05, go_on)
    timer.start()
    group.revoke(group, [TopicPartition(TOPIC, 0)])
    timer.join()
    assert taken == [None]
    assert group.sent == [{(0, 5)}]
    assert (group.unassigned, group.epochs) == ([0], (None, 1))
    assert group.inbox.take() is None
    group.member.commit(group)
    assert group.sent[1:] == [{(1, 3)}]


def test_a_partition_that_moves_waits_for_what_is_in_flight_no_longer_than_the_grace():
    group = Group(revoke_grace_s=0.05)
    group.finish(0, 2)
    began = time.monotonic()
    group.revoke(group, [TopicPartition(TOPIC, 0)])
    assert 0.05 <= time.monotonic() - began < 5
    assert (group.sent, group.unassigned) == ([{(0, 3)}], [0])


@pytest.mark.parametrize("already", [True, False])
def test_a_partition_that_moves_while_its_member_leaves_waits_for_nothing(already):
    group = Group(revoke_grace_s=60)
    group.finish(0, 2)
    if already:
        group.leaving.set()
    else:
        threading.Timer(0.05, group.leaving.set).start()
    began = time.monotonic()
    group.revoke(group, [TopicPartition(TOPIC, 0)])
    assert time.monotonic() - began < 30
    assert (group.sent, len(group.unanswered), group.unassigned) == ([{(0, 3)}], 1, [0])


def test_nothing_is_committed_of_a_partition_that_another_member_has():
    group = Group()
    group.finish(0, 2)
    group.finish(1, 2)
    group.lose(group, [TopicPartition(TOPIC, 0)])
    assert (group.sent, group.unassigned, group.epochs) == ([], [0], (None, 1))
    group.member.commit(group)
    assert group.sent == [{(1, 3)}]


class Assigned:
    """A consumer that was given a partition; Kafka answers each question about it with the next of `answers`."""

    def __init__(self, *answers, first=0, end=100):
        self.answers, self.assigned, self.bounds = list(answers), None, (first, end)

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
        return self.bounds

    def incremental_assign(self, partitions):
        self.assigned = partitions


def given(consumer, **options):
    """The member that `consumer` belongs to, after partition 0 was given to it."""
    consumer.inbox = Inbox(max_messages=8, max_bytes=8)
    told = KafkaOptions(bootstrap="kafka:9092", **options)
    member = Membership(told, consumer.inbox, leaving=threading.Event())
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


def test_a_member_keeps_what_it_has_when_it_is_given_more():
    consumer = Assigned(7, 8)
    given(consumer).check()
    consumer.assign(consumer, [TopicPartition(TOPIC, 1)])
    assert [(one.partition, one.offset) for one in consumer.assigned] == [(1, 8)]
    assert [consumer.inbox.epoch((TOPIC, number)) for number in range(3)] == [1, 1, None]


def test_a_member_that_cannot_read_on_has_no_partition():
    consumer = Assigned(4, first=5)
    given(consumer)
    assert (consumer.assigned, consumer.inbox.epoch((TOPIC, 0))) == ([], None)


@pytest.mark.parametrize(
    ("committed", "begun"), [(OFFSET_INVALID, OFFSET_BEGINNING), (5, 5), (9, 9)], ids=["new group", "first", "end"]
)
def test_a_member_reads_on_where_its_group_left_off(committed, begun):
    consumer = Assigned(committed, first=5, end=9)
    given(consumer).check()
    assert [one.offset for one in consumer.assigned] == [begun]


@pytest.mark.parametrize(
    ("committed", "said"),
    [
        (3, r"deleted 2 pictures of partition 0 of screening.images \(offsets 3 to 4\).*set skip_deleted$"),
        (10, "ends at 9 but group eyestream had read up to 10.*from 5, would be screened again.*set skip_deleted$"),
    ],
)
def test_pictures_that_kafka_does_not_hold_any_more_are_passed_over_only_where_that_was_asked_for(
    committed, said, caplog
):
    with pytest.raises(Misconfigured, match=said):
        given(Assigned(committed, first=5, end=9)).check()
    consumer = Assigned(committed, first=5, end=9)
    given(consumer, skip_deleted=True).check()
    assert [one.offset for one in consumer.assigned] == [5]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_an_error_that_came_with_a_partitions_offset_is_raised():
    consumer = Assigned(3)
    refused = Answer(TopicPartition(TOPIC, 0, 3), KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    consumer.committed = lambda _partitions, *, timeout: [refused]
    with pytest.raises(Misconfigured, match="GROUP_AUTHORIZATION_FAILED"):
        given(consumer).check()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), "Kafka has no topic 'screening.images'"),
        (KafkaError(KafkaError._AUTO_OFFSET_RESET), "Kafka deleted pictures of partition 0 of screening.images"),  # noqa: SLF001
        (KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", True), "FENCED_INSTANCE_ID"),
    ],
)
def test_an_error_that_no_waiting_mends_ends_the_member(error, said):
    class Record:
        topic, partition = (lambda _: TOPIC), (lambda _: 0)

    with pytest.raises(Misconfigured, match=said):
        given(Assigned(1)).act_on(error, Record())


def test_an_error_that_librdkafka_mends_itself_is_only_told(caplog):
    given(Assigned(1)).act_on(KafkaError(KafkaError.REQUEST_TIMED_OUT), None)
    assert [(record.levelname, record.reason) for record in caplog.records] == [("WARNING", "REQUEST_TIMED_OUT")]
