from __future__ import annotations

import json
import logging
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from eyestream.brokers.inbox import Inbox
from eyestream.brokers.watch import Sparingly, Watch
from eyestream.records import Message, Position


class Named:
    """An error as librdkafka gives them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


@pytest.fixture
def inbox() -> Inbox:
    ours = Inbox(max_messages=8, max_bytes=2**20)
    ours.assign([("pictures", 0), ("pictures", 1)])
    return ours


@pytest.fixture
def watch(inbox: Inbox) -> Watch:
    return Watch("pictures", inbox)


class Ends:
    """A consumer that knows where each partition ends, or does not know yet."""

    def __init__(self, *ends: int | None) -> None:
        self.ends = ends

    def get_watermark_offsets(self, where, *, cached: bool) -> tuple[int, int]:
        assert cached  # asking Kafka here would hold up every picture
        end = self.ends[where.partition]
        if end is None:
            raise KafkaException(KafkaError(KafkaError._STATE))  # noqa: SLF001  librdkafka's own codes
        return 0, end


def message(partition: int, offset: int) -> Message:
    return Message(b"eye", {}, Position("pictures", partition, offset, 1), 0.0, 0.0)


def statistics(partitions: dict[int, tuple[int, int]], *, state: str = "UP", nodeid: int = 1) -> str:
    """What librdkafka tells: partition → (end, next to be handed out)."""
    told = {str(number): {"hi_offset": end, "app_offset": at} for number, (end, at) in partitions.items()}
    brokers = {"one": {"nodeid": nodeid, "state": state}, "bootstrap": {"nodeid": -1, "state": "UP"}}
    return json.dumps({"brokers": brokers, "topics": {"pictures": {"partitions": told}}})


def test_the_lag_is_what_kafka_holds_of_our_partitions_and_what_waits(watch: Watch, inbox: Inbox):
    assert watch.lag == 0
    inbox.put([message(0, 4)])
    watch.fetched(Ends(10, 10), message(0, 4))
    assert watch.lag == 5 + 1
    inbox.take()
    assert watch.lag == 5
    watch.fetched(Ends(10, None), message(1, 7))  # an end not known yet is not behind
    assert watch.lag == 5
    inbox.assign([("pictures", 1)])
    assert watch.lag == 0


def test_an_end_that_is_behind_what_came_counts_for_nothing(watch: Watch):
    watch.fetched(Ends(3, 3), message(0, 8))
    assert watch.lag == 0


def test_the_lag_of_partitions_that_are_not_fetched_is_in_the_statistics(watch: Watch):
    watch.statistics(statistics({0: (20, 5), 1: (9, 9), 2: (1000, 0), -1: (-1001, -1001)}))
    assert watch.lag == 15
    watch.statistics(statistics({0: (-1001, -1001), 1: (30, -1001)}))  # nothing new of the first
    assert watch.lag == 15 + 21
    watch.statistics(json.dumps({"brokers": {}, "topics": {}}))
    assert watch.lag == 36


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        (statistics({}), False),
        (statistics({}, nodeid=0), False),
        (statistics({}, state="DOWN"), True),
        (statistics({}, nodeid=-1), True),
    ],
)
def test_kafka_is_silent_while_no_broker_of_it_is_up(
    watch: Watch, text: str, silent: bool, monkeypatch: pytest.MonkeyPatch
):
    later = time.monotonic() + 5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert watch.silence_s >= 5
    before = watch.silence_s
    watch.statistics(text)
    assert watch.silence_s == (before if silent else 0)


def test_trouble_that_repeats_is_told_once(watch: Watch, caplog: pytest.LogCaptureFixture):
    for _ in range(50):
        watch.trouble(Named("_TRANSPORT"))
    watch.trouble(Named("_ALL_BROKERS_DOWN"))
    assert [record.reason for record in caplog.records] == ["_TRANSPORT", "_ALL_BROKERS_DOWN"]


def test_a_refused_login_is_kept_and_other_trouble_does_not_hide_it(watch: Watch):
    watch.trouble(Named("_TRANSPORT"))
    assert watch.refusal is None
    watch.trouble(refused := Named("_AUTHENTICATION"))
    watch.trouble(Named("_ALL_BROKERS_DOWN"))
    assert watch.refusal is refused


def test_what_librdkafka_logs_of_each_attempt_is_told_once(watch: Watch, caplog: pytest.LogCaptureFixture):
    for port in range(50):
        watch.log.error("FAIL [rdkafka#consumer-1] [thrd:x]: connect to 127.0.0.1:%d failed", port)
    watch.log.warning("SESSTMOUT [rdkafka#consumer-1] [thrd:main]: session timed out")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["FAIL", "SESSTMOUT"]


def test_it_is_told_again_when_it_lasts():
    now = [0.0]
    sparing = Sparingly(lambda: now[0])

    def let_through() -> bool:
        return sparing.filter(logging.LogRecord("x", logging.ERROR, "", 0, "FAIL again", None, None))

    assert let_through()
    now[0] = 9.9
    assert not let_through()
    now[0] = 10.0
    assert let_through()
