"""Messages fetched and not yet handed out, and how far each partition is done. Nothing here knows Kafka.

One thread fills it, another empties it; every method may be called from either.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from eyestream.records import Message, Position

Partition = tuple[str, int]
"""Topic and partition number."""

_HALF: Final = 0.5


@dataclass(slots=True)
class _Progress:
    """One partition during one assignment; offsets are those of the next message."""

    epoch: int
    handed_out: int = -1
    acknowledged: int = -1
    written: int = -1


class Inbox:
    """A bounded store between the thread that fetches and the line that reads.

    `full` asks the filler to wait; what arrives nevertheless is taken in. The last message may go beyond `max_bytes`:
    none is too large to come in.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[Message] = deque()
        self._nbytes = 0
        self._full = False
        self._closed = False
        self._partitions: dict[Partition, _Progress] = {}
        self._epochs: dict[Partition, int] = {}

    def assign(self, partitions: Iterable[Partition]) -> None:
        """From now on exactly these partitions are ours.

        A partition kept keeps its epoch and its messages: what was handed out may still be acknowledged. One taken
        away is forgotten with its messages. One that is new, or comes back, begins its next epoch.
        """
        with self._lock:
            ours = set(partitions)
            self._partitions = {where: progress for where, progress in self._partitions.items() if where in ours}
            for where in ours - self._partitions.keys():
                self._epochs[where] = self._epochs.get(where, 0) + 1
                self._partitions[where] = _Progress(self._epochs[where])
            self._replace(message for message in self._queue if _partition(message.position) in ours)

    def epoch(self, partition: Partition) -> int | None:
        """Which assignment of the partition this is, counted from 1; None when it is not ours."""
        with self._lock:
            progress = self._partitions.get(partition)
            return progress.epoch if progress else None

    def put(self, messages: Iterable[Message]) -> None:
        """Take these in, in this order. Those of a partition or epoch that is not ours any more are dropped."""
        with self._lock:
            if self._closed:
                return
            for message in messages:
                if self._current(message.position):
                    self._queue.append(message)
                    self._nbytes += len(message.value)
            self._regulate()

    def take(self) -> Message | None:
        """The next message, or None when there is none to hand out now. Does not block."""
        with self._lock:
            if not self._queue:
                return None
            message = self._queue.popleft()
            self._nbytes -= len(message.value)
            self._partitions[_partition(message.position)].handed_out = message.position.offset + 1
            self._regulate()
            return message

    def retire(self, partitions: Collection[Partition]) -> None:
        """Hand out nothing more of these partitions, which are about to leave; what was handed out may be finished."""
        with self._lock:
            self._replace(message for message in self._queue if _partition(message.position) not in partitions)

    def wait_for_room(self, timeout_s: float) -> None:
        """Return once it is not full, or after the time."""
        with self._room:
            self._room.wait_for(lambda: not self._full, timeout_s)

    def close(self) -> int:
        """Take nothing in any more and give back what was not handed out; how many those were. Idempotent.

        Acknowledgements of what was handed out are still kept.
        """
        with self._lock:
            count = len(self._queue)
            self._closed = True
            self._replace(())
            return count

    @property
    def closed(self) -> bool:
        """True after `close`."""
        with self._lock:
            return self._closed

    @property
    def full(self) -> bool:
        """True when nothing more should be fetched for now."""
        with self._lock:
            return self._full

    @property
    def half_empty(self) -> bool:
        """True when what waits is at most half of what may: time to fetch again after a pause."""
        with self._lock:
            return self._fill() <= _HALF

    @property
    def waiting(self) -> int:
        """How many messages wait to be handed out."""
        with self._lock:
            return len(self._queue)

    @property
    def nbytes(self) -> int:
        """How many bytes of pictures wait to be handed out."""
        with self._lock:
            return self._nbytes

    def acknowledge(self, position: Position) -> None:
        """Everything of the partition up to this position is done with; older or outdated positions are ignored.

        Raises ValueError for a position that was never handed out: writing it down would lose what lies before it.
        """
        with self._lock:
            progress = self._current(position)
            if progress is None:
                return
            if position.offset >= progress.handed_out:
                raise ValueError(f"{position} is acknowledged but was not handed out")
            progress.acknowledged = max(progress.acknowledged, position.offset + 1)

    def unwritten(self) -> dict[Partition, int]:
        """Per partition the offset of the next message to read after a crash, where that has moved since `written`."""
        with self._lock:
            return {
                where: progress.acknowledged
                for where, progress in self._partitions.items()
                if progress.acknowledged > progress.written
            }

    def written(self, offsets: Mapping[Partition, int]) -> None:
        """These offsets of `unwritten` are safe with the broker."""
        with self._lock:
            for where, offset in offsets.items():
                if (progress := self._partitions.get(where)) is not None:
                    progress.written = max(progress.written, offset)

    def settled(self, partitions: Iterable[Partition]) -> bool:
        """True when everything of these partitions that was handed out is acknowledged."""
        with self._lock:
            found = [self._partitions[where] for where in partitions if where in self._partitions]
            return all(progress.acknowledged == progress.handed_out for progress in found)

    def _current(self, position: Position) -> _Progress | None:
        progress = self._partitions.get(_partition(position))
        return progress if progress is not None and progress.epoch == position.epoch else None

    def _replace(self, messages: Iterable[Message]) -> None:
        self._queue = deque(messages)
        self._nbytes = sum(len(message.value) for message in self._queue)
        self._regulate()

    def _regulate(self) -> None:
        self._full = self._fill() >= 1
        if not self._full:
            self._room.notify_all()

    def _fill(self) -> float:
        return max(len(self._queue) / self._max_messages, self._nbytes / self._max_bytes)


def _partition(position: Position) -> Partition:
    return position.topic, position.partition
