"""One SQLite file that outlives kill -9 and power cuts; knows nothing of what is kept in it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eyestream.errors import Misconfigured, Unavailable

_FULL: Final = sqlite3.SQLITE_FULL
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOG_BYTES: Final = 64 * 2**20
_LEAST_PAGES: Final = 256


class DiskFull(Unavailable):
    """There is no room to keep more."""

    def __init__(self, explanation: str) -> None:
        super().__init__("spool", explanation)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self).removeprefix("spool is unavailable: "),))


class Database:
    """The file, with the tables of `schema`. Any number of threads and processes may use it at once.

    `layout` numbers the schema: a file with another one is refused. The file never grows beyond `max_bytes`. Raises
    DiskFull when there is no room, Unavailable when the disk fails, Misconfigured when the file is damaged.
    """

    def __init__(self, path: Path, *, schema: str, layout: int, max_bytes: int) -> None:
        self._lock = threading.Lock()
        with _disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._tune(max_bytes)
            found = self._create(schema, layout)
        if found not in (0, layout):
            self.close()
            raise Misconfigured(f"{path} is the spool of another release; let that release send it empty")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all or nothing, and on the disk at the end."""
        with self._lock, _disk_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One moment of the file, whatever others write meanwhile."""
        with self._lock, _disk_errors():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Give freed space back to the disk."""
        with self._lock, _disk_errors():
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._connection.close()

    def _tune(self, max_bytes: int) -> None:
        execute = self._connection.execute
        execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit: what was acknowledged survives a power cut.
        execute("PRAGMA synchronous = FULL")
        # FAST wipes only where that costs no writing, so that a full disk can still be emptied.
        execute("PRAGMA secure_delete = FAST")
        execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        page = execute("PRAGMA page_size").fetchone()[0]
        execute(f"PRAGMA max_page_count = {max(_LEAST_PAGES, max_bytes // page)}")

    def _create(self, schema: str, layout: int) -> int:
        """Make the tables where there are none; the layout that was found."""
        self._connection.execute("BEGIN IMMEDIATE")
        found: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in schema.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {layout}")
        self._connection.execute("COMMIT")
        return found


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == _FULL:
            raise DiskFull("the spool's file or its disk is full; make room") from error
        if code in _DAMAGED:
            raise Misconfigured("the spool's file is damaged; keep it for rescue and start with another") from error
        if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
            raise Unavailable("spool", error.sqlite_errorname) from error
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Unavailable("spool", f"{where}{error.strerror or type(error).__name__}") from error
