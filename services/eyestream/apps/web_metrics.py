"""Where the results service's figures are read: each of its processes has an address of its own, beside the API's."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.telemetry import Verb, WebMetrics

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exposed(settings: Settings, metrics: WebMetrics, *, anywhere: bool = False) -> Iterator[int]:
    """The port at which Prometheus finds the metrics while the block runs.

    It is the first free one of as many from `telemetry.metrics_port` on as there are processes; any free one where that
    is 0. When all are taken raises Misconfigured or, with `anywhere`, takes any free one and says so.
    """
    server, thread = _listening(settings, metrics, anywhere=anywhere)
    log.info("metrics are at port %d", server.server_port, extra={"action": Verb.STARTED})
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(settings: Settings, metrics: WebMetrics, *, anywhere: bool) -> tuple[WSGIServer, threading.Thread]:
    host, first = settings.telemetry.metrics_host, settings.telemetry.metrics_port
    ports = range(first, first + settings.web.processes) if first else [0]
    for port in ports:
        try:
            return start_http_server(port, host, metrics.registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Misconfigured(f"metrics cannot be served at {host}, port {port}: {error.strerror}.") from None
    told = f"{host}, from port {ports[0]} to {ports[-1]}"
    if not anywhere:
        raise Misconfigured(f"telemetry.metrics_port: {told} all are taken; set another, or 0 for any that is free.")
    log.warning("metrics: %s all are taken, so any other will do", told, extra={"action": Verb.FAILED})
    return start_http_server(0, host, metrics.registry)
