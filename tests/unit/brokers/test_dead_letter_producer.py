"""What becomes of the dead letters' producer when a letter could not be written."""

from __future__ import annotations

import pytest
from kafka import errors

from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.kafka import KafkaBroker
from eyestream.errors import Rejected, Unavailable
from eyestream.records import Message, Position

MESSAGE = Message(b"bytes", {}, Position("pictures", 0, 7), produced=1.0, fetched=2.0)
REJECTION = Rejected("truncated", "The file ends early.")


class Producer:
    """Refuses its first record with `error`, and then, as an idempotent producer may, everything else."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.closed = False
        self.sent = 0

    def send(self, *_: object, **__: object) -> Producer:
        if self._error is not None:
            raise self._error
        self.sent += 1
        return self

    def get(self, timeout: float) -> None:
        """The record is written."""

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "error",
    [errors.KafkaTimeoutError(), errors.OutOfOrderSequenceNumberError(), errors.NotLeaderForPartitionError()],
    ids=lambda error: type(error).__name__,
)
async def test_the_next_attempt_has_a_new_producer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, fresh = Producer(error), Producer(None)
    coming = iter([stuck, fresh])
    broker = KafkaBroker(KafkaOptions(bootstrap="nowhere:9092"))
    monkeypatch.setattr(broker, "_new_producer", lambda: next(coming))
    with pytest.raises(Unavailable, match=type(error).__name__):
        await broker.dead_letter(MESSAGE, REJECTION, attempts=1)
    assert stuck.closed
    await broker.dead_letter(MESSAGE, REJECTION, attempts=1)
    assert fresh.sent == 1
    assert not fresh.closed
