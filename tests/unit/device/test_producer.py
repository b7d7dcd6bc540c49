"""The sender: in order, within bounds, marked only when Kafka has it, patient when Kafka is away."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import logging
import random
import threading

import pytest

from eyestream import objects, telemetry
from eyestream.device.intake import image_id
from eyestream.device.producer import Pace, Sender
from eyestream.device.spool import Spool
from eyestream.device.transport import TooLarge
from eyestream.errors import Unavailable
from eyestream.records import ImageMeta

PACE = Pace(max_in_flight=4, max_in_flight_bytes=10_000, first_wait_s=1.0, longest_wait_s=8.0)


class Kafka:
    """A topic that answers when the test says so."""

    def __init__(self):
        self.records, self.open, self.transports, self.away, self.limit = [], [], [], False, 10**9

    def connect(self):
        if self.away:
            raise Unavailable("kafka", "no broker")
        self.transports.append(Transport(self))
        return self.transports[-1]

    def answer(self, error=None, *, count=None):
        chosen, self.open = self.open[:count], self.open[len(self.open) if count is None else count :]
        for record, done in chosen:
            if error is None:
                self.records.append(record)
            done(error)

    def images(self):
        return [ImageMeta.model_validate_json(headers["eyestream-meta"]).image_id for _, _, headers in self.records]


class Transport:
    def __init__(self, kafka):
        self.kafka, self.closed = kafka, False

    def send(self, *, key, value, headers, done):
        if self.kafka.away:
            raise Unavailable("kafka", "no broker")
        if len(value) > self.kafka.limit:
            raise TooLarge
        self.kafka.open.append(((key, value, dict(headers)), done))

    def close(self, *, timeout_s=0.0):
        self.closed = True
        self.kafka.answer(Exception("aborted"))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def kafka():
    return Kafka()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sender(spool, kafka, clock):
    return Sender(spool, kafka.connect, max_message_bytes=5_000, pace=PACE, clock=clock)


def put(spool, number, *, exam=None, size=1000):
    data = random.Random(number).randbytes(size)
    exam = exam or f"exam-{number}"
    sha256 = hashlib.sha256(data).hexdigest()
    meta = ImageMeta(
        image_id=image_id(exam, sha256, 0),
        exam_id=exam,
        subject_id="a" * 32,
        site_id="north",
        device_id="cam-1",
        captured_at=dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
        programme="demo",
        sha256=sha256,
    )
    spool.put(meta, data, content_type="image/jpeg")
    return meta, data


def step(sender):
    sender.step(wait_s=0.0)


def test_a_record_is_the_files_own_bytes_with_what_the_line_needs(spool, kafka, sender):
    meta, data = put(spool, 1)
    step(sender)
    kafka.answer()
    ((key, value, headers),) = kafka.records
    assert (key, value) == (meta.exam_id.encode(), data)
    assert headers["content-type"] == b"image/jpeg"
    assert ImageMeta.model_validate_json(headers["eyestream-meta"]) == meta
    assert telemetry.TRACEPARENT.match(headers["traceparent"].decode())
    assert set(headers) == {"content-type", "eyestream-meta", "traceparent"}


def test_a_picture_is_marked_only_when_kafka_has_it(spool, kafka, sender):
    put(spool, 1)
    step(sender)
    step(sender)
    assert spool.depth().waiting == 1
    kafka.answer()
    step(sender)
    assert (spool.depth().waiting, spool.depth().sent) == (0, 1)
    step(sender)
    assert len(kafka.records) == 1


def test_an_exam_stays_in_order_and_exams_do_not_wait_for_each_other(spool, kafka, sender):
    first, second, other = put(spool, 1, exam="a"), put(spool, 2, exam="a"), put(spool, 3, exam="b")
    step(sender)
    assert [record[1] for record, _ in kafka.open] == [first[1], other[1]]
    kafka.answer()
    step(sender)
    step(sender)
    kafka.answer()
    assert [value for _, value, _ in kafka.records] == [first[1], other[1], second[1]]


def test_no_more_is_under_way_than_allowed(spool, kafka, sender):
    for number in range(10):
        put(spool, number, size=3000)
    for _ in range(3):
        step(sender)
        assert sender.in_flight_bytes <= PACE.max_in_flight_bytes
        assert len(kafka.open) == 3
    for number in range(10, 20):
        put(spool, number, size=10)
    while spool.depth().waiting:
        kafka.answer(count=1)
        step(sender)
        assert len(kafka.open) <= PACE.max_in_flight
        assert sender.in_flight_bytes <= PACE.max_in_flight_bytes
    assert len(set(kafka.images())) == 20


def test_while_kafka_is_away_waits_grow_to_their_cap_and_nothing_is_lost(spool, kafka, sender, clock):
    put(spool, 1)
    kafka.away = True
    tries = []
    attempts = 0
    kafka_connect = kafka.connect

    def count():
        nonlocal attempts
        attempts += 1
        return kafka_connect()

    patient = Sender(spool, count, max_message_bytes=5000, pace=PACE, clock=clock)
    while clock.now < 200.0:
        before = attempts
        step(patient)
        if attempts > before:
            tries.append(clock.now)
        clock.now += 0.25
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert waits[0] <= 1.25
    assert max(waits) <= PACE.longest_wait_s + 0.25
    assert min(waits[5:]) >= PACE.longest_wait_s / 2
    assert len(set(waits[5:])) > 3, "waits are jittered"
    kafka.away = False
    clock.now += 9.0
    step(patient)
    kafka.answer()
    step(patient)
    assert spool.depth().sent == 1


def test_what_failed_is_sent_again_over_a_new_connection_with_the_same_trace(spool, kafka, sender, clock, caplog):
    caplog.set_level(logging.INFO)
    put(spool, 1)
    put(spool, 2)
    step(sender)
    traces = {headers["traceparent"] for (_, _, headers), _ in kafka.open}
    kafka.answer(Exception("request timed out"), count=1)
    step(sender)
    assert kafka.transports[0].closed
    assert spool.depth().troubled == {"kafka-away": 2}
    clock.now += 10.0
    step(sender)
    assert len(kafka.transports) == 2
    assert {headers["traceparent"] for (_, _, headers), _ in kafka.open} == traces
    kafka.answer()
    step(sender)
    assert spool.depth().sent == 2
    assert [record.action for record in caplog.records] == ["retried", "sent", "recovered"]


def test_a_picture_fails_without_its_exam_being_overtaken(spool, kafka, sender, clock):
    first, second = put(spool, 1, exam="a"), put(spool, 2, exam="a")
    step(sender)
    kafka.answer(Exception("not leader"))
    for _ in range(50):
        clock.now += 1.0
        step(sender)
        kafka.answer()
    assert [value for _, value, _ in kafka.records] == [first[1], second[1]]


def test_news_of_a_connection_given_up_still_counts_when_it_is_good(spool, kafka, sender, clock):
    put(spool, 1)
    put(spool, 2)
    step(sender)
    (late, late_done), (_, failed_done) = kafka.open
    kafka.open = []
    failed_done(Exception("request timed out"))
    step(sender)
    kafka.records.append(late)
    late_done(None)
    clock.now += 10.0
    sender.settle(wait_s=0.0)
    assert spool.depth().waiting == 1


def test_after_a_crash_between_arrival_and_mark_the_picture_comes_again_under_its_name(tmp_path, kafka, clock):
    path = tmp_path / "spool.db"
    with Spool(path, min_free_bytes=0) as spool:
        put(spool, 1)
        step(Sender(spool, kafka.connect, max_message_bytes=5000, clock=clock))
        kafka.answer()  # and the power goes before the next step
    with Spool(path, min_free_bytes=0) as spool:
        second = Sender(spool, kafka.connect, max_message_bytes=5000, clock=clock)
        step(second)
        kafka.answer()
        step(second)
        assert spool.depth().waiting == 0
    first, again = kafka.records
    assert first == again


def test_pictures_above_the_limit_go_by_reference(spool, kafka, clock, tmp_path):
    (tmp_path / "store").mkdir()
    sender = Sender(spool, kafka.connect, max_message_bytes=5000, store_url=str(tmp_path / "store"), clock=clock)
    meta, data = put(spool, 1, size=6000)
    step(sender)
    kafka.answer()
    ((key, value, headers),) = kafka.records
    assert (key, value) == (meta.exam_id.encode(), b"")
    allowed = [str(tmp_path / "store")]
    reference = headers["eyestream-ref"].decode()
    assert objects.fetch(reference, sha256=meta.sha256, max_bytes=6000, allowed=allowed) == data


def test_while_the_store_is_away_only_its_exams_wait(spool, kafka, clock, tmp_path):
    sender = Sender(spool, kafka.connect, max_message_bytes=5000, store_url=str(tmp_path / "store"), clock=clock)
    large, _ = put(spool, 1, exam="a", size=6000)
    put(spool, 2, exam="a")
    small, _ = put(spool, 3)
    for _ in range(3):
        step(sender)
        kafka.answer()
    assert kafka.images() == [small.image_id]
    assert spool.depth().troubled == {"object-store-away": 1}
    (tmp_path / "store").mkdir()
    for _ in range(4):
        clock.now += 5.0
        step(sender)
        kafka.answer()
    assert kafka.images()[:2] == [small.image_id, large.image_id]
    assert len(kafka.images()) == 3


def test_without_a_store_a_picture_above_the_limit_waits_and_says_why(spool, kafka, sender):
    put(spool, 1, size=6000)
    small, _ = put(spool, 2)
    for _ in range(3):
        step(sender)
        kafka.answer()
    assert kafka.images() == [small.image_id]
    assert spool.depth().troubled == {"too-large-without-store": 1}


@pytest.mark.parametrize("when", ["at once", "by the broker"])
def test_a_topic_that_takes_less_than_we_were_told_is_learnt(spool, kafka, clock, tmp_path, when):
    (tmp_path / "store").mkdir()
    sender = Sender(spool, kafka.connect, max_message_bytes=5000, store_url=str(tmp_path / "store"), clock=clock)
    put(spool, 1, size=3000)
    if when == "at once":
        kafka.limit = 2000
        step(sender)
    else:
        step(sender)
        kafka.answer(TooLarge())
    for _ in range(3):
        clock.now += 10.0
        step(sender)
    kafka.answer()
    ((_, value, headers),) = kafka.records
    assert value == b""
    assert "eyestream-ref" in headers


def test_a_producer_that_was_refused_one_record_is_not_believed_about_others(spool, kafka, clock, tmp_path):
    (tmp_path / "store").mkdir()
    sender = Sender(spool, kafka.connect, max_message_bytes=5000, store_url=str(tmp_path / "store"), clock=clock)
    put(spool, 1, size=3000)
    small, data = put(spool, 2, size=1000)
    step(sender)
    kafka.answer(TooLarge())
    step(sender)
    assert kafka.transports[0].closed
    for _ in range(2):
        clock.now += 10.0
        step(sender)
        kafka.answer()
    values = {ImageMeta.model_validate_json(headers["eyestream-meta"]).image_id: v for _, v, headers in kafka.records}
    assert values[small.image_id] == data
    assert len(kafka.transports) == 2


def test_a_full_disk_does_not_send_anything_twice(tmp_path, kafka, clock):
    class Stuck(Spool):
        stuck = True

        def mark_sent(self, image_ids):
            if self.stuck:
                raise Unavailable("spool", "disk is full")
            super().mark_sent(image_ids)

    with Stuck(tmp_path / "spool.db", min_free_bytes=0) as spool:
        sender = Sender(spool, kafka.connect, max_message_bytes=5000, pace=PACE, clock=clock)
        put(spool, 1)
        for _ in range(5):
            step(sender)
            kafka.answer()
            clock.now += 10.0
        assert len(kafka.records) == 1
        spool.stuck = False
        step(sender)
        assert spool.depth().sent == 1


def test_run_ends_when_told_and_closes_the_connection(spool, kafka, sender):
    put(spool, 1)
    thread = threading.Thread(target=sender.run)
    thread.start()
    while not kafka.open:
        thread.join(0.001)
    kafka.answer()
    sender.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert kafka.transports[0].closed
    assert spool.depth().sent == 1


def test_run_ends_when_there_is_nothing_left(spool, kafka):
    class Prompt(Kafka):
        def connect(self):
            transport = super().connect()
            send = transport.send

            def send_and_answer(**options):
                send(**options)
                self.answer()

            transport.send = send_and_answer
            return transport

    prompt = Prompt()
    for number in range(9):
        put(spool, number, exam="one")
    sender = Sender(spool, prompt.connect, max_message_bytes=5000)
    sender.run(until=lambda: spool.depth().waiting == 0, poll_s=0.01)
    assert len(prompt.images()) == len(set(prompt.images())) == 9


def test_waits_are_bounded_for_ever():
    assert 0 < PACE.wait_s(10**6) <= PACE.longest_wait_s
