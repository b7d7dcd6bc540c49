"""Store and forward: pictures on this machine's disk until Kafka has them. Knows neither picture files nor Kafka.

One SQLite file. A picture is on the disk when `put` returns, is there once however often it is put, and leaves only
when it is marked as sent. Any process may be killed, and the power cut, at any moment.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from eyestream import records, telemetry
from eyestream.device.database import Database, DiskFull
from eyestream.records import ImageMeta

GIB: Final = 2**30
_LAYOUT: Final = 1
_SCHEMA: Final = """
CREATE TABLE pictures (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id TEXT NOT NULL UNIQUE,
    exam_id TEXT NOT NULL,
    meta TEXT NOT NULL,
    content_type TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    trouble TEXT NOT NULL DEFAULT '',
    spooled_at REAL NOT NULL
);
CREATE INDEX sizes ON pictures (size, spooled_at);
CREATE TABLE bodies (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE sent (image_id TEXT PRIMARY KEY, sent_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE seen (fingerprint TEXT PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE refused (reason TEXT PRIMARY KEY, files INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A picture that has yet to be sent; `attempts` counts how often that was tried."""

    sequence: int
    meta: ImageMeta
    data: bytes
    content_type: str
    traceparent: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How the spool stands. `troubled` are pictures whose last attempt failed, by the name of the trouble."""

    waiting: int
    waiting_bytes: int
    oldest_s: float
    sent: int
    troubled: dict[str, int]
    refused: dict[str, int]


class Spool:
    """The spool in one file. Any number of threads and processes may use it at once; every call blocks.

    It holds at most `max_bytes` of waiting pictures and leaves `min_free_bytes` of the disk to others. Every method
    raises Unavailable when the disk fails or refuses, and Misconfigured when the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 20 * GIB,
        min_free_bytes: int = GIB // 4,
        now: Callable[[], float] = records.now,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._now = now
        # A second wall behind max_bytes, for what pictures weigh besides their bytes.
        self._database = Database(path, schema=_SCHEMA, layout=_LAYOUT, max_bytes=max_bytes + max_bytes // 16)

    def put(self, meta: ImageMeta, data: bytes, *, content_type: str) -> bool:
        """Keep the picture; it is on the disk when this returns. False when it waits or was sent already.

        The first one stands: its trace, time and metadata do not change. Raises DiskFull when there is no room; the
        picture is then not there, not even in part, and the caller still has it.
        """
        with self._database.writing() as database:
            if self._knows(database, meta.image_id):
                return False
            self._check_room(database, len(data))
            row = database.execute(
                "INSERT INTO pictures (image_id, exam_id, meta, content_type, traceparent, size, spooled_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    meta.image_id,
                    meta.exam_id,
                    meta.model_dump_json(),
                    content_type,
                    telemetry.new_traceparent(),
                    len(data),
                    self._now(),
                ),
            )
            database.execute("INSERT INTO bodies VALUES (?, ?)", (row.lastrowid, data))
        return True

    def waiting(self, *, limit: int, max_bytes: int, without_exams: Collection[str] = ()) -> list[Waiting]:
        """The next pictures to send, oldest first: one of each exam, its oldest, and none of the exams named.

        One of each exam, because the next may only follow once this one has arrived. They weigh `max_bytes` together
        at most, unless a single one weighs more.
        """
        seen = set(without_exams)
        chosen: list[int] = []
        room = max_bytes
        with self._database.reading() as database:
            # Read row by row and left early: a long backlog must not be gone through for each picture.
            for sequence, exam_id, size in database.execute(
                "SELECT sequence, exam_id, size FROM pictures ORDER BY sequence"
            ):
                if len(chosen) == limit:
                    break
                if exam_id in seen:
                    continue
                if chosen and size > room:
                    break
                seen.add(exam_id)
                room -= size
                chosen.append(sequence)
            return [_waiting(database, sequence) for sequence in chosen]

    def mark_sent(self, image_ids: Sequence[str]) -> None:
        """These have arrived: free their bytes and remember only that they were sent. Idempotent."""
        at = self._now()
        with self._database.writing() as database:
            for each in image_ids:
                gone = database.execute(
                    "DELETE FROM pictures WHERE image_id = ? RETURNING sequence", (each,)
                ).fetchall()
                database.executemany("DELETE FROM bodies WHERE sequence = ?", gone)
            # After the bytes are freed, so that a file which is full makes room for this.
            database.executemany(
                "INSERT OR IGNORE INTO sent (image_id, sent_at) VALUES (?, ?)", [(each, at) for each in image_ids]
            )

    def mark_failed(self, image_id: str, trouble: str) -> None:
        """An attempt to send this picture failed; `trouble` is a slug that `depth` counts."""
        with self._database.writing() as database:
            database.execute(
                "UPDATE pictures SET attempts = attempts + 1, trouble = ? WHERE image_id = ?", (trouble, image_id)
            )

    def still_waiting(self, image_ids: Collection[str]) -> int:
        """How many of these have yet to be sent."""
        with self._database.reading() as database:
            known = "SELECT COUNT(*) FROM pictures JOIN json_each(?) ON image_id = value"
            count: int = database.execute(known, (json.dumps(sorted(set(image_ids))),)).fetchone()[0]
            return count

    def remember_file(self, fingerprint: str) -> None:
        """A watched file with this fingerprint is done with; idempotent."""
        with self._database.writing() as database:
            database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (fingerprint, self._now()))

    def remembers_file(self, fingerprint: str) -> bool:
        """Whether a file with this fingerprint is done with."""
        with self._database.reading() as database:
            return database.execute("SELECT 1 FROM seen WHERE fingerprint = ?", (fingerprint,)).fetchone() is not None

    def count_refused(self, reason: str) -> None:
        """One more file was refused for this reason."""
        with self._database.writing() as database:
            database.execute(
                "INSERT INTO refused VALUES (?, 1) ON CONFLICT (reason) DO UPDATE SET files = files + 1", (reason,)
            )

    def depth(self) -> Depth:
        """How the spool stands now."""
        with self._database.reading() as database:
            count, size, oldest = database.execute(
                "SELECT COUNT(*), COALESCE(SUM(size), 0), MIN(spooled_at) FROM pictures"
            ).fetchone()
            return Depth(
                waiting=count,
                waiting_bytes=size,
                oldest_s=0.0 if oldest is None else max(0.0, self._now() - oldest),
                sent=database.execute("SELECT COUNT(*) FROM sent").fetchone()[0],
                troubled=dict(
                    database.execute("SELECT trouble, COUNT(*) FROM pictures WHERE trouble != '' GROUP BY trouble")
                ),
                refused=dict(database.execute("SELECT reason, files FROM refused")),
            )

    def prune(self, *, older_than_s: float, still_there: Collection[str] = ()) -> int:
        """Forget pictures and files that were done with longer ago; a picture sent again after that is sent twice.

        Files with the fingerprints `still_there` are remembered anew, for they would be taken anew. Returns how many
        sent pictures were forgotten. Gives freed space back to the disk.
        """
        at = self._now()
        before = at - older_than_s
        with self._database.writing() as database:
            database.executemany(
                "UPDATE seen SET seen_at = ? WHERE fingerprint = ?", [(at, one) for one in still_there]
            )
            database.execute("DELETE FROM seen WHERE seen_at < ?", (before,))
            forgotten = database.execute("DELETE FROM sent WHERE sent_at < ?", (before,)).rowcount
        self._database.shrink()
        return forgotten

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._database.close()

    @staticmethod
    def _knows(database: sqlite3.Connection, image_id: str) -> bool:
        query = "SELECT 1 FROM pictures WHERE image_id = :id UNION ALL SELECT 1 FROM sent WHERE image_id = :id"
        return database.execute(query, {"id": image_id}).fetchone() is not None

    def _check_room(self, database: sqlite3.Connection, size: int) -> None:
        waiting = database.execute("SELECT COALESCE(SUM(size), 0) FROM pictures").fetchone()[0]
        if waiting + size > self._max_bytes:
            raise DiskFull(f"{waiting} bytes wait to be sent and {self._max_bytes} may; is Kafka reachable?")
        free = shutil.disk_usage(self.path.parent).free
        # A picture is written twice, to the log and to its place.
        if free - 2 * size < self._min_free_bytes:
            raise DiskFull(f"the disk has {free} bytes left and keeps {self._min_free_bytes}; make room")


def _waiting(database: sqlite3.Connection, sequence: int) -> Waiting:
    row: tuple[Any, ...] = database.execute(
        "SELECT meta, data, content_type, traceparent, attempts FROM pictures JOIN bodies USING (sequence)"
        " WHERE sequence = ?",
        (sequence,),
    ).fetchone()
    meta, data, content_type, traceparent, attempts = row
    return Waiting(sequence, ImageMeta.model_validate_json(meta), data, content_type, traceparent, attempts)
