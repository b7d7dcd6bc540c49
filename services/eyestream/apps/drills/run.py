"""One scenario as it runs: sends its pictures, waits for them, marks the fault, and closes the books."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from eyestream.apps.drills.accounts import (
    Account,
    check_letters,
    check_results,
    counters,
    flows_after,
    stored_results,
    uncommitted,
)
from eyestream.apps.drills.ground import Ground
from eyestream.apps.drills.pictures import Lot
from eyestream.brokers.redrive import read_dead_letters
from eyestream.errors import EyestreamError, Unavailable
from eyestream.records import Position, now
from eyestream.sinks.redis_reader import ResultsReader

T = TypeVar("T")
Watch = Callable[[int], None]
"""Called with how many pictures of the scenario have an end so far."""

PATIENCE_S: Final = 90.0
"""So long nothing may happen before what is missing counts as lost."""


class Run:
    """The pictures of one scenario on their way; scenarios are written in its words."""

    def __init__(self, name: str, ground: Ground, lot: Lot, *, mark: str, watch: Watch = lambda _: None) -> None:
        self.name, self.ground, self.lot, self.mark = name, ground, lot, mark
        self.sent: dict[Position, int] = {}
        self.fault_at: float | None = None
        self.faults: list[str] = []
        self._watch = watch
        self._next = 0
        self._began = time.monotonic()
        self._before = self._counters()

    def send(self, share: float = 1.0) -> None:
        """Produce the next messages until this share of the lot is in Kafka, and return when it is."""
        from kafka import KafkaProducer

        options = self.ground.kafka
        until = round(share * len(self.lot.parcels))
        producer = KafkaProducer(**options.producer_config(), linger_ms=5)
        try:
            futures = []
            for number in range(self._next, until):
                parcel = self.lot.parcels[number]
                futures.append(
                    (
                        number,
                        producer.send(options.topic, key=parcel.key, value=parcel.value, headers=[*parcel.headers]),
                    )
                )
            for number, future in futures:
                at = future.get(timeout=60)
                self.sent[Position(at.topic, at.partition, at.offset)] = number
        finally:
            producer.close()
        self._next = max(self._next, until)

    def send_during(self, action: Callable[[], None]) -> None:
        """Go on producing, a little at a time, while the action lasts; what is left then follows at once."""
        with ThreadPoolExecutor(1) as threads:
            acting = threads.submit(action)
            while not acting.done() and self.left:
                self.send((self._next + 2) / len(self.lot.parcels))
                time.sleep(0.05)
            acting.result()
        self.send()

    @property
    def left(self) -> int:
        """Messages not sent yet."""
        return len(self.lot.parcels) - self._next

    @property
    def stored(self) -> int:
        """Results stored since the scenario began."""
        return (self._counters() - self._before)["stored"]

    @property
    def duplicates(self) -> int:
        """Results that came again since the scenario began."""
        return (self._counters() - self._before)["duplicate"]

    def banks(self) -> set[str]:
        """Digests of the banks that the results so far were judged with."""
        results = self._ask(lambda reader: stored_results(reader, self.lot.metas))
        return {result.identity.bank for result in results}

    def until_stored(self, share: float) -> None:
        """Wait until this share of all good pictures is stored."""
        wanted = max(1, round(share * len(self.lot.metas)))
        self.ground.wait(lambda: self.stored >= wanted, f"{self.name}: {wanted} results")

    def fault(self) -> None:
        """It is broken now. Raises Unavailable when nothing was under way any more: that would prove nothing."""
        self.fault_at = now()
        if self.stored >= len(self.lot.metas):
            raise Unavailable("the drill", f"{self.name}: every picture was stored before the fault; send more")

    def demand(self, truth: bool, told: str) -> None:
        """What else the scenario promises; a broken one is a fault of the account."""
        if not truth:
            self.faults.append(told)

    def settle(self) -> None:
        """Wait until every picture has an end and Kafka knows; returns as well when nothing happens any more."""
        moved, last = time.monotonic(), Counter[str]()
        while True:
            try:
                seen = self._counters() - self._before
                self._watch(seen["stored"])
                done = seen["stored"] >= len(self.lot.metas) and uncommitted(self.ground.kafka) == 0
            except (EyestreamError, OSError):
                seen, done = last, False
            if done:
                return
            if seen != last:
                moved, last = time.monotonic(), seen
            if time.monotonic() - moved > PATIENCE_S:
                return
            time.sleep(0.1)

    def account(self) -> Account:
        """The scenario's books, closed."""
        results = self._ask(lambda reader: stored_results(reader, self.lot.metas))
        lost, faults = check_results(self.lot.metas, results, self.ground.alone)
        unlettered, again, wrong = check_letters(self.lot, self.sent, read_dead_letters(self.ground.kafka))
        came = self._counters() - self._before
        if came["stored"] != len(results):
            faults.append(f"{came['stored']} results were stored and {len(results)} belong to this scenario")
        if left := uncommitted(self.ground.kafka):
            faults.append(f"{left} messages are not acknowledged")
        return Account(
            scenario=self.name,
            pictures=self.lot.pictures,
            lost=lost + unlettered,
            conflicts=came["conflict"],
            duplicates=came["duplicate"] + again,
            flows_after_s=None if self.fault_at is None else flows_after(results, self.fault_at),
            took_s=time.monotonic() - self._began,
            faults=(*self.faults, *faults, *wrong),
        )

    def _counters(self) -> Counter[str]:
        return self._ask(lambda reader: counters(reader, "demo"))

    def _ask(self, question: Callable[[ResultsReader], Coroutine[Any, Any, T]]) -> T:
        async def ask() -> T:
            reader = ResultsReader(self.ground.settings.redis.url.get_secret_value())
            try:
                return await question(reader)
            finally:
                await reader.close()

        return asyncio.run(ask())
