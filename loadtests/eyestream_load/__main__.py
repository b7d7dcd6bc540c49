"""`python -m eyestream_load clinic-morning`: start a stack, put the load on it, count, stop it. `make load` runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from eyestream.apps.local.processes import ending_on_sigterm, inherited_environment
from eyestream.errors import EyestreamError, Unavailable
from eyestream_load import options, page, report
from eyestream_load import scenario as scenarios
from eyestream_load.child import SHELF
from eyestream_load.conductor import LEAD_S, SETTLE_S, START_PATIENCE_S
from eyestream_load.ground import Ground
from eyestream_load.memory import Memory
from eyestream_load.scenario import Scenario

_WIDTH: Final = 140
_ENDS_WITHIN_S: Final = 60.0
_RESULTS: Final = (
    "report.html",
    "locust.html",
    "summary.json",
    "stages.csv",
    "pictures-*.csv",
    "locust_*.csv",
    "locust*.log",
)


@ending_on_sigterm()
def load(
    scenario: Annotated[
        str, typer.Argument(help=f"One of {', '.join(scenarios.available())}, or a TOML file of yours.")
    ] = "clinic-morning",
    *,
    seconds: Annotated[float | None, typer.Option(help="Stretch it to this time.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Spread it over so many processes of Locust.")] = 0,
    plain: Annotated[bool, typer.Option("--plain", help="A worker without Ray Serve.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.", show_default="STATE/SCENARIO")] = None,
    state: Annotated[Path, typer.Option(help="Folder of the load test's own stack.")] = Path(".eyestream/load"),
    model_repository: Annotated[Path, typer.Option(help="Triton's folder of models.")] = Path("model_repository"),
    model: Annotated[str, typer.Option(help="The encoder in it.")] = "eyestream-demo",
    text_tower: Annotated[Path, typer.Option(help="Folder of its text tower.")] = Path("build_engines/demo/text"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards.")] = False,
) -> None:
    """Put a scenario's load on a line of its own; exit 1 when a picture was lost or contradicted."""
    console = Console(stderr=True)
    try:
        options.refuse_strays()  # Locust's processes inherit them, and would tell of it only once the stack is up
        plan = scenarios.load(scenario)
        plan = plan.lasting(seconds) if seconds else plan
        folder = (out or state / "results" / plan.name).resolve()
        _clear(folder)
        ground = Ground(
            state,
            model_repository=model_repository,
            model=model,
            text_tower=text_tower,
            plain=plain,
            readers=plan.readers is not None,
        )
        try:
            with console.status("starting") as status:
                ground.up(lambda part, line: status.update(f"[bold]{part}[/]: {line}"))
            with console.status(f"{plan.title} ({plan.seconds:.0f} s)"):
                summary = play(plan, scenario, ground, folder, workers=workers, seconds=seconds)
        finally:
            if not keep:
                with console.status("stopping"):
                    ground.down()
    except EyestreamError as error:
        sys.exit(f"load: {error}")
    shown = Console()
    shown = shown if shown.is_terminal else Console(width=_WIDTH)
    shown.print(f"{folder}: report.html, locust.html, summary.json, stages.csv, pictures-*.csv")
    report.show(summary, shown)
    raise typer.Exit(0 if report.good(summary) else 1)


def play(
    plan: Scenario,
    name: str,
    ground: Ground,
    folder: Path,
    *,
    workers: int = 0,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run Locust headless until the scenario is over, write the page about it, and return its summary.

    With `workers`, a master and so many workers. Raises Unavailable when it ends without a summary, or takes longer
    than the scenario can.
    """
    told = {**inherited_environment(), **ground.environment(), "LOAD_SCENARIO": str(name), "LOAD_OUT": str(folder)}
    if seconds:
        told["LOAD_SECONDS"] = str(seconds)
    argv = [sys.executable, "-m", "locust", "--headless", "--locustfile", str(SHELF / "locustfile.py")]
    files = ["--html", str(folder / "locust.html"), "--csv", str(folder / "locust"), "--only-summary"]
    port = str(_free_port())
    apart = [
        "--master",
        "--master-bind-host",
        "127.0.0.1",
        "--master-bind-port",
        port,
        "--expect-workers",
        str(workers),
    ]
    commands = [[*argv, *files, *(apart if workers else [])]]
    commands += [[*argv[:3], *argv[4:], "--worker", "--master-port", port] for _ in range(workers)]
    limit_s = START_PATIENCE_S + LEAD_S + plan.seconds + plan.patience_s + SETTLE_S + _ENDS_WITHIN_S
    deadline = time.monotonic() + limit_s
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            with (folder / ("locust.log" if number == 0 else f"locust-worker-{number}.log")).open("wb") as log:
                # A session of its own, for Ctrl-C would come beside our SIGTERM and the second cut short what the first
                # began.
                process = subprocess.Popen(command, env=told, stdout=log, stderr=log, start_new_session=True)
                processes.append(process)
        with Memory(ground.parts, ground.stack.pids) as memory:
            for process in processes:
                process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Unavailable("locust", f"it was not over after {limit_s:.0f} s: see {folder / 'locust.log'}") from None
    finally:
        for process in processes:
            _end(process)
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        last = (folder / "locust.log").read_text(errors="replace").strip().splitlines()[-10:]
        raise Unavailable("locust", "it ended without a summary:\n" + "\n".join(last)) from None
    summary["memory_mib"] = memory.told()
    report.write(summary, folder)
    page.write(summary, plan, folder)
    return summary


def _clear(folder: Path) -> None:
    """Leave nothing of an earlier test in it, and everything else: `--out` may name a folder with files of yours."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in _RESULTS:
        for left in folder.glob(pattern):
            left.unlink()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    typer.run(load)
