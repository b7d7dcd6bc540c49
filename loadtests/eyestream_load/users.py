"""The users: each walks along its lane of the schedule, and none waits for an answer before its next arrival.

Users of a kind differ only in what they do at a moment.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Iterable
from typing import Any, Final

import gevent
from locust import FastHttpUser, User, task

from eyestream.errors import EyestreamError
from eyestream_load import arrivals, house
from eyestream_load.scenario import Scenario

log = logging.getLogger(__name__)

_OVERTAKEN: Final = (404, 409, 412)
"""Somebody else claimed or decided the exam, or a picture of it came: a reader takes the next one."""


class LaneUser(User):
    """Waits until all are ready, then does what its lane of the schedule says, at the moments it says."""

    abstract = True

    def children(self) -> tuple[str, ...]:
        """The child programs it needs, in the order of starting."""
        return ()

    def arrivals(self, plan: Scenario, lane: int) -> Iterable[Any]:
        """What this lane does, in order of time; each has `at_s`."""
        raise NotImplementedError

    def arrive(self, arrival: Any, meant: float) -> None:
        """Do it. Must not wait for what comes of it. `meant` is in seconds since 1970."""
        raise NotImplementedError

    @task
    def play(self) -> None:
        """The whole life of the user."""
        section, token = house.section(), secrets.token_hex(8)
        try:
            section.prepare(*self.children())
        except EyestreamError as error:
            section.books.counts["failed"] += 1
            section.fault(f"{type(self).__name__} cannot begin: {error}")
            gevent.sleep(float("inf"))
        self.environment.runner.send_message("load-joined", {"kind": type(self).__name__, "token": token})
        lane, begins_at, self.mark, self.plan = section.lane(token)
        for arrival in self.arrivals(self.plan, lane) if lane is not None else ():
            meant = begins_at + arrival.at_s
            gevent.sleep(max(0.0, meant - time.time()))
            self.arrive(arrival, meant)
        gevent.sleep(float("inf"))  # until the shape says that everything has an end


class Camera(LaneUser):
    """A screening device."""

    def children(self) -> tuple[str, ...]:
        """The watcher first: it must know of a picture before its result comes."""
        return "watcher", "cameras"

    def arrivals(self, plan: Scenario, lane: int) -> Iterable[Any]:
        """Its pictures, and the moments at which its way to Kafka is cut and mended."""
        own: list[Any] = [*arrivals.shots_by_camera(plan).get(lane, ())]
        outage, cameras = plan.outage, plan.cameras
        if outage and cameras and lane < round(outage.share * cameras.count):
            own += [_Cut(outage.begins_s, lane, cut=True), _Cut(outage.ends_s, lane, cut=False)]
        return sorted(own, key=lambda arrival: arrival.at_s)

    def arrive(self, arrival: Any, meant: float) -> None:
        """Tell the camera."""
        if isinstance(arrival, _Cut):
            house.section().ask("cameras", {"do": "cut", "camera": arrival.camera, "cut": arrival.cut})
            return
        exam = f"{self.mark}-{arrival.exam:06d}"
        shot = {"camera": arrival.camera, "exam": exam, "view": arrival.view, "photograph": arrival.photograph}
        house.section().ask("cameras", {"do": "shoot", "meant": meant, **shot})


class TritonClient(LaneUser):
    """A program that sends whole batches to Triton."""

    def children(self) -> tuple[str, ...]:
        """The one that speaks gRPC."""
        return ("callers",)

    def arrivals(self, plan: Scenario, lane: int) -> Iterable[Any]:
        """Its batches."""
        return [call for call in arrivals.calls(plan) if call.caller == lane]

    def arrive(self, arrival: Any, meant: float) -> None:
        """Send one batch."""
        assert self.plan.triton is not None
        rng = random.Random(f"{self.plan.seed} {arrival.at_s}")  # noqa: S311  # any batch will do
        chosen = rng.choices(range(self.plan.photographs.distinct), k=self.plan.triton.batch)
        house.section().ask("callers", {"meant": meant, "photographs": chosen})


class BankSwapper(LaneUser):
    """Puts another bank into service, once."""

    def children(self) -> tuple[str, ...]:
        """The one that builds banks."""
        return ("swap",)

    def arrivals(self, plan: Scenario, lane: int) -> Iterable[Any]:
        """The one moment."""
        return [arrivals.Call(plan.bank_swap.at_s, lane)] if plan.bank_swap else []

    def arrive(self, arrival: Any, meant: float) -> None:  # noqa: ARG002  # it happens when it happens
        """Do it."""
        house.section().ask("swap", {"do": "activate"})


class Reader(LaneUser, FastHttpUser):
    """Somebody at the results service: the worklist, an exam with a picture, the claim, the verdict."""

    keys: tuple[str, ...] = ()
    concurrency = 200
    _chance = random.Random()  # noqa: S311  # readers spread over a page of the worklist

    def arrivals(self, plan: Scenario, lane: int) -> Iterable[Any]:
        """The exams it begins."""
        return [call for call in arrivals.sessions(plan) if call.caller == lane]

    def arrive(self, arrival: Any, meant: float) -> None:
        """Begin one; those before it go on."""
        gevent.spawn(self._session, meant, self.keys[arrival.caller % len(self.keys)] if self.keys else "")

    def _session(self, meant: float, key: str) -> None:
        section = house.section()
        told = "failed"
        try:
            told = self._read_one(meant, {"Authorization": f"Bearer {key}"} if key else {})
        except Exception:  # one reader's session is counted as failed, and the next begins on time
            log.exception("a reader's session failed")
        finally:
            section.books.counts["sessions"] += 1
            section.books.counts[f"sessions {told}"] += 1

    def _read_one(self, meant: float, headers: dict[str, str]) -> str:
        """How it ended: decided, handed back, overtaken, idle or failed."""
        section, readers = house.section(), self.plan.readers
        assert readers is not None
        listed = self._ask("GET", f"/v1/programmes/{self.plan.programme}/worklist?limit=50&which=open", headers)
        if listed is None:
            return "failed"
        section.note("worklist", time.time() - meant)
        waiting = listed.json()["exams"]
        if not waiting:
            return "idle"
        exam, name = f"/v1/exams/{self._chance.choice(waiting)['exam_id']}", "/v1/exams/{exam}"
        decides = self._chance.random() < readers.decides
        seen = self._ask("GET", exam, headers, name=name)
        if seen is not None and seen.ok and (results := seen.json()["results"]):
            self._ask("GET", results[0]["picture"], headers, name=f"{name}/pictures/{{image}}")
        for method, what, body in (
            ("PUT", "claim", None),
            ("PUT", "verdict", {"outcome": "clear"}) if decides else ("DELETE", "claim", None),
        ):
            if seen is None or seen.status_code in _OVERTAKEN:
                break
            tag = {"If-Match": seen.headers["ETag"]}
            seen = self._ask(method, f"{exam}/{what}", headers | tag, name=f"{name}/{what}", body=body)
        if seen is None:
            return "failed"
        if seen.status_code in _OVERTAKEN:
            return "overtaken"
        section.note("reading", time.time() - meant)
        return "decided" if decides else "handed back"

    def _ask(
        self, method: str, path: str, headers: dict[str, str], *, name: str | None = None, body: Any = None
    ) -> Any | None:
        """The answer, also one that says that somebody was faster; None when there was no proper one."""
        with self.client.request(
            method, path, headers=headers, json=body, name=name or path.partition("?")[0], catch_response=True
        ) as answer:
            if answer.status_code in _OVERTAKEN:
                answer.success()
            elif not answer.status_code or not answer.ok:
                answer.failure(f"status {answer.status_code}")
                return None
        return answer


class _Cut:
    """A camera's way to Kafka is cut, or mended."""

    def __init__(self, at_s: float, camera: int, *, cut: bool) -> None:
        self.at_s, self.camera, self.cut = at_s, camera, cut
