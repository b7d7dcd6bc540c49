"""The one thread that owns the Kafka consumer: it fills the inbox and writes acknowledgements down.

Knows nothing of the event loop on the other side but a callback that says something has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eyestream import records
from eyestream.brokers.connection import KafkaOptions, missing_topic, require_answer, shut_out
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.membership import Membership
from eyestream.brokers.translation import as_message, stand_in, translated_librdkafka
from eyestream.brokers.watch import Watch
from eyestream.errors import Misconfigured, Unavailable
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaException, TopicPartition

log = logging.getLogger(__name__)

_ROUND_S = 0.1
"""The longest the thread sleeps: acknowledgements are written down at least this often."""
_AT_ONCE = 64
"""The most records taken between two looks at the acknowledgements."""
_PATIENT_S = 1.0
"""How long a full inbox is waited for before fetching is paused, which throws away what the client holds ready."""
_LOOK_S = 5.0
"""How often a member that gets nothing asks whether its topic still exists."""


class Reader:
    """Membership of one group, from `start` until `stop`; restarting needs a new one.

    `changed` is called from the thread whenever messages arrived or the thread has ended. `failure` is then why it
    ended, None after `stop`.
    """

    def __init__(self, options: KafkaOptions, inbox: Inbox, *, changed: Callable[[], None]) -> None:
        self._options = options
        self._inbox = inbox
        self._changed = changed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{options.topic}", daemon=True)
        self._membership = Membership(options, inbox, leaving=self._stopping)
        self._watch = Watch(options.topic, inbox)
        self._paused: list[TopicPartition] = []
        self._full_since: float | None = None
        self._last_look = time.monotonic()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Join the group. Does not block."""
        self._watch.contact()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True from `start` until the group is left."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Write acknowledgements down, leave the group and end the thread. Does not block; `join` waits."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it has not within the time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def lag(self) -> int:
        """Messages of our partitions that were not handed out, as of the broker's last answer."""
        return self._watch.lag

    @property
    def silence_s(self) -> float:
        """How long Kafka has not answered."""
        return self._watch.silence_s

    def _run(self) -> None:
        try:
            consumer = self._consumer()
            try:
                self._require_topics(consumer)
                self._membership.join(consumer)
                while not self._stopping.is_set():
                    self._round(consumer)
            finally:
                self._stopping.set()
                self._membership.leave(consumer)
        except BaseException as error:  # noqa: BLE001  it is raised again where the messages are read
            self.failure = translated_librdkafka(error)
        finally:
            self._changed()

    def _consumer(self) -> Consumer:
        try:
            from confluent_kafka import Consumer
        except ImportError:
            raise Misconfigured(
                "reading Kafka needs the confluent-kafka package: pip install 'eyestream[worker]'"
            ) from None
        require_answer(self._options)
        callbacks = {
            "stats_cb": self._watch.statistics,
            "error_cb": self._watch.trouble,
            "on_commit": self._membership.committed,
        }
        return Consumer({**self._options.member_config(), **callbacks}, logger=self._watch.log)

    def _round(self, consumer: Consumer) -> None:
        self._membership.commit(consumer)
        # After a pause everything is fetched anew: to do that for each picture that leaves would double the work.
        still_paused = bool(self._paused) and not self._inbox.half_empty
        if self._inbox.full or self._inbox.closed or still_paused:
            self._wait(consumer)
            return
        self._full_since = None
        if self._paused:
            consumer.resume(consumer.assignment())
            self._paused = []
        arrived = False
        wait_s: float = _ROUND_S
        for _ in range(_AT_ONCE):
            record = consumer.poll(wait_s)
            self._membership.check()
            if record is None:
                break
            arrived |= self._take_in(consumer, record)
            if self._inbox.full:
                break
            wait_s = 0
        if arrived:
            self._watch.contact()
            self._changed()
        else:
            self._look(consumer)

    def _wait(self, consumer: Consumer) -> None:
        """Take no more for now: sleep a little or, when that lasts, serve the group without fetching."""
        now = time.monotonic()
        self._full_since = self._full_since or now
        if not self._inbox.closed and now - self._full_since < _PATIENT_S:
            self._inbox.wait_for_room(_ROUND_S)
            return
        ours = consumer.assignment()
        if ours != self._paused:  # an assignment brings partitions that are not paused
            consumer.pause(ours)
            self._paused = ours
        record = consumer.poll(_ROUND_S)
        self._membership.check()
        if record is not None and self._take_in(consumer, record):
            self._changed()

    def _take_in(self, consumer: Consumer, record: Any) -> bool:
        """Put a record into the inbox, or act on the error in its place; whether there is one more to hand out."""
        from confluent_kafka import KafkaError

        epoch = self._inbox.epoch((record.topic(), record.partition())) if record.topic() else None
        error = record.error()
        if error is None:
            if epoch is None:  # of a partition that is not ours any more
                return False
            message = as_message(record, epoch=epoch, fetched=records.now())
        elif error.code() == KafkaError._BAD_MSG and epoch is not None:  # noqa: SLF001  librdkafka's own codes
            message = stand_in(record, error.str(), epoch=epoch, fetched=records.now())
        else:
            self._membership.act_on(error, record)
            return False
        self._watch.fetched(consumer, message)
        self._inbox.put([message])
        return True

    def _look(self, consumer: Consumer) -> None:
        if time.monotonic() - self._last_look >= _LOOK_S:
            self._last_look = time.monotonic()
            if self._watch.silence_s < _LOOK_S:
                self._require_topics(consumer)

    def _require_topics(self, consumer: Consumer) -> None:
        from confluent_kafka import KafkaError, KafkaException

        for topic in (self._options.topic, self._options.dead_letter_topic):
            try:
                found = consumer.list_topics(topic, timeout=self._options.start_timeout_s).topics[topic]
            except KafkaException as error:
                if self._membership.joined:
                    log.info("Kafka does not say what topics it has", extra={"action": Verb.RETRIED, "part": "kafka"})
                    return
                raise self._shut_out(consumer, error) from error
            if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise missing_topic(topic)
            if found.error is not None and not self._membership.joined:
                raise translated_librdkafka(KafkaException(found.error))

    def _shut_out(self, consumer: Consumer, error: KafkaException) -> BaseException:
        """Why a Kafka that takes connections answers nothing: librdkafka calls every reason a broken transport.

        What it knows of a refused login waits in its queue until it is polled.
        """
        from confluent_kafka import KafkaException

        consumer.poll(_ROUND_S)
        if self._watch.refusal is not None:
            return translated_librdkafka(KafkaException(self._watch.refusal))
        meant = translated_librdkafka(error)
        return shut_out(error.args[0].name()) if isinstance(meant, Unavailable) else meant
