"""A running line and its surroundings: start, health, figures, drain. The same under Ray Serve and on its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

from prometheus_client import start_http_server

from eyestream import records
from eyestream.apps import wiring
from eyestream.pipeline import Line
from eyestream.settings import Settings
from eyestream.telemetry import Metrics, Verb

log = logging.getLogger(__name__)


class Host:
    """Owns one line for the life of a process. Make it with `start`, inside the event loop that will run the line."""

    def __init__(self, settings: Settings, wired: wiring.Wired, metrics: Metrics) -> None:
        self._settings, self._wired, self._metrics = settings, wired, metrics
        self._line = Line(wired.parts, wired.pace)
        self._running = asyncio.create_task(self._line.run(), name="line")
        self._watching = asyncio.create_task(self._watch(), name="watch")
        self._member: Path | None = None
        self._draining = False

    @classmethod
    async def start(cls, settings: Settings) -> Host:
        """Connect every part, waiting for those that are away, and let the line run.

        Raises Misconfigured when the parts do not fit together.
        """
        metrics = Metrics()
        host = cls(settings, await wiring.connect(settings, metrics), metrics)
        host._serve_metrics()
        log.info("the line runs", extra={"action": Verb.STARTED, "encoder": host._wired.parts.encoder.spec.name})
        return host

    def check(self) -> None:
        """Raises RuntimeError when this process must be replaced: its line ended, or finishes nothing.

        A part of the world that is away is no reason: a new process would find it away too.
        """
        if self._running.done() and not self._draining:
            raise RuntimeError("the line ended") from self._running.exception()
        if self._watching.done() and not self._draining:
            raise RuntimeError("nobody watches the banks") from self._watching.exception()
        if (stalled := self._line.stalled_s()) > self._settings.line.stalled_after_s:
            raise RuntimeError(f"the line has finished nothing for {stalled:.0f} s though every part answers")

    async def figures(self) -> dict[str, float]:
        """What the autoscaler is told."""
        return {"lag": float(await self._wired.parts.broker.lag()), "in_flight": float(self._line.in_flight)}

    async def wait(self) -> None:
        """Returns when the line was drained; raises what ended it otherwise."""
        await asyncio.shield(self._running)

    async def drain(self, *, timeout_s: float) -> None:
        """Fetch no more, store and acknowledge what is in flight, leave the group. Idempotent.

        What is not stored in time stays unacknowledged, and whoever takes the partitions over screens it again.
        """
        if self._draining:
            return
        self._draining = True
        log.info("draining", extra={"action": Verb.DRAINING, "count": self._line.in_flight})
        parts = self._wired.parts
        await parts.broker.drain()
        done, _ = await asyncio.wait([self._running], timeout=timeout_s)
        left = self._line.in_flight
        for task in (self._running, self._watching):
            task.cancel()
        await asyncio.gather(self._running, self._watching, return_exceptions=True)
        await parts.broker.close()
        await parts.encoder.close()
        await parts.sink.close()
        parts.executor.shutdown(wait=False, cancel_futures=True)
        if self._member is not None:
            self._member.unlink(missing_ok=True)
        if done and (error := self._running.exception() if not self._running.cancelled() else None):
            raise error
        log.info("drained", extra={"action": Verb.DRAINED, "count": left})

    async def _watch(self) -> None:
        """Follow the shelf's pointers and the lag, once a poll."""
        while True:
            await asyncio.sleep(self._settings.banks.poll_s)
            await asyncio.to_thread(self._wired.banks.refresh)
            self._metrics.lag.set(await self._wired.parts.broker.lag())

    def _serve_metrics(self) -> None:
        telemetry = self._settings.telemetry
        server, _ = start_http_server(telemetry.metrics_port, telemetry.metrics_host, self._metrics.registry)
        if telemetry.members is None:
            return
        telemetry.members.mkdir(parents=True, exist_ok=True)
        self._member = telemetry.members / f"{os.getpid()}.json"
        address = f"http://{telemetry.metrics_host}:{server.server_port}/metrics"
        told = {"pid": os.getpid(), "metrics": address, "started": records.now()}
        partial = self._member.with_suffix(".partial")
        partial.write_text(json.dumps(told))
        partial.replace(self._member)
