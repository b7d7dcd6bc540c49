"""`eyestream device`: what a person types beside the camera."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from eyestream import telemetry
from eyestream.apps import device_jobs as jobs
from eyestream.apps import device_options as options
from eyestream.device.intake import Intake
from eyestream.device.labels import Labels
from eyestream.device.producer import Sender
from eyestream.device.pseudonym import create_key
from eyestream.device.spool import Spool
from eyestream.device.watcher import FolderWatcher, Habits
from eyestream.errors import Misconfigured
from eyestream.records import Laterality, RetinalField

commands = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Send pictures from a camera's computer.\n\n"
        "A picture is stripped of everything but its pixels, put into a [bold]spool[/] on this disk, and sent from "
        "there to Kafka, however long that is away. Patients' numbers become pseudonyms under a key that stays here "
        "(make it once with [bold]keygen[/]).\n\n"
        "JPEG, PNG, TIFF and DICOM are told by content. What belongs to a picture comes from, in this order: the "
        "options; a sidecar beside it ([bold]eye.jpg.json[/] with exam, subject, laterality, field, modality, "
        "captured_at, priority); its DICOM tags; its name under a [bold]--pattern[/] such as "
        "[bold]{exam}_{laterality}_{field}[/]. Without a pattern, a name tells at most the eye (R, L, OD, OS, right, "
        "left) and the field (macula, disc). A picture nobody assigned to an exam is an exam of its own."
    ),
)
_DAY_S: Final = 86_400.0


@commands.command()
def keygen(key: options.Key = None) -> None:
    """Make this site's key, which turns patients' numbers into pseudonyms. Back it up; never send it anywhere."""
    path = options.key_path(key)
    try:
        create_key(path)
    except OSError as error:
        raise Misconfigured(f"the key cannot be written to {path} ({error.strerror}): name another --key") from None
    typer.echo(f"Wrote {path}. Whoever has it can link pseudonyms to patients: back it up where only you can read it.")


@commands.command()
def status(
    spool: options.SpoolFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    older_than_s: Annotated[
        float | None, typer.Option(help="Exit with 1 when a picture waits longer than this; for monitoring.")
    ] = None,
) -> None:
    """Show what waits in the spool, how old it is, what troubles it, and what was refused."""
    path = options.spool_path(spool)
    if not path.exists():
        raise Misconfigured(f"there is no spool at {path}; nothing was sent from here yet")
    depth = Spool(path).depth()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(depth)))
    else:
        table = Table(show_header=False)
        table.add_row("waiting", f"{depth.waiting} pictures, {depth.waiting_bytes / 2**20:.1f} MiB")
        table.add_row("oldest", f"{depth.oldest_s:.0f} s" if depth.waiting else "-")
        table.add_row("sent", f"{depth.sent} pictures")
        for trouble, count in sorted(depth.troubled.items()):
            table.add_row("trouble", f"{trouble}: {count} pictures")
        for reason, count in sorted(depth.refused.items()):
            table.add_row("refused", f"{reason}: {count} files")
        Console().print(table)
    if older_than_s is not None and depth.oldest_s > older_than_s:
        raise typer.Exit(1)


@commands.command()
def send(  # noqa: PLR0917 - a command's options are its signature
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; none: send what waits.")] = None,
    site: options.Site = None,
    device: options.Device = None,
    programme: options.ProgrammeName = None,
    exam: Annotated[
        str | None, typer.Option(help="The exam all belong to, as it shall be known everywhere: no patient's number.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="The patient's number, which becomes a pseudonym; '-' reads it from stdin.")
    ] = None,
    laterality: Annotated[Laterality | None, typer.Option(help="The eye, where nothing else says.")] = None,
    field: Annotated[RetinalField | None, typer.Option(help="What the pictures are centred on.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0 routine … 9 at once.")] = None,
    modality: options.ModalityName = "CFP",
    pattern: options.Pattern = None,
    plain_exams: options.PlainExams = False,
    kafka: options.Kafka = "127.0.0.1:9092",
    topic: options.Topic = "screening.images",
    max_message_bytes: options.MaxMessageBytes = options.MAX_MESSAGE_BYTES,
    store: options.Store = None,
    kafka_option: options.KafkaOption = None,
    kafka_secret: options.KafkaSecret = None,
    key: options.Key = None,
    spool: options.SpoolFile = None,
    spool_gib: options.SpoolGib = 20.0,
    wait: Annotated[bool, typer.Option(help="Wait until all have arrived, or leave them in the spool.")] = True,
    timeout_s: Annotated[float, typer.Option(help="Wait no longer than this.")] = 3600.0,
) -> None:
    """Send these files; each is safe in the spool before the next is read.

    Exit code 0: all pictures are in Kafka (with --no-wait: in the spool). 1: a file was refused or some still wait.
    """
    # A person is told in our words that Kafka is away, not in a screen of its client's.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    kept_at = options.object_store(store)
    with Spool(options.spool_path(spool), max_bytes=int(spool_gib * 2**30)) as store_and_forward:
        target = options.target(kafka, topic, max_message_bytes, kafka_option, kafka_secret)
        sender = Sender(store_and_forward, target.connect, max_message_bytes=max_message_bytes, store_url=kept_at)
        job = jobs.SendJob(store_and_forward, sender if wait else None, time.monotonic() + timeout_s)
        intake = None
        if paths:
            intake = Intake(
                store_and_forward,
                options.read_site_key(key),
                options.origin(site, device, programme, modality),
                given=Labels(
                    exam=exam,
                    subject=options.read_subject(subject),
                    laterality=laterality,
                    field=field,
                    priority=priority,
                ),
                pattern=options.name_pattern(pattern),
                plain_exams=plain_exams,
                max_picture_bytes=options.largest_picture(max_message_bytes, store),
            )
        ok = job.run(list(jobs.files(paths or [])), intake)
    raise typer.Exit(0 if ok else 1)


@commands.command()
def watch(  # noqa: PLR0917 - a command's options are its signature
    folder: Annotated[Path, typer.Argument(help="The folder the camera writes to.", exists=True, file_okay=False)],
    site: options.Site = None,
    device: options.Device = None,
    programme: options.ProgrammeName = None,
    modality: options.ModalityName = "CFP",
    pattern: options.Pattern = None,
    plain_exams: options.PlainExams = False,
    kafka: options.Kafka = "127.0.0.1:9092",
    topic: options.Topic = "screening.images",
    max_message_bytes: options.MaxMessageBytes = options.MAX_MESSAGE_BYTES,
    store: options.Store = None,
    kafka_option: options.KafkaOption = None,
    kafka_secret: options.KafkaSecret = None,
    key: options.Key = None,
    spool: options.SpoolFile = None,
    spool_gib: options.SpoolGib = 20.0,
    leave: Annotated[bool, typer.Option("--leave", help="Leave files where they are and remember them.")] = False,
    wait_for_sidecar: Annotated[
        bool, typer.Option("--wait-for-sidecar", help="Take a picture only once its sidecar is there.")
    ] = False,
    settle_s: Annotated[float, typer.Option(help="A file is whole when it did not change for this long.")] = 2.0,
    patience_s: Annotated[float, typer.Option(help="A broken file is refused after this long unchanged.")] = 15.0,
    rescan_s: Annotated[float, typer.Option(help="Look through the folder this often, events or not.")] = 10.0,
    remember_days: Annotated[float, typer.Option(help="How long a picture that comes again is known.")] = 400.0,
) -> None:
    """Send every picture that appears in FOLDER, for as long as this runs.

    Files that are safe in the spool move to FOLDER/sent, broken ones to FOLDER/refused with a .txt that says why.
    SIGTERM and Ctrl-C end it; nothing is lost, whenever that is.
    """
    telemetry.log_as_json()
    site_key = options.read_site_key(key)
    kept_at = options.object_store(store)
    with Spool(options.spool_path(spool), max_bytes=int(spool_gib * 2**30)) as store_and_forward:
        intake = Intake(
            store_and_forward,
            site_key,
            options.origin(site, device, programme, modality),
            pattern=options.name_pattern(pattern),
            plain_exams=plain_exams,
            max_picture_bytes=options.largest_picture(max_message_bytes, store),
        )
        target = options.target(kafka, topic, max_message_bytes, kafka_option, kafka_secret)
        sender = Sender(store_and_forward, target.connect, max_message_bytes=max_message_bytes, store_url=kept_at)
        memory = jobs.SpoolMemory(store_and_forward, site_key, folder) if leave else None
        watcher = FolderWatcher(
            folder,
            jobs.waking(intake, sender),
            habits=Habits(
                settle_s=settle_s, patience_s=patience_s, rescan_s=rescan_s, wait_for_sidecar=wait_for_sidecar
            ),
            memory=memory,
            refused=store_and_forward.count_refused,
        )
        jobs.watch(watcher, sender, store_and_forward, remember_s=remember_days * _DAY_S, memory=memory)
