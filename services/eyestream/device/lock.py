"""One sender a spool: two would send every picture twice."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class SpoolLock:
    """Held by the process that sends from a spool; the operating system drops it when that process ends, however."""

    def __init__(self, spool: Path) -> None:
        self._path = spool.with_name(spool.name + ".lock")
        self._handle: int | None = None

    def take(self) -> bool:
        """Try to become the one sender; False, at once, while another is. Idempotent."""
        if self._handle is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def give_back(self) -> None:
        """Let another send. Idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
