"""How the test is hooked into Locust: made before it, merged over its workers, closed and told at its end."""

from __future__ import annotations

import logging
import secrets
import signal
import sys
from typing import Any, Final

from locust import LoadTestShape, events, html, stats
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from rich.console import Console

from eyestream.errors import EyestreamError
from eyestream_load import options, report, scenario
from eyestream_load.books import Books
from eyestream_load.conductor import CAMERA, READER, SWAPPER, TRITON, Conductor, lanes
from eyestream_load.house import House
from eyestream_load.scenario import Scenario
from eyestream_load.section import WHOLE, Section
from eyestream_load.users import BankSwapper, Camera, Reader, TritonClient

log = logging.getLogger(__name__)

_WIDTH: Final = 140

stats.PERCENTILES_TO_CHART = [0.5, 0.95, 0.99]
html.PERCENTILES_FOR_HTML_REPORT = [0.5, 0.95, 0.99, 0.999, 1.0]


class Shape(LoadTestShape):
    """All users at once, until the conductor says that it is over: how much they do, the schedule says."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """How many users there are; None ends the test."""
        conductor = House.conductor
        if conductor is None or conductor.over():
            return None
        users = sum(lanes(conductor.scenario).values())
        return users, House.spawn_rate or float(min(users, 100))


def set_up(environment: Environment, runner: Any, **_: Any) -> None:
    """Make this process's part, before any user is."""
    asked = environment.parsed_options
    signal.signal(signal.SIGTERM, _leave)
    if not isinstance(runner, WorkerRunner) and not getattr(asked, "headless", False):
        sys.exit(
            "load test: give --headless; the schedule begins once, and a page with a start button could begin it again"
        )
    try:
        given = options.read()
        plan = _asked(scenario.load(given.scenario), environment, given)
    except EyestreamError as error:
        sys.exit(f"load test: {error}")
    House.out = given.out
    House.spawn_rate = getattr(asked, "spawn_rate", None)
    for kind, user in ((CAMERA, Camera), (TRITON, TritonClient), (SWAPPER, BankSwapper), (READER, Reader)):
        user.fixed_count = lanes(plan)[kind]
    Reader.host = given.web_url or "http://127.0.0.1"
    Reader.keys = tuple(filter(None, given.web_key.get_secret_value().split(",")))
    mark = f"load-{secrets.token_hex(4)}"
    if not isinstance(runner, MasterRunner):
        House.section = section = Section(plan, given, mark=mark, took=_fire(environment))
        runner.register_message("load-begin", lambda msg, **_: section.begin(msg.data))
    if not isinstance(runner, WorkerRunner):
        conductor = Conductor(plan, mark=mark, announce=lambda told: runner.send_message("load-begin", told))
        House.conductor = conductor
        runner.register_message("load-joined", lambda msg, **_: conductor.joined(**msg.data))
        if House.section is not None:
            House.section.books = conductor.books


def report_to_master(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001  # Locust names it
    """A worker's books since its last report."""
    if House.section is not None:
        data["load"] = House.section.take().to_message()


def worker_report(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001  # Locust names it
    """Add them up."""
    if House.conductor is not None and "load" in data:
        House.conductor.books.merge(Books.from_message(data["load"]))


def finish(environment: Environment, **_: Any) -> None:
    """End the children, close the books, and let the exit code say how it went."""
    interrupted = House.conductor is not None and House.conductor.interrupted()
    if House.section is not None:
        House.section.close()
    if House.conductor is None:
        return
    House.summary = report.summarise(House.conductor, interrupted=interrupted)
    environment.process_exit_code = 0 if report.good(House.summary) else 1
    if House.out is not None:
        report.write(House.summary, House.out)


def tell(exit_code: int, **_: Any) -> None:  # noqa: ARG001  # Locust names it
    """What was found, after everything that Locust prints."""
    if House.summary is not None:
        console = Console()
        report.show(House.summary, console if console.is_terminal else Console(width=_WIDTH))


def listen() -> None:
    """Hook all this into Locust."""
    for hook, listener in (
        (events.init, set_up),
        (events.report_to_master, report_to_master),
        (events.worker_report, worker_report),
        (events.quitting, finish),
        (events.quit, tell),
    ):
        hook.add_listener(listener)  # type: ignore[no-untyped-call]


def _leave(*_: Any) -> None:
    """End in order at the first SIGTERM: Locust hears it only once the shape is over, and would leave files behind."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _asked(plan: Scenario, environment: Environment, given: options.Options) -> Scenario:
    """The scenario as the command line and the environment change it."""
    asked = environment.parsed_options
    if plan.readers and not given.web_url:
        log.warning("LOAD_WEB_URL names no results service: the readers of %s stay at home", plan.name)
        plan = plan.without_readers()
    if asked is not None and asked.num_users:
        plan = plan.with_cameras(asked.num_users)
    seconds = given.seconds or (asked.run_time if asked is not None else None)
    return plan.lasting(float(seconds)) if seconds else plan


def _fire(environment: Environment) -> Any:
    """What somebody waits for goes into Locust's own statistics as well; parts of it would be counted twice there."""

    def took(stage: str, seconds: float, failed: str | None) -> None:
        if stage not in WHOLE:
            return
        environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="load",
            name=stage,
            response_time=max(0.0, seconds) * 1000,
            response_length=0,
            exception=RuntimeError(failed) if failed else None,
            context={},
        )

    return took
