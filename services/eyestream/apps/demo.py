"""`eyestream demo`: the whole line on this machine, from drawn photographs to a table a clinician can read."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from eyestream import settings as settings_module
from eyestream.apps import bank, demo_pictures, redrive, results_tables
from eyestream.apps.kafka import kafka_options
from eyestream.apps.local import Stack
from eyestream.apps.local.processes import ending_on_sigterm
from eyestream.apps.local.worker import MEMBERS, Worker, settings_of
from eyestream.apps.members import members
from eyestream.apps.trial import BANKS, PROGRAMME, REPOSITORY, Trial, score_table, warning
from eyestream.brokers.redrive import read_dead_letters
from eyestream.device.pseudonym import create_key
from eyestream.errors import Unavailable
from eyestream.programmes import Programme
from eyestream.settings import Settings
from eyestream.sinks.base import Exam
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.testing.badpictures import BadPicture

PATIENCE_S: Final = 300.0
"""How long the line may go without finishing a picture before it counts as broken."""
SLOW: Final[Mapping[str, Mapping[str, object]]] = {"triton": {"timeout_s": 120.0}, "line": {"max_batch": 2}}
"""Settings for an encoder of any size on this machine's processor."""
PATTERN: Final = "{exam}_{laterality}_{field}"
PICTURES: Final = "pictures"
"""Where a demonstration draws its own, inside its state folder."""
PHOTOGRAPHS: Final = Path("examples/photographs")


@ending_on_sigterm()
def demo(
    *,
    state: Annotated[Path, typer.Option(help="Folder of the demonstration's own stack.")] = Path(".eyestream/demo"),
    model_repository: Annotated[Path, typer.Option(help="Triton's folder of models.")] = Path("model_repository"),
    model: Annotated[str, typer.Option(help="The encoder in it.")] = "eyestream-demo",
    text_tower: Annotated[Path, typer.Option(help="Folder of its text tower.")] = Path("build_engines/demo/text"),
    pictures: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="A folder of fundus photographs, screened as well.")
    ] = PHOTOGRAPHS,
    trial: Annotated[
        Path | None,
        typer.Option(help="A folder of `eyestream-engines trial`: another encoder, in place of the three above."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running; `eyestream local down` ends it.")
    ] = False,
) -> None:
    """Start real parts, screen a morning's pictures, print what was found, and stop what was started."""
    console = Console()
    tried = Trial.read(trial) if trial is not None else None
    if tried is None or trial is None:
        worker = Worker(model_repository=model_repository, text_tower=text_tower, model=model)
    else:
        model_repository = trial / REPOSITORY
        worker = Worker(
            model_repository=model_repository,
            text_tower=text_tower,
            model=tried.model,
            programmes=(str(trial / PROGRAMME),),
            shelf=(trial / BANKS).resolve(),
            changes=SLOW,
        )
    programme = bank.read("demo" if trial is None else str(trial / PROGRAMME))
    stack = Stack(state, model_repository=model_repository, parts=("kafka", "redis", "triton", worker))
    stack.require_own("data", PICTURES)
    started = time.monotonic()
    try:
        with console.status("starting") as status:
            stack.up(lambda part, line: status.update(f"[bold]{part}[/]: {line}"), fresh=True)
        console.print(f"Kafka, Redis, Triton and Ray Serve run ({time.monotonic() - started:.0f} s).")
        settings = settings_module.load(settings_of(stack.state))
        if tried is not None:
            console.print(f"[bold yellow]{warning(tried)}[/]")
        _screen(console, stack.state, settings, pictures, programme=programme, trial=tried)
    finally:
        if not keep:
            with console.status("stopping"):
                stack.down()
            console.print(f"Stopped what was started. Logs stay in {stack.state / 'logs'}.")


def _screen(
    console: Console, state: Path, settings: Settings, pictures: Path, *, programme: Programme, trial: Trial | None
) -> None:
    folder = state / PICTURES
    shutil.rmtree(folder, ignore_errors=True)
    # The stack is fresh; a spool that remembers the last demonstration's pictures would send none of them.
    for left in state.glob("spool.db*"):
        left.unlink()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        files = _draw(progress, folder)
        photographs = sorted(path for path in pictures.rglob("*") if path.is_file())
        hostile = demo_pictures.hostile(programme.name)
        device = _send(state, settings, files + photographs, programme=programme.name)
        _send_hostile(settings, hostile)
        # The file that was cut short never leaves the device.
        expected = len(files) - 1 + len(photographs) + len(hostile)
        began = time.monotonic()
        fates = _follow(progress, state / "run" / "screening" / MEMBERS, expected, device)
        took_s = time.monotonic() - began
    if trial is None:
        asyncio.run(_tell(console, settings, photographs))
    else:
        asyncio.run(_tell_scores(console, settings, photographs, programme=programme, trial=trial))
    letters = read_dead_letters(kafka_options(settings.kafka))
    console.print(redrive.counts(letters))
    console.print(
        f"[bold]{sum(fates.values())} pictures in {took_s:.0f} s[/]: "
        + ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
        + ". One file cut short stayed on the device. Lost: "
        + str(expected - sum(fates.values()))
        + "."
    )
    console.print(
        "This is a research and engineering tool, drawn eyes are not patients, and nothing here is a diagnosis."
    )


