"""A broker of your own: pictures queue in one SQLite file, for a clinic without a Kafka.

Run it: `python examples/05_add_a_broker.py`. docs/howto/add-a-broker.md explains it, and tests/seams/test_brokers.py
holds it to the same contract as Kafka.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from eyestream.errors import Rejected, Unavailable
from eyestream.records import Message, Position, now

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (partition INT, offset INT, key, value, headers, produced,
    PRIMARY KEY (partition, offset));
CREATE TABLE IF NOT EXISTS done (partition INT PRIMARY KEY, offset INT);
CREATE TABLE IF NOT EXISTS dead (id INTEGER PRIMARY KEY, value, headers);
CREATE TABLE IF NOT EXISTS lease (one INT PRIMARY KEY CHECK (one = 1), owner, epoch INT, until REAL);
INSERT OR IGNORE INTO lease VALUES (1, NULL, 0, 0);
"""
LEASE_S = 2.0
POLL_S = 0.02


class SqliteBroker:
    """One member reads at a time: whoever holds the lease. Each time it is taken, a new epoch begins."""

    def __init__(self, path: Path, topic: str = "screening.images") -> None:
        self.topic = topic
        self.me = secrets.token_hex(8)
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        self.epoch = 0
        self.next: dict[int, int] = {}
        self.ended = False

    async def messages(self) -> AsyncIterator[Message]:
        """One at a time as they are asked for: nothing is fetched ahead, so nothing has to be given back."""
        while not self.ended:
            message = self.following() if self.holds_the_lease() else None
            if message is not None:
                yield message
            else:
                await asyncio.sleep(POLL_S)

    async def acknowledge(self, position: Position) -> None:
        """Written down at once. One of an epoch that has passed finds no lease to match and changes nothing."""
        if position.epoch == self.epoch and position.offset >= self.next.get(position.partition, 0):
            raise ValueError(f"{position} is acknowledged but was not handed out")
        self.execute(
            "INSERT INTO done SELECT ?, ? FROM lease WHERE owner = ? AND epoch = ?"
            " ON CONFLICT DO UPDATE SET offset = max(offset, excluded.offset)",
            (position.partition, position.offset + 1, self.me, position.epoch),
        )

    async def dead_letter(self, message: Message, rejection: Rejected, *, attempts: int) -> None:
        """The message whole, and why: ours last, so that a device's headers of the same names do not count."""
        headers = {name: value.decode("latin-1") for name, value in message.headers.items()} | {
            "eyestream-reason": rejection.reason,
            "eyestream-stage": rejection.stage,
            "eyestream-explanation": rejection.explanation,
            "eyestream-attempts": str(attempts),
        }
        self.execute("INSERT INTO dead VALUES (NULL, ?, ?)", (message.value, json.dumps(headers)))

    async def lag(self) -> int:
        """What lies behind the next message of each partition."""
        rows = self.execute("SELECT partition, max(offset) + 1 FROM message GROUP BY partition") if self.next else []
        return sum(max(0, end - self.next.get(partition, end)) for partition, end in rows)

    async def drain(self) -> None:
        """`messages` ends; what was handed out may still be acknowledged."""
        self.ended = True

    async def close(self) -> None:
        """Let go of the lease, so that another member need not wait for it to lapse."""
        self.ended = True
        self.execute("UPDATE lease SET owner = NULL, until = 0 WHERE owner = ?", (self.me,))

    def put(
        self, value: bytes, *, partition: int = 0, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """What a device would call."""
        texts = json.dumps({name: value.decode("latin-1") for name, value in (headers or {}).items()})
        self.execute(
            "INSERT INTO message SELECT ?1, (SELECT count(*) FROM message WHERE partition = ?1), ?2, ?3, ?4, ?5",
            (partition, key, value, texts, now()),
        )

    def holds_the_lease(self) -> bool:
        """Prolong it, or take it when it is free; where somebody else took it from us, forget what we were doing."""
        renewed = "UPDATE lease SET until = ? WHERE owner = ? RETURNING epoch"
        if self.execute(renewed, (now() + LEASE_S, self.me)):
            return True
        taken = (
            "UPDATE lease SET owner = ?, epoch = epoch + 1, until = ? WHERE owner IS NULL OR until < ? RETURNING epoch"
        )
        if not (rows := self.execute(taken, (self.me, now() + LEASE_S, now()))):
            return False
        ((self.epoch,),) = rows
        done = dict(self.execute("SELECT partition, offset FROM done"))
        self.next = {partition: done.get(partition, 0) for partition in range(2)}
        return True

    def following(self) -> Message | None:
        for partition, offset in sorted(self.next.items(), key=lambda item: item[1]):
            sql = "SELECT key, value, headers, produced FROM message WHERE (partition, offset) = (?, ?)"
            for key, value, headers, produced in self.execute(sql, (partition, offset)):
                self.next[partition] = offset + 1
                return Message(
                    value=value,
                    headers={name: text.encode("latin-1") for name, text in json.loads(headers).items()},
                    position=Position(self.topic, partition, offset, self.epoch),
                    produced=produced,
                    fetched=now(),
                    key=key,
                )
        return None

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """What SQLite says of a file that is locked or full is the world's fault."""
        try:
            return self.db.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise Unavailable("sqlite", str(error)) from error


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        broker = SqliteBroker(Path(folder, "queue.db"))
        for name in (b"right eye", b"left eye", b"not an eye"):
            broker.put(name)
        async for message in broker.messages():
            if message.value == b"not an eye":
                await broker.dead_letter(message, Rejected("not-a-picture", "Send a JPEG."), attempts=1)
            print(message.position.offset, message.value.decode())
            await broker.acknowledge(message.position)
            if await broker.lag() == 0:
                await broker.drain()
        await broker.close()
        print("dead letters:", broker.execute("SELECT value, headers FROM dead"))


if __name__ == "__main__":
    asyncio.run(main())
