"""The sender: takes pictures from the spool, oldest first, hands them to Kafka, and marks them once Kafka has them.

A picture that was acknowledged but not marked, because the power went in between, is sent again under the same
image_id and absorbed by the line. Knows no picture format.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from eyestream import objects
from eyestream.device.spool import Spool, Waiting
from eyestream.device.transport import TooLarge, Transport
from eyestream.errors import Unavailable
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, HEADER_REF, HEADER_TRACEPARENT
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

_RECORD_OVERHEAD = 512
"""What Kafka adds to a record and its batch, with room to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is under way at once, and how patiently a broken way is tried again.

    A wait after the n-th failure in a row is half to all of `first_wait_s` doubled n times, and never above
    `longest_wait_s`: a thousand cameras do not come back in one second.
    """

    max_in_flight: int = 64
    max_in_flight_bytes: int = 64 * 2**20
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failures, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


@dataclass(slots=True)
class _Hold:
    """An exam whose oldest picture could not be sent; `until` is on the sender's clock."""

    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    picture: Waiting
    transport: Transport
    error: Exception | None


class Sender:
    """Empties a spool into a topic. One thread runs it; `wake` and `stop` may be called from any.

    One picture of an exam is under way at a time, so an exam stays in order whatever fails. Pictures above
    `max_message_bytes` are put into the object store at `store_url` and travel by reference.
    """

    def __init__(
        self,
        spool: Spool,
        connect: Callable[[], Transport],
        *,
        max_message_bytes: int,
        store_url: str | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._connect = connect
        self._max_message_bytes = max_message_bytes
        self._store_url = store_url
        self._pace = pace or Pace()
        self._clock = clock
        self._transport: Transport | None = None
        self._outcomes: queue.SimpleQueue[_Outcome | None] = queue.SimpleQueue()
        self._in_flight: dict[str, Waiting] = {}
        self._arrived: list[str] = []
        self._holds: dict[str, _Hold] = {}
        self._failures = 0
        self._retry_at = 0.0
        self._stopped = threading.Event()

    def run(self, *, until: Callable[[], bool] = lambda: False, poll_s: float = 0.5) -> None:
        """Send until `stop`, or until `until` says so, which is asked at least every `poll_s`.

        Waits for Kafka for days if need be. On the way out, records under way get a moment to arrive. Raises
        Misconfigured only.
        """
        try:
            while not self._stopped.is_set() and not until():
                self.step(wait_s=poll_s)
        finally:
            if self._transport is not None:
                self._transport.close(timeout_s=5.0)
            self.settle(wait_s=0.0)

    def step(self, *, wait_s: float) -> None:
        """Hand over what may go, then wait so long for an answer. A caller's own loop may use this."""
        if self._clock() >= self._retry_at:
            try:
                self._fill()
            except Unavailable as error:
                if error.part == "kafka":
                    self._lose(error)
                else:
                    self._pause(error)
        self.settle(wait_s=wait_s)

    def wake(self) -> None:
        """Something new is in the spool."""
        self._outcomes.put(None)

    def stop(self) -> None:
        """Let `run` end soon."""
        self._stopped.set()
        self.wake()

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed to the transport and not answered yet."""
        return sum(len(picture.data) for picture in self._in_flight.values())

    def settle(self, *, wait_s: float) -> None:
        """Note what arrived and what failed; waits `wait_s` for the first news."""
        for outcome in self._news(wait_s):
            self._take(outcome)
        if not self._arrived:
            return
        try:
            self._spool.mark_sent(self._arrived)
        except Unavailable as error:
            # They stay in flight, so nothing is sent twice, and are marked once the disk takes it.
            log.warning("cannot mark pictures as sent", extra={"action": Verb.RETRIED, "part": error.part})
            return
        log.info("sent", extra={"action": Verb.SENT, "count": len(self._arrived)})
        for image_id in self._arrived:
            self._in_flight.pop(image_id, None)
        self._arrived = []
        if self._failures:
            log.info("Kafka is back", extra={"action": Verb.RECOVERED, "part": "kafka", "attempts": self._failures})
        self._failures = 0

    def _news(self, wait_s: float) -> list[_Outcome]:
        news: list[_Outcome] = []
        with contextlib.suppress(queue.Empty):
            first = self._outcomes.get(timeout=wait_s) if wait_s > 0 else self._outcomes.get_nowait()
            while True:
                if first is not None:
                    news.append(first)
                first = self._outcomes.get_nowait()
        return news

    def _take(self, outcome: _Outcome) -> None:
        image_id, exam_id = outcome.picture.meta.image_id, outcome.picture.meta.exam_id
        if outcome.error is None:
            self._holds.pop(exam_id, None)
            self._arrived.append(image_id)
        elif self._in_flight.get(image_id) is not outcome.picture or outcome.transport is not self._transport:
            return  # news of a transport that was given up
        elif isinstance(outcome.error, TooLarge):
            del self._in_flight[image_id]
            self._shrink(outcome.picture)
            # An idempotent producer that was refused a record refuses all that follow, under the same name.
            self._drop("resent")
        else:
            self._lose(Unavailable("kafka", type(outcome.error).__name__))

    def _fill(self) -> None:
        room = self._pace.max_in_flight_bytes - self.in_flight_bytes
        limit = self._pace.max_in_flight - len(self._in_flight)
        if room <= 0 or limit <= 0:
            return
        now = self._clock()
        closed = {picture.meta.exam_id for picture in self._in_flight.values()}
        closed.update(exam_id for exam_id, hold in self._holds.items() if hold.until > now)
        for picture in self._spool.waiting(limit=limit, max_bytes=room, without_exams=closed):
            if self._in_flight and len(picture.data) > room:
                return
            room -= len(picture.data)
            if self._transport is None:
                self._transport = self._connect()
            self._send(picture, self._transport)

    def _send(self, picture: Waiting, transport: Transport) -> None:
        meta = picture.meta
        key, value = meta.exam_id.encode(), picture.data
        headers = [
            (HEADER_CONTENT_TYPE, picture.content_type.encode()),
            (HEADER_META, meta.to_header()),
            (HEADER_TRACEPARENT, picture.traceparent.encode()),
        ]
        size = len(key) + len(value) + sum(len(name) + len(text) for name, text in headers) + _RECORD_OVERHEAD
        if size > self._max_message_bytes:
            reference = self._reference(picture)
            if reference is None:
                return
            headers.append((HEADER_REF, reference.encode()))
            value = b""
        self._in_flight[meta.image_id] = picture
        try:
            transport.send(
                key=key,
                value=value,
                headers=headers,
                done=lambda error: self._outcomes.put(_Outcome(picture, transport, error)),
            )
        except TooLarge:
            del self._in_flight[meta.image_id]
            self._shrink(picture)
        except Unavailable:
            del self._in_flight[meta.image_id]
            raise

    def _reference(self, picture: Waiting) -> str | None:
        """Where the picture now lies in the object store; None, with its exam held, when that cannot be."""
        if self._store_url is None:
            self._hold(picture, "too-large-without-store")
            return None
        try:
            return objects.put(self._store_url, picture.data, sha256=picture.meta.sha256)
        except Unavailable:
            self._hold(picture, "object-store-away")
            return None

    def _shrink(self, picture: Waiting) -> None:
        """The topic takes less than we were told: from now on pictures of this size go by reference."""
        self._max_message_bytes = min(self._max_message_bytes, len(picture.data))
        self._hold(picture, "too-large-for-topic")

    def _hold(self, picture: Waiting, trouble: str) -> None:
        """Let this exam wait for a while; others go on."""
        exam_id = picture.meta.exam_id
        failures = self._holds[exam_id].failures + 1 if exam_id in self._holds else 0
        self._holds[exam_id] = _Hold(failures, self._clock() + self._pace.wait_s(failures))
        self._note_failed(picture, trouble)
        log.warning(
            "an exam waits",
            extra={"action": Verb.RETRIED, "exam_id": exam_id, "reason": trouble, "attempts": failures + 1},
        )

    def _lose(self, error: Unavailable) -> None:
        """Give the transport up and try again later."""
        self._drop(f"{error.part}-away")
        self._pause(error)

    def _drop(self, trouble: str) -> None:
        """Close the transport; what is under way on it is sent again over the next."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        for image_id, picture in list(self._in_flight.items()):
            if image_id not in self._arrived:
                del self._in_flight[image_id]
                self._note_failed(picture, trouble)

    def _pause(self, error: Unavailable) -> None:
        wait_s = self._pace.wait_s(self._failures)
        self._failures += 1
        self._retry_at = self._clock() + wait_s
        log.warning(
            str(error),
            extra={"action": Verb.RETRIED, "part": error.part, "attempts": self._failures, "seconds": round(wait_s, 3)},
        )

    def _note_failed(self, picture: Waiting, trouble: str) -> None:
        with contextlib.suppress(Unavailable):  # a count is not worth stopping for
            self._spool.mark_failed(picture.meta.image_id, trouble)
