"""The names of eyestream's Redis keys; docs/redis-keys.md says what they hold. Nothing here knows a client.

All keys of an exam share the hash tag of its shard, so that one function call may change them together on a cluster
too. The shard is a hash of the exam's id that is the same in every process and every release.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

from eyestream.records import Identity

LAYOUT = "es:layout"
"""Holds the number of shards. The first writer sets it; a writer with another number is refused."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names for a number of shards. Identifiers are checked where they enter, so none holds `:` or a brace."""

    shards: int

    def shard(self, exam_id: str) -> int:
        """The shard of an exam."""
        return zlib.crc32(exam_id.encode()) % self.shards

    def _in(self, shard: int, *parts: str) -> str:
        return ":".join((f"es:{{s{shard:02d}}}", *parts))

    def exam(self, exam_id: str) -> str:
        """Hash: all that is known of an exam."""
        return self._in(self.shard(exam_id), "exam", exam_id)

    def image(self, exam_id: str, image_id: str, identity: Identity | str) -> str:
        """String: one picture's result, JSON."""
        return self._in(self.shard(exam_id), "image", exam_id, image_id, str(identity))

    def worklist(self, shard: int, programme: str) -> str:
        """Sorted set: exams that wait for a person, by rank and then age."""
        return self._in(shard, "worklist", programme)

    def expiry(self, shard: int, programme: str) -> str:
        """Sorted set: when each worklist entry is to go."""
        return self._in(shard, "expiry", programme)

    def results(self, shard: int) -> str:
        """Stream: decisions as they are made."""
        return self._in(shard, "results")

    def count(self, shard: int, programme: str, day: dt.date | str) -> str:
        """Hash: counters of a day."""
        return self._in(shard, "count", programme, str(day))

    def conflicts(self, shard: int, programme: str) -> str:
        """List: the latest contradicting results, JSON."""
        return self._in(shard, "conflicts", programme)

    def readings(self, shard: int) -> str:
        """Stream: what readers do."""
        return self._in(shard, "readings")

    def audit(self, shard: int) -> str:
        """Stream: who saw and decided what."""
        return self._in(shard, "audit")

    def probe(self, shard: int) -> str:
        """String: proves that the shard takes writes, and carries the fsync barrier."""
        return self._in(shard, "probe")
