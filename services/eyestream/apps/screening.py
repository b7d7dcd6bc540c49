"""The screening worker: the line in a Ray Serve replica, or alone in a process (`--plain`)."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from eyestream import settings as settings_module
from eyestream.apps.host import Host
from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.telemetry import Verb, log_as_json

log = logging.getLogger(__name__)

commands = typer.Typer(no_args_is_help=True, help="Run the screening line.")

APPLICATION = "screening"


class Screening:
    """One Serve replica: one member of the consumer group. It answers no requests; Serve keeps and replaces it."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it: ready means running
        log_as_json(logging.getLevelNamesMapping()[settings.telemetry.log_level])
        self._drain_timeout_s = settings.serve.drain_timeout_s
        self._host = await Host.start(settings)

    async def check_health(self) -> None:
        """The health of the line, not of the process; raises when Serve should replace this replica."""
        self._host.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """This member's part of the lag."""
        return await self._host.figures()

    async def __del__(self) -> None:
        """Drain: Serve awaits this, within its graceful_shutdown_timeout_s, before it ends the process."""
        await self._host.drain(timeout_s=self._drain_timeout_s)


def application(settings: Settings, *, partitions: int | None = None) -> Any:
    """The Serve application; `partitions` bounds its replicas, since a member without a partition does nothing."""
    from ray import serve

    return serve.deployment(Screening).options(**options(settings, partitions=partitions)).bind(settings)


def options(settings: Settings, *, partitions: int | None = None) -> dict[str, Any]:
    """The deployment's options: replicas fixed or by lag, a drain that fits the deadline, frequent health checks."""
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    wanted = settings.serve
    chosen: dict[str, Any] = {
        "name": APPLICATION,
        "ray_actor_options": {"num_cpus": 0},
        "health_check_period_s": wanted.health_period_s,
        "health_check_timeout_s": max(10.0, wanted.health_period_s),
        "graceful_shutdown_timeout_s": wanted.drain_timeout_s + 15.0,  # beyond the drain: closing the connections
        "graceful_shutdown_wait_loop_s": 0.5,
    }
    most = wanted.max_replicas
    if most is None:
        return chosen | {"num_replicas": wanted.replicas}
    return chosen | {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=wanted.replicas,
            max_replicas=max(wanted.replicas, min(most, partitions or most)),
            upscale_delay_s=1.0,
            downscale_delay_s=30.0,
            metrics_interval_s=1.0,
            look_back_period_s=5.0,
            policy=AutoscalingPolicy(
                policy_function="eyestream.apps.autoscaling:LagPolicy",
                policy_kwargs={"lag_per_replica": wanted.lag_per_replica},
            ),
        )
    }


@commands.command()
def run(
    settings_file: Annotated[
        Path | None, typer.Option("--settings", "-s", help="TOML file; EYESTREAM_* variables override it.")
    ] = None,
    *,
    plain: Annotated[bool, typer.Option(help="One line in this process, without Ray.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="Touched once the line runs.")] = None,
    alive_file: Annotated[
        Path | None, typer.Option(help="With --plain: touched at every health check that went well, for a probe.")
    ] = None,
) -> None:
    """Take pictures off Kafka, screen them and store the results, until SIGTERM; then drain and exit 0."""
    settings = settings_module.load(settings_file)
    log_as_json(logging.getLevelNamesMapping()[settings.telemetry.log_level])
    if plain:
        if alive_file is not None:
            alive_file.unlink(missing_ok=True)  # a container that was restarted finds its forerunner's
        asyncio.run(_run_plain(settings, ready_file, alive_file))
    else:
        _run_on_serve(settings, ready_file)


async def _run_plain(settings: Settings, ready_file: Path | None, alive_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.create_task(Host.start(settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    host = starting.result()
    _touch(ready_file)
    ended = asyncio.create_task(host.wait())
    checking = asyncio.create_task(_check_forever(host, settings.serve.health_period_s, alive_file))
    await asyncio.wait([ended, stopping, checking], return_when=asyncio.FIRST_COMPLETED)
    fault = next((task.exception() for task in (ended, checking) if task.done()), None)
    if fault is not None:
        log.critical("the line ended: %s", type(fault).__name__, exc_info=fault, extra={"action": Verb.FAILED})
        raise SystemExit(1)
    checking.cancel()
    await host.drain(timeout_s=settings.serve.drain_timeout_s)


async def _check_forever(host: Host, period_s: float, alive_file: Path | None) -> None:
    while True:
        host.check()
        _touch(alive_file)
        await asyncio.sleep(period_s)


def _run_on_serve(settings: Settings, ready_file: Path | None) -> None:
    """A driver of our own: `serve run` ends on SIGTERM without draining its replicas."""
    import ray
    from ray import serve

    stop = threading.Event()
    _stop_on_signal(stop)
    ray.init(
        address="local",
        num_cpus=0,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=True,
        logging_level=logging.WARNING,
    )
    try:
        _stop_on_signal(stop)  # again: Ray's own handlers would end this process and, undrained, its replicas
        serve.start(http_options={"location": "NoServer"})
        serve.run(application(settings, partitions=partitions(settings)), name=APPLICATION, blocking=False)
        _touch(ready_file)
        log.info("Ray Serve hosts the line", extra={"action": Verb.STARTED})
        stop.wait()
        log.info("shutting Serve down", extra={"action": Verb.DRAINING})
        serve.shutdown()
    finally:
        ray.shutdown()


def _stop_on_signal(stop: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _touch(file: Path | None) -> None:
    if file is not None:
        file.touch()


def partitions(settings: Settings) -> int | None:
    """How many partitions the topic has; None when nothing scales and nobody needs to know.

    Raises Unavailable where Kafka does not tell, Misconfigured where the topic is not there.
    """
    if settings.serve.max_replicas is None:
        return None
    from eyestream.apps import kafka

    topic = settings.kafka.topic
    found = kafka.partitions(kafka.kafka_options(settings.kafka), topic)[topic]
    if not found:
        raise Misconfigured(f"The topic {topic!r} does not exist: create it before the workers start.")
    return found
