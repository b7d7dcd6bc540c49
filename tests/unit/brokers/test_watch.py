from __future__ import annotations

import logging

import pytest

from eyestream.brokers.inbox import Inbox
from eyestream.brokers.watch import Sparingly, Watch


class Named:
    """An error as librdkafka gives them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


@pytest.fixture
def watch() -> Watch:
    return Watch("pictures", Inbox(max_messages=8, max_bytes=2**20))


def test_trouble_that_repeats_is_told_once(watch: Watch, caplog: pytest.LogCaptureFixture):
    for _ in range(50):
        watch.trouble(Named("_TRANSPORT"))
    watch.trouble(Named("_ALL_BROKERS_DOWN"))
    assert [record.reason for record in caplog.records] == ["_TRANSPORT", "_ALL_BROKERS_DOWN"]


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
