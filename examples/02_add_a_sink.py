"""A sink of your own: results in one SQLite file, for a clinic without a Redis.

Run it: `python examples/02_add_a_sink.py`. docs/howto/add-a-sink.md explains it, and tests/seams/test_sinks.py holds it
to the same contract as Redis.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from eyestream.errors import Unavailable
from eyestream.records import Identity, Outcome, Picture, Screening, Unreadable, now, utc
from eyestream.sinks import codec
from eyestream.sinks.base import (
    DEFAULT_TOLERANCE,
    WAITING,
    Decide,
    Decided,
    Exam,
    WorklistEntry,
    WorklistPage,
    same_result,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS exam (id TEXT PRIMARY KEY, programme, day, since REAL, version INT DEFAULT 0,
    decided INT DEFAULT 0, decision, outcome, rank INT);
CREATE TABLE IF NOT EXISTS result (exam, image, identity, json, PRIMARY KEY (exam, image, identity));
CREATE TABLE IF NOT EXISTS picture (exam, image, json, note, PRIMARY KEY (exam, image));
CREATE TABLE IF NOT EXISTS conflict (id INTEGER PRIMARY KEY, programme, json);
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, exam, programme, outcome, urgency, rank INT, version INT, at);
CREATE TABLE IF NOT EXISTS counter (programme, day, name, n INT, PRIMARY KEY (programme, day, name));
"""


