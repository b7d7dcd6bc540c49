"""One process's part of the test: its child programs, what they tell, and the process's own books.

Started where the first user needs it. Knows no Locust: users call it, and blocking calls let other users run.
"""

from __future__ import annotations

import csv
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from eyestream_load.books import Books
from eyestream_load.child import Child, Event
from eyestream_load.options import Options
from eyestream_load.scenario import Scenario

log = logging.getLogger(__name__)

STAGES: Final = {
    "disk": "meant → on the device's disk",
    "kafka": "disk → acknowledged by Kafka",
    "queue": "in Kafka → fetched by the line",
    "decode": "fetched → decoded",
    "encode": "decoded → encoded",
    "store": "encoded → stored and read",
    "end to end": "meant → read",
    "triton": "batch meant → answered",
    "worklist": "reader meant → worklist shown",
    "reading": "reader meant → exam done with",
}
"""Every stage, in the order of a table, and from when to when it lasts."""
WHOLE: Final = frozenset({"end to end", "triton", "worklist", "reading"})
"""Those that are no part of another: what somebody waits for."""
_COLUMNS: Final = ("image", "exam", "meant", "spooled", "acknowledged", "produced", "fetched", "decoded", "encoded")
_MOST_FAULTS: Final = 50

Took = Callable[[str, float, str | None], None]
"""Told of each stage: its name, seconds, and why it failed if it did."""


