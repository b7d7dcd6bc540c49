"""The one thread that owns the Kafka consumer: it fills the inbox and writes acknowledgements down.

Knows nothing of the event loop on the other side but a callback that says something has changed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eyestream import records
from eyestream.brokers.commits import Commits
from eyestream.brokers.connection import KafkaOptions, missing_topic, require_answer, require_fast_checksums, translated
from eyestream.brokers.deadletters import as_mapping
from eyestream.brokers.inbox import Inbox
from eyestream.brokers.rebalance import listener
from eyestream.brokers.recovery import recovered
from eyestream.records import Message, Position
from eyestream.telemetry import Verb

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

log = logging.getLogger(__name__)

_ROUND_S = 0.1
"""The longest the thread sleeps: acknowledgements are written down and a pause ends at least this often."""
_LOOK_S = 5.0
"""How often a paused member asks for the end of its partitions, and every member whether its topic still exists."""


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
        self._ends: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._last_look = 0.0
        self._gone = False
        self._last_contact = time.monotonic()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Join the group. Does not block."""
        self._last_contact = time.monotonic()
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
        fetched = dict(self._next)
        behind: int = sum(max(0, end - fetched.get(where, end)) for where, end in dict(self._ends).items())
        return behind + self._inbox.waiting

    @property
    def silence_s(self) -> float:
        """How long Kafka has not answered."""
        return time.monotonic() - self._last_contact

    def _run(self) -> None:
        from kafka import KafkaConsumer

        try:
            require_fast_checksums()
            require_answer(self._options)
            consumer = KafkaConsumer(**self._options.member_config())
            commits = Commits(consumer, self._inbox, interval_s=self._options.commit_interval_s)
            try:
                self._subscribe(consumer, commits)
                while not self._stopping.is_set():
                    self._round(consumer, commits)
            finally:
                self._stopping.set()
                self._leave(consumer, commits)
        except BaseException as error:  # noqa: BLE001  it is raised again where the messages are read
            self.failure = translated(error)
        finally:
            self._changed()

    def _subscribe(self, consumer: KafkaConsumer, commits: Commits) -> None:
        grace_s = self._options.revoke_grace_s
        rebalance = listener(self._inbox, commits, grace_s=grace_s, leaving=self._stopping)
        consumer.subscribe([self._options.topic], listener=rebalance)
        # Asked after subscribing: otherwise the group's leader joins before it knows the topic's partitions, takes
        # them for new ones half a second later and has the group share everything out a second time.
        known = consumer.topics()
        for topic in (self._options.topic, self._options.dead_letter_topic):
            if topic not in known:
                raise missing_topic(topic)

    def _round(self, consumer: KafkaConsumer, commits: Commits) -> None:
        self._regulate(consumer)
        commits.start_one()
        self._look(consumer)
        polled = self._poll(consumer)
        fetched = records.now()
        for where, batch in polled.items():
            self._take_in(where, batch, fetched)
        if polled:
            for where in polled:
                self._ends[where] = consumer.highwater(where) or 0
            self._changed()
        if polled or self._answering(consumer):
            self._last_contact = time.monotonic()

    def _poll(self, consumer: KafkaConsumer) -> Mapping[TopicPartition, Iterable[Any]]:
        from kafka import errors

        membership = (
            errors.CommitFailedError,
            errors.IllegalGenerationError,
            errors.RebalanceInProgressError,
            errors.UnknownMemberIdError,
            errors.RetriableError,
        )
        try:
            polled: Mapping[TopicPartition, Iterable[Any]] = consumer.poll(timeout_ms=round(_ROUND_S * 1000))
        except membership as error:
            log.warning("Kafka did not answer as hoped", extra={"action": Verb.RETRIED, "reason": type(error).__name__})
            self._stopping.wait(_ROUND_S * random.uniform(1, 3))  # noqa: S311  jitter
            return {}
        except Exception as error:  # noqa: BLE001  what is not understood is raised there
            return recovered(consumer, error, self._options)
        return polled

    def _take_in(self, where: TopicPartition, batch: Iterable[Any], fetched: float) -> None:
        partition = (where.topic, where.partition)
        epoch = self._inbox.epoch(partition)
        if epoch is None:
            return
        messages = [as_message(record, epoch=epoch, fetched=fetched) for record in batch]
        if messages:
            self._next[where] = messages[-1].position.offset + 1
            self._inbox.put(messages)

    def _regulate(self, consumer: KafkaConsumer) -> None:
        """Pause everything while the inbox is full or closed. Anew each round: an assignment brings unpaused ones."""
        ours = consumer.assignment()
        paused = consumer.paused()
        self._next = {where: offset for where, offset in self._next.items() if where in ours}
        self._ends = {where: end for where, end in self._ends.items() if where in ours}
        if self._inbox.full or self._inbox.closed:
            if ours - paused:
                consumer.pause(*(ours - paused))
        elif paused & ours:
            consumer.resume(*(paused & ours))

    def _look(self, consumer: KafkaConsumer) -> None:
        """Learn what fetching would have told, were we fetching: how far behind a pause leaves us, a deleted topic."""
        from kafka.errors import KafkaError

        if time.monotonic() - self._last_look < _LOOK_S:
            return
        self._last_look = time.monotonic()
        gone = not consumer.partitions_for_topic(self._options.topic)
        if gone and self._gone:
            raise missing_topic(self._options.topic)
        self._gone = gone  # believed when seen twice: a broker that has just started may not know its topics yet
        ours = consumer.assignment()
        if ours and ours == consumer.paused():
            try:
                ends = consumer.end_offsets(list(ours), timeout_ms=1000)
            except KafkaError:
                return
            self._ends.update(ends)

    def _answering(self, consumer: KafkaConsumer) -> bool:
        """Whether the group's coordinator answered a heartbeat lately."""
        metrics = consumer.metrics().get("consumer-coordinator-metrics", {})
        return bool(metrics.get("last-heartbeat-seconds-ago", float("inf")) <= 1.5 * self._options.heartbeat_s)

    def _leave(self, consumer: KafkaConsumer, commits: Commits) -> None:
        from kafka.errors import KafkaError

        commits.finish(timeout_s=self._options.close_timeout_s)
        try:
            consumer.close(autocommit=False, timeout_ms=round(self._options.close_timeout_s * 1000))
        except KafkaError as error:
            log.warning("left the group uncleanly", extra={"action": Verb.FAILED, "reason": type(error).__name__})


def as_message(record: Any, *, epoch: int, fetched: float) -> Message:
    """kafka-python's record as ours."""
    return Message(
        value=record.value or b"",
        headers=as_mapping(record.headers),
        position=Position(record.topic, record.partition, record.offset, epoch),
        produced=record.timestamp / 1000 if record.timestamp >= 0 else fetched,
        fetched=fetched,
        key=record.key,
    )
