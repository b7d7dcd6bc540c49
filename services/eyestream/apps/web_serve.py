"""The results service in Ray Serve replicas: as a deployment, for KubeRay, and under a driver of our own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any, Final

from eyestream import settings as settings_module
from eyestream.apps import web_wiring
from eyestream.apps.web_metrics import exposed
from eyestream.apps.web_process import listen
from eyestream.errors import Unavailable
from eyestream.settings import Settings
from eyestream.telemetry import Verb, WebMetrics, log_as_json

log = logging.getLogger(__name__)

APPLICATION: Final = "results"
_PATIENCE: Final = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""Ray ends a proxy that was not ready in 5 s, three times in a row, as on a busy machine; `serve.start` waits 60 s."""


def application(settings: Settings) -> Any:
    """The Serve application: one replica a process that `web.processes` asks for."""
    from ray import serve

    @serve.deployment(
        name=APPLICATION,
        num_replicas=settings.web.processes,
        max_ongoing_requests=1000,  # streams of events are long and idle
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=15.0,
    )
    @serve.ingress()
    class Results:
        """One replica: the services it works with live as long as it does."""

        async def __init__(self) -> None:  # type: ignore[misc]  # Serve awaits it
            log_as_json(logging.getLevelNamesMapping()[settings.telemetry.log_level])
            self._open = contextlib.AsyncExitStack()
            metrics = WebMetrics()
            self._services = await self._open.enter_async_context(web_wiring.services(settings, metrics))
            # While a replica leaves, the one that takes its place must not wait for its port.
            self._open.enter_context(exposed(settings, metrics, anywhere=True))

        def __serve_build_asgi_app__(self) -> Any:
            """What Serve lets answer."""
            from eyestream.web.application import create

            return create(self._services)

        async def __del__(self) -> None:
            """Serve awaits this before it ends the process."""
            await self._open.aclose()

    deployment: Any = Results
    return deployment.bind()


def build(args: dict[str, str]) -> Any:
    """The application for `args: {settings: FILE}`, as KubeRay builds it from `serveConfigV2`."""
    settings = settings_module.load(Path(args["settings"]))
    web_wiring.guard(settings)
    return application(settings)


def run_on_serve(settings: Settings, ready_file: Path | None) -> None:
    """Host it on a Ray of its own until SIGTERM.

    Raises Misconfigured where the address cannot be had, Unavailable where Ray Serve does not come to listen on it.
    """
    host, port = _address(settings)
    import ray
    from ray import serve

    stop = threading.Event()

    def stop_on_signal() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())

    stop_on_signal()
    for name, seconds in _PATIENCE.items():
        os.environ.setdefault(name, seconds)  # noqa: TID251 - Ray's processes read it; an operator's own goes before
    running = ray.init(
        address="local",
        num_cpus=0,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=True,
        logging_level=logging.WARNING,
    )
    try:
        stop_on_signal()  # again: Ray's own handlers would end this process before Serve is shut down
        try:
            serve.start(http_options={"host": host, "port": port})
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise Unavailable(
                "Ray Serve",
                f"its HTTP proxy did not come to listen on {host}:{port}. Start it again when this machine has less "
                f"to do; where that does not help, {running.address_info['session_dir']}/logs/serve says why.",
            ) from error
        serve.run(application(settings), name=APPLICATION, route_prefix="/", blocking=False)
        if ready_file is not None:
            ready_file.write_text(f"http://{host}:{port}\n")
        log.info("Ray Serve hosts the results service", extra={"action": Verb.STARTED})
        stop.wait()
        serve.shutdown()
    finally:
        ray.shutdown()


def _address(settings: Settings) -> tuple[str, int]:
    """Where to listen: asked before Ray is started, whose proxy would share the port with another Ray's unasked."""
    with listen(settings.web.host, settings.web.port) as listening:
        host, port = listening.getsockname()[:2]
    return host, port
