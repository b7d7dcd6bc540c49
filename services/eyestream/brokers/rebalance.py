"""What a member does when the group shares its partitions out anew. Runs on kafka-python's IO thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from eyestream.brokers.commits import Commits
from eyestream.brokers.inbox import Inbox
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

_SLICE_S = 0.05
"""How long the IO thread is kept from its heartbeats at a time while pictures in flight settle."""


def listener(inbox: Inbox, commits: Commits, *, grace_s: float, leaving: threading.Event) -> Any:
    """A rebalance listener that lets what is in flight finish, and commits it, before partitions change hands.

    While the group decides nothing is handed out. What is not finished within the grace is screened again by the new
    owner; partitions that come back to us go on where they were. When we are `leaving` nobody waits.
    """
    from kafka import AsyncConsumerRebalanceListener

    class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
        async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            if leaving.is_set():
                return
            inbox.hold(held=True)
            deadline = time.monotonic() + grace_s
            await commits.from_listener()
            while not inbox.settled and time.monotonic() < deadline and not leaving.wait(_SLICE_S):
                await commits.from_listener()
            await commits.from_listener()
            _report("partitions are shared out anew", Verb.REVOKED, revoked)

        async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            inbox.assign((where.topic, where.partition) for where in assigned)
            inbox.hold(held=False)
            _report("partitions assigned", Verb.ASSIGNED, assigned)

        async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
            inbox.assign(())
            _report("partitions lost to another member", Verb.REVOKED, lost)

    return Listener()


def _report(text: str, action: Verb, partitions: Iterable[Any]) -> None:
    numbers = sorted(where.partition for where in partitions)
    log.info(text, extra={"action": action, "count": len(numbers), "partition": numbers})