def _draw(progress: Progress, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("drawing eyes", total=4 * len(demo_pictures.EXAMS))
    files = []
    for drawn in demo_pictures.EXAMS:
        for path in demo_pictures.draw(folder, drawn):
            files.append(path)
            progress.advance(task)
    return [*files, demo_pictures.cut_short(folder, files[0])]


def _send(state: Path, settings: Settings, files: Sequence[Path], *, programme: str) -> subprocess.Popen[bytes]:
    """The real device program, as a clinic would run it."""
    key = state / "site.key"
    if not key.exists():
        create_key(key)
    argv = [sys.executable, "-m", "eyestream", "device", "send", *map(str, files)]
    argv += ["--site", "demo-clinic", "--device", "demo-camera", "--programme", programme]
    argv += ["--pattern", PATTERN, "--plain-exams", "--kafka", settings.kafka.bootstrap]
    argv += ["--key", str(key), "--spool", str(state / "spool.db")]
    with (state / "logs" / "device.log").open("wb") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log)


def _send_hostile(settings: Settings, hostile: Sequence[BadPicture]) -> None:
    from kafka import KafkaProducer

    options = kafka_options(settings.kafka)
    producer = KafkaProducer(**options.producer_config())
    try:
        for bad in hostile:
            producer.send(options.topic, value=bad.value, headers=list(bad.headers.items()))
        producer.flush()
    finally:
        producer.close()


def _follow(progress: Progress, folder: Path, expected: int, device: subprocess.Popen[bytes]) -> Counter[str]:
    """Until every picture has a fate; raises Unavailable when none gets one for too long."""
    task = progress.add_task("screening", total=expected)
    deadline, done = time.monotonic() + PATIENCE_S, 0
    while True:
        fates: Counter[str] = sum((member.fates for member in members(folder)), Counter())
        progress.update(task, completed=sum(fates.values()))
        if sum(fates.values()) > done:
            deadline, done = time.monotonic() + PATIENCE_S, sum(fates.values())
        if sum(fates.values()) >= expected and device.poll() is not None:
            return fates
        if time.monotonic() > deadline:
            device.kill()
            raise Unavailable("the line", f"{expected - sum(fates.values())} pictures have no fate yet: see the logs")
        time.sleep(0.2)


async def _tell(console: Console, settings: Settings, photographs: Sequence[Path]) -> None:
    reader = ResultsReader(settings.redis.url.get_secret_value())
    try:
        listed: list[Exam] = []
        cursor: str | None = None
        while True:
            page = await reader.worklist("demo", limit=100, cursor=cursor)
            listed += [exam for entry in page.entries if (exam := await reader.exam(entry.exam_id)) is not None]
            if (cursor := page.cursor) is None:
                break
        names = [drawn.name for drawn in demo_pictures.EXAMS]
        others = [exam for name in names if (exam := await reader.exam(name)) is not None]
    finally:
        await reader.close()
    waiting = {exam.exam_id for exam in listed}
    console.print("\n[bold]The worklist[/], most urgent first:")
    console.print(results_tables.exam_table(listed))
    clear = ", ".join(exam.exam_id for exam in others if exam.exam_id not in waiting)
    console.print(f"[bold]Nobody needs to act on[/]: {clear or 'none of them'}")
    console.print("[bold]What was drawn[/]: " + "; ".join(f"{d.name} {d.story}" for d in demo_pictures.EXAMS))
    if photographs:
        console.print(
            "[bold]Exams with other names[/] are real photographs. The demo model was never trained on real eyes:"
            " what it says of them means nothing."
        )


async def _tell_scores(
    console: Console, settings: Settings, photographs: Sequence[Path], *, programme: Programme, trial: Trial
) -> None:
    reader = ResultsReader(settings.redis.url.get_secret_value())
    stories = {drawn.name: f"drawn: {drawn.story}" for drawn in demo_pictures.EXAMS}
    names = [*stories, *sorted({photograph.stem.split("_")[0] for photograph in photographs})]
    try:
        exams = {name: found for name in names if (found := await reader.screenings(name))}
    finally:
        await reader.close()
    console.print(f"\n[bold yellow]{warning(trial)}[/]")
    console.print(score_table(programme, exams, stories))
