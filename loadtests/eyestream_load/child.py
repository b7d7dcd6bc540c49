"""A child program as Locust's process sees it: started, asked, listened to, ended. Knows nothing of what it does."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from eyestream.errors import Unavailable

log = logging.getLogger(__name__)

Event = dict[str, Any]
SHELF: Final = Path(__file__).parents[1]
_START: Final = "import sys; sys.path.insert(0, {shelf!r}); from eyestream_load.{name} import main; main()"
_READY_WITHIN_S: Final = 180.0


class Child:
    """One running program of this package. `heard` is called with each of its events, in order, on one thread.

    Under Locust threads are greenlets: nothing here blocks another user.
    """

    def __init__(self, name: str, heard: Callable[[Event], None], opening: Event) -> None:
        self.name = name
        self._heard = heard
        self._ready = threading.Event()
        self._writing = threading.Lock()
        self._ending = False
        self._why = ""
        code = _START.format(shelf=str(SHELF), name=name)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.ask(opening)

    def wait_ready(self, within_s: float = _READY_WITHIN_S) -> None:
        """Until it says that it is ready. Raises Unavailable with its reason when it ends, or takes too long."""
        if not self._ready.wait(within_s):
            raise Unavailable(self.name, f"it was not ready within {within_s:.0f} s")
        if self._why:
            raise Unavailable(self.name, self._why)

    def ask(self, order: Event) -> None:
        """Hand it an order; what becomes of it is heard later. A child that has ended hears nothing."""
        assert self._process.stdin is not None
        with self._writing:
            try:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                log.debug("%s has ended", self.name)

    def close(self, within_s: float = 15.0) -> None:
        """Nothing more will be asked: wait for it to end, and end it when that takes too long."""
        self._ending = True
        assert self._process.stdin is not None
        with self._writing:
            try:
                self._process.stdin.close()
            except OSError:
                log.debug("%s has ended", self.name)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listening.join(timeout=within_s)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self._ready.set()
                continue
            if event["event"] == "failed":
                self._why = event["why"]
                log.error("%s: %s", self.name, event.get("traceback") or event["why"])
            self._heard(event)
        if not self._ending and not self._why:
            self._why = "it ended by itself"
            self._heard({"event": "failed", "why": self._why})
        self._ready.set()
