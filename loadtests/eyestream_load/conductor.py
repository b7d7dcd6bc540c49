"""Who plays what and when: gives each user its lane once all are ready, and says when the test is over.

One conductor a test, in Locust's master or only process. Knows no Locust: messages come in and go out as plain objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from eyestream_load import arrivals
from eyestream_load.books import Books
from eyestream_load.scenario import Scenario

CAMERA: Final = "Camera"
TRITON: Final = "TritonClient"
READER: Final = "Reader"
SWAPPER: Final = "BankSwapper"
LEAD_S: Final = 2.0
"""From the word to the beginning: every process must have heard it."""
LEAD_PER_ARRIVAL_S: Final = 2e-5
"""And have computed the schedule."""
SETTLE_S: Final = 4.0
"""What came last may still be contradicted, and the books of other processes are up to three seconds old."""
START_PATIENCE_S: Final = 240.0


def lanes(scenario: Scenario) -> dict[str, int]:
    """How many users of each kind the scenario has."""
    return {
        CAMERA: scenario.cameras.count if scenario.cameras else 0,
        TRITON: scenario.triton.count if scenario.triton else 0,
        READER: scenario.readers.count if scenario.readers else 0,
        SWAPPER: 1 if scenario.bank_swap else 0,
    }


class Conductor:
    """Begins the test with `announce` and ends it by `over`; `books` are those of all processes together."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        mark: str,
        announce: Callable[[dict[str, Any]], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.scenario, self.mark = scenario, mark
        self.books = Books()
        self.begins_at: float | None = None
        self._announce, self._now = announce, now
        self._ready: dict[str, list[str]] = {kind: [] for kind, count in lanes(scenario).items() if count}
        self._since = now()
        self._progress: tuple[int, ...] = ()
        self.planned = {
            "pictures": len(arrivals.shots(scenario)),
            "batches": len(arrivals.calls(scenario)),
            "sessions": len(arrivals.sessions(scenario)),
        }

    def joined(self, kind: str, token: str) -> None:
        """A user is ready to play; when the last of them is, all hear which lane is theirs and when it begins."""
        self._ready[kind].append(token)
        if self.begins_at is None and all(len(self._ready[kind]) >= count for kind, count in self._wanted().items()):
            self.begins_at = self._now() + LEAD_S + LEAD_PER_ARRIVAL_S * sum(self.planned.values())
            self._since = self.begins_at
            self._announce(
                {
                    "begins_at": self.begins_at,
                    "mark": self.mark,
                    "scenario": self.scenario.model_dump(mode="json"),
                    "lanes": {token: lane for tokens in self._ready.values() for lane, token in enumerate(tokens)},
                }
            )

    def over(self) -> bool:
        """Whether everything has an end, or nothing has moved for too long. Why it ended early is in the books."""
        at = self._now()
        if self.books.counts["failed"]:
            return True
        if self.begins_at is None:
            if at - self._since <= START_PATIENCE_S:
                return False
            missing = {kind: count - len(self._ready[kind]) for kind, count in self._wanted().items()}
            self.books.faults.append(f"the test did not begin: {missing} users were never ready")
            return True
        progress = self._ended()
        if progress != self._progress:
            self._progress, self._since = progress, max(at, self._since)
        if at < self.begins_at + self.scenario.seconds:
            self._since = at
            return False
        everything = all(ended >= planned for ended, planned in zip(progress, self.planned.values(), strict=True))
        everything = everything and self.books.counts["sent"] >= self.books.counts["spooled"]
        return at - self._since > (SETTLE_S if everything else self.scenario.patience_s)

    def interrupted(self) -> bool:
        """Whether somebody ended the test before it was over; one that ended itself has said why."""
        if self.begins_at is None or self.books.counts["failed"]:
            return False
        return self._now() < self.begins_at + self.scenario.seconds

    def _wanted(self) -> dict[str, int]:
        return {kind: count for kind, count in lanes(self.scenario).items() if count}

    def _ended(self) -> tuple[int, ...]:
        """Pictures, batches and sessions that have an end of whatever kind."""
        counts = self.books.counts
        return (counts["readable"] + counts["refused"] + counts["not-taken"], counts["batches"], counts["sessions"])