class SqliteSink:
    """`Sink` and `Results` in one file. A batch and its decisions are one transaction: all is there, or nothing."""

    def __init__(self, path: Path, decide: Decide) -> None:
        self.decide = decide
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")  # on the disk when `store` returns
        self.db.executescript(SCHEMA)

    async def store(self, screenings: Sequence[Screening]) -> list[Outcome]:
        """Keep each result once, then decide the exams that changed."""
        with self.transaction():
            outcomes = [self.keep(screening) for screening in screenings]
            self.decide_again({screening.meta.exam_id for screening in screenings})
        return outcomes

    async def note_unreadable(self, pictures: Sequence[Unreadable]) -> None:
        """Let the exam show the picture, unless it knows it already."""
        with self.transaction():
            for note in pictures:
                row = (note.meta.exam_id, note.meta.image_id, codec.dump_picture(codec.picture_of(note)))
                sql = "INSERT OR IGNORE INTO picture VALUES (?, ?, ?, ?)"
                if self.db.execute(sql, (*row, codec.dump_unreadable(note))).rowcount:
                    self.changed(note)
                    self.count(note.meta.programme, utc(now()).date(), "unreadable")
            self.decide_again({note.meta.exam_id for note in pictures})

    def keep(self, screening: Screening) -> Outcome:
        meta, identity = screening.meta, str(screening.identity)
        if screening.timings.stored is None:
            screening = dataclasses.replace(screening, timings=dataclasses.replace(screening.timings, stored=now()))
        key = (meta.exam_id, meta.image_id, identity)
        text = codec.dump_screening(screening)
        outcome: Outcome = "stored"
        known = self.db.execute("SELECT json FROM result WHERE (exam, image, identity) = (?, ?, ?)", key).fetchone()
        if known is None:
            self.db.execute("INSERT INTO result VALUES (?, ?, ?, ?)", (*key, text))
            picture = codec.dump_picture(codec.picture_of(screening))
            self.db.execute("INSERT OR REPLACE INTO picture VALUES (?, ?, ?, NULL)", (*key[:2], picture))
            self.changed(screening)
        elif same_result(codec.load_screening(known[0]), screening, DEFAULT_TOLERANCE):
            outcome = "duplicate"
        else:
            outcome = "conflict"
            self.db.execute("INSERT INTO conflict (programme, json) VALUES (?, ?)", (meta.programme, text))
        self.count(meta.programme, utc(now()).date(), outcome)
        return outcome

    def changed(self, result: Screening | Unreadable) -> None:
        meta = result.meta
        self.db.execute(
            "INSERT INTO exam (id, programme, day, since, version) VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET version = version + 1, since = min(since, excluded.since)",
            (meta.exam_id, meta.programme, str(utc(now()).date()), meta.captured_at.timestamp()),
        )

    def decide_again(self, exam_ids: set[str]) -> None:
        for exam_id in exam_ids:
            programme, day, version, decided, before = self.db.execute(
                "SELECT programme, day, version, decided, outcome FROM exam WHERE id = ?", (exam_id,)
            ).fetchone()
            if version == decided:
                continue
            decision = self.decide(programme, exam_id, self.pictures(exam_id))
            self.db.execute(
                "UPDATE exam SET decided = version, decision = ?, outcome = ?, rank = ? WHERE id = ?",
                (codec.dump_decision(decision), decision.outcome, decision.rank, exam_id),
            )
            if before:
                self.count(programme, day, before, -1)
            self.count(programme, day, decision.outcome)
            event = (exam_id, programme, decision.outcome, decision.urgency, decision.rank, version, now())
            self.db.execute("INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", event)

    def pictures(self, exam_id: str) -> list[Picture]:
        rows = self.db.execute("SELECT json FROM picture WHERE exam = ? ORDER BY image", (exam_id,))
        return [codec.load_picture(text) for (text,) in rows]

    def count(self, programme: str, day: dt.date | str, name: str, by: int = 1) -> None:
        sql = "INSERT INTO counter VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
        self.db.execute(sql, (programme, str(day), name, by))

    def transaction(self) -> Transaction:
        return Transaction(self.db)

    async def check(self) -> None:
        """A store would fail when the file cannot be locked for writing."""
        with self.transaction():
            pass

    async def close(self) -> None:
        """SQLite closes twice without complaint."""
        self.db.close()

    async def exam(self, exam_id: str) -> Exam | None:
        columns = "id, programme, version, decided, since, decision"
        row = self.db.execute(f"SELECT {columns} FROM exam WHERE id = ?", (exam_id,)).fetchone()  # noqa: S608
        if row is None:
            return None
        notes = self.db.execute("SELECT note FROM picture WHERE exam = ? AND note NOT NULL ORDER BY image", (exam_id,))
        return Exam(
            exam_id=row[0],
            programme=row[1],
            version=row[2],
            decided=row[3],
            since=row[4],
            pictures=tuple(self.pictures(exam_id)),
            decision=codec.load_decision(row[5]) if row[5] else None,
            unreadable=tuple(codec.load_unreadable(text) for (text,) in notes),
        )

    async def screening(self, exam_id: str, image_id: str, identity: Identity) -> Screening | None:
        key = (exam_id, image_id, str(identity))
        row = self.db.execute("SELECT json FROM result WHERE (exam, image, identity) = (?, ?, ?)", key).fetchone()
        return codec.load_screening(row[0]) if row else None

    async def screenings(self, exam_id: str) -> list[Screening]:
        rows = self.db.execute("SELECT json FROM result WHERE exam = ? ORDER BY rowid", (exam_id,))
        return [codec.load_screening(text) for (text,) in rows]

    async def worklist(self, programme: str, *, limit: int = 50, cursor: str | None = None) -> WorklistPage:
        rows = self.db.execute(
            "SELECT id, rank, since FROM exam WHERE programme = ? AND outcome IN (SELECT value FROM json_each(?))"
            " ORDER BY rank DESC, since, id LIMIT ? OFFSET ?",
            (programme, json.dumps(sorted(WAITING)), limit + 1, int(cursor or 0)),
        ).fetchall()
        rest = str(int(cursor or 0) + limit) if len(rows) > limit else None
        return WorklistPage(tuple(WorklistEntry(*row) for row in rows[:limit]), rest)

    async def counts(self, programme: str, day: dt.date) -> Mapping[str, int]:
        sql = "SELECT name, n FROM counter WHERE programme = ? AND day = ? AND n <> 0"
        return dict(self.db.execute(sql, (programme, str(day))).fetchall())

    async def conflicts(self, programme: str, *, limit: int = 50) -> list[Screening]:
        sql = "SELECT json FROM conflict WHERE programme = ? ORDER BY id DESC LIMIT ?"
        return [codec.load_screening(text) for (text,) in self.db.execute(sql, (programme, limit))]

    async def tail(self, *, from_start: bool = False) -> AsyncIterator[Decided]:
        (last,) = self.db.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()
        seen = 0 if from_start else last
        while True:
            for row in self.db.execute("SELECT * FROM event WHERE id > ? ORDER BY id", (seen,)).fetchall():
                seen = row[0]
                yield Decided(*row[1:])
            await asyncio.sleep(0.05)


class Transaction:
    """One atomic change; what SQLite says of a file that is locked or full is the world's fault."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Unavailable("sqlite", str(error)) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if self.db.in_transaction:
            self.db.execute("COMMIT" if error is None else "ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise Unavailable("sqlite", str(error)) from error


async def main() -> None:
    from eyestream.testing.screenings import Judge, a_screening

    with tempfile.TemporaryDirectory() as folder:
        sink = SqliteSink(Path(folder, "results.db"), Judge())
        batch = [a_screening("right-eye", probability=0.91), a_screening("left-eye", laterality="L", probability=0.12)]
        print("first time:", await sink.store(batch))
        print("delivered again:", await sink.store(batch))
        exam = await sink.exam("exam-1")
        assert exam is not None
        print("decision:", exam.decision)
        await sink.close()


if __name__ == "__main__":
    asyncio.run(main())