class Section:
    """The children of this process and its books; `took` hears every time of every stage as well."""

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        *,
        mark: str,
        took: Took,
        children: dict[str, Child] | None = None,
    ) -> None:
        self.books = Books()
        self._scenario, self._options, self._mark, self._took = scenario, options, mark, took
        self._folder = tempfile.TemporaryDirectory(prefix="eyestream-load-")
        self.children = {} if children is None else children
        self._starting = threading.Lock()
        self._begun = threading.Event()
        self._beginning: dict[str, Any] = {}
        self._pictures: dict[str, dict[str, Any]] = {}
        self._rows: list[dict[str, Any]] = []

    def prepare(self, *names: str) -> None:
        """Have these child programs running and ready. Raises Unavailable with the reason of one that cannot be."""
        with self._starting:
            began = time.monotonic()
            missing = [name for name in names if name not in self.children]
            for name in missing:
                opening = {
                    "scenario": self._scenario.model_dump(mode="json"),
                    "folder": self._folder.name,
                    "mark": self._mark,
                    "text_tower": str(self._options.text_tower or ""),
                }
                self.children[name] = Child(name, partial(self.heard, name), opening)
            for name in missing:
                self.children[name].wait_ready()
                log.info("%s ready after %.1f s", name, time.monotonic() - began)

    def heard(self, name: str, event: Event) -> None:
        """What a child program says, into the books."""
        take = {"cameras": self._camera, "watcher": self._result, "callers": self._batch, "swap": self._swap}
        take[name](event)

    def begin(self, told: dict[str, Any]) -> None:
        """The conductor's word: lanes, and when it begins. Photographs of another scenario would be others."""
        mine, played = self._scenario, Scenario.model_validate(told["scenario"])
        if (mine.name, mine.photographs, mine.seed) != (played.name, played.photographs, played.seed):
            self.books.counts["failed"] += 1
            self.fault(f"a worker of Locust has the scenario {mine.name} instead of {played.name}: set LOAD_SCENARIO")
        self._beginning, self._scenario = told, played
        self._begun.set()

    def lane(self, token: str) -> tuple[int | None, float, str, Scenario]:
        """Wait for the word: this user's lane (None for one too many), the beginning, the mark and the scenario."""
        self._begun.wait()
        told = self._beginning
        return told["lanes"].get(token), told["begins_at"], told["mark"], self._scenario

    def ask(self, name: str, order: Event) -> None:
        """Give one of the children an order."""
        self.children[name].ask(order)

    def take(self) -> Books:
        """What was added to the books since the last time."""
        taken, self.books = self.books, Books()
        return taken

    def note(self, stage: str, seconds: float, failed: str | None = None) -> None:
        """A stage took so long; a failed one has no time."""
        if failed is None:
            self.books.took(stage, seconds)
        self._took(stage, seconds, failed)

    def fault(self, text: str) -> None:
        """Something is wrong; of very many the first are told."""
        self.books.counts["faults"] += 1
        if self.books.counts["faults"] <= _MOST_FAULTS:
            self.books.faults.append(text)

    def close(self) -> None:
        """End the children, the last started first, and write down every picture. Idempotent."""
        for child in reversed(list(self.children.values())):
            child.close()
        self.children.clear()
        if self._rows and self._options.out is not None:
            self._options.out.mkdir(parents=True, exist_ok=True)
            file = self._options.out / f"pictures-{Path(self._folder.name).name.rsplit('-', 1)[-1]}.csv"
            with file.open("w", newline="") as lines:
                table = csv.DictWriter(lines, [*_COLUMNS, "stored", "read", "bank"], extrasaction="ignore")
                table.writeheader()
                table.writerows(self._rows)
            self._rows.clear()
        self._folder.cleanup()

    def _camera(self, event: Event) -> None:
        kind = event["event"]
        if kind == "spooled":
            self.books.counts["spooled"] += 1
            self.books.happened("meant", event["meant"])
            self.note("disk", event["at"] - event["meant"])
            self._pictures[event["image"]] = event | {"spooled": event["at"]}
            self.ask("watcher", event)
        elif kind == "sent":
            picture = self._pictures[event["image"]]
            picture["acknowledged"] = event["at"]
            self.books.counts["sent"] += 1
            self.note("kafka", event["at"] - picture["spooled"])
            self._done(event["image"])
        elif kind == "not-taken":
            self.books.counts["not-taken"] += 1
            self.fault(f"a picture of {event['exam']} never left its camera: {event['why']}")
        else:
            self._child_failed("cameras", event)

    def _result(self, event: Event) -> None:
        kind = event["event"]
        if kind == "readable":
            self._readable(event, self._pictures[event["image"]])
        elif kind == "refused":
            picture = self._pictures[event["image"]]
            self.books.counts["refused"] += 1
            self.fault(f"{event['image']} of {picture['exam']} was refused by the line: {event['why']}")
        elif kind == "conflict":
            self.books.counts["contradicted"] += 1
            self.fault(f"{event['image']} was judged twice, and differently")
        elif kind == "away":
            self.books.counts["away"] += 1
        else:
            self._child_failed("watcher", event)

    def _readable(self, event: Event, picture: dict[str, Any]) -> None:
        times, at = event["timings"], event["at"]
        self.books.counts["readable"] += 1
        self.books.banks[event["bank"]] += 1
        self.books.happened("read", at)
        self.books.happened(f"read with {event['bank']}", at)
        self.note("queue", times["fetched"] - times["produced"])
        self.note("decode", times["decoded"] - times["fetched"])
        self.note("encode", times["encoded"] - times["decoded"])
        self.note("store", at - times["encoded"])
        self.note("end to end", at - picture["meant"], event["contradicted"])
        if event["contradicted"]:
            self.books.counts["contradicted"] += 1
            self.fault(f"{event['image']} of {picture['exam']} {event['contradicted']}")
        if (outage := self._scenario.outage) and picture["meant"] < self._beginning["begins_at"] + outage.ends_s:
            self.books.happened("backlog read", at)
        picture |= {**times, "read": at, "bank": event["bank"]}
        self._done(event["image"])

    def _done(self, image: str) -> None:
        """Both the acknowledgement and the result are there, whichever came first."""
        picture = self._pictures[image]
        if "read" in picture and "acknowledged" in picture:
            del self._pictures[image]
            if self._options.out is not None:
                self._rows.append(picture)

    def _batch(self, event: Event) -> None:
        if event["event"] != "encoded":
            self._child_failed("callers", event)
            return
        self.books.counts["batches"] += 1
        wrong, failed = event.get("contradicted"), event.get("failed")
        if failed:
            self.books.counts["batches failed"] += 1
        if wrong:
            self.books.counts["contradicted"] += 1
            self.fault(wrong)
        self.note("triton", event["at"] - event["meant"], failed or wrong)

    def _swap(self, event: Event) -> None:
        if event["event"] == "activated":
            self.books.happened(f"activated {event['bank']}", event["at"])
        else:
            self._child_failed("swap", event)

    def _child_failed(self, name: str, event: Event) -> None:
        self.books.counts["failed"] += 1
        self.fault(f"{name} ended: {event.get('why', event)}")
