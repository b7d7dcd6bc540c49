"""`eyestream bank`: write, check, build and exchange banks. The work is done in `eyestream.banks`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from eyestream import settings
from eyestream.banks.base import TextEncoder
from eyestream.banks.build import build, closest
from eyestream.banks.shelf import Bank, Edition, Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Calibration, available
from eyestream.programmes import Programme as Programmes
from eyestream.records import Digest, digest, utc
from eyestream.scoring import score

commands = typer.Typer(no_args_is_help=True, help="Say in words what to look for, and exchange it while running.")

File = Annotated[Path | None, typer.Option("--settings", "-s", help="TOML file of settings.", show_default=False)]
ShelfFolder = Annotated[
    Path | None, typer.Option("--shelf", help="Folder of banks; that of the settings if left out.", show_default=False)
]
Source = Annotated[str, typer.Argument(metavar="PROGRAMME", help="A TOML file, or the name of a built-in programme.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The programme's name.")]
Tower = Annotated[Path, typer.Option("--text-tower", help="Folder of the encoder's text tower.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@commands.command("build")
def build_(
    source: Source,
    *,
    text_tower: Tower,
    model_repository: Annotated[Path | None, typer.Option(help="Triton's folder of models.")] = None,
    model: Annotated[str, typer.Option(help="The encoder in --model-repository.")] = "demo",
    encoder_digest: Annotated[str | None, typer.Option(help="sha256 of the checkpoint, without a repository.")] = None,
    preprocessing_digest: Annotated[str | None, typer.Option(help="As the encoder's results carry it.")] = None,
    shelf: ShelfFolder = None,
    activate: Annotated[bool, typer.Option("--activate", help="Put it into service at once.")] = False,
    file: File = None,
) -> None:
    """Build a bank for one encoder and publish it.

    The encoder is read from its config.pbtxt in --model-repository, or named by --encoder-digest and
    --preprocessing-digest.
    """
    programme = read(source)
    encoder, preprocessing = _encoder(model_repository, model, encoder_digest, preprocessing_digest)
    head = build(programme, tower(text_tower), encoder_digest=encoder, preprocessing_digest=preprocessing)
    on = _shelf(shelf, file)
    on.publish(programme, head)
    if activate:
        on.activate(programme.name, head.digest)
    said = "in service" if activate else f"published; serve it with: eyestream bank activate {programme.name} "
    typer.echo(f"{programme.name} {head.digest} {said}{'' if activate else head.digest[:12]}")


@commands.command()
def check(source: Source, *, text_tower: Annotated[Path | None, typer.Option("--text-tower")] = None) -> None:
    """Find what is wrong in a programme before it is built; with a text tower, also what the model confuses."""
    programme = read(source)
    origin = {"encoder_digest": digest("none"), "preprocessing_digest": digest("none")}
    head = None if text_tower is None else build(programme, tower(text_tower), **origin)
    near = {} if head is None else closest(head)
    table = Table("condition", "role", "phrases", "urgency", "operating point", "calibrated", "nearest rival (cosine)")
    for condition in programme.conditions:
        point = programme.operating_point(condition)
        table.add_row(
            condition.id,
            condition.role,
            f"{len(condition.positive)} + {len(condition.negative)}",
            condition.urgency,
            f"{point} {condition.thresholds[point]:g}",
            "no" if condition.calibration == Calibration() else "yes",
            f"{near[condition.id]:.3f}" if condition.id in near else "",
        )
    Console().print(table)
    typer.echo(f"{programme.name}: no fault found in {source}")


@commands.command("list")
def list_(*, shelf: ShelfFolder = None, as_json: AsJson = False, file: File = None) -> None:
    """The programmes on the shelf and what serves each."""
    on = _shelf(shelf, file)
    if as_json:
        rows = {name: [asdict(edition) for edition in on.history(name)] for name in on.programmes()}
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("programme", "in service", "since", "published", "served before")
    for name in on.programmes():
        served = on.history(name)
        now = (served[-1].head[:12], f"{utc(served[-1].since):%Y-%m-%d %H:%M}") if served else ("none", "")
        table.add_row(name, *now, str(len(on.published(name))), str(max(len(served) - 1, 0)))
    Console().print(table)


@commands.command()
def show(name: Name, *, shelf: ShelfFolder = None, toml: bool = False, file: File = None) -> None:
    """What serves a programme: its conditions, phrases and origin; with --toml the programme as it was written."""
    bank = _current(_shelf(shelf, file), name)
    if toml:
        typer.echo(bank.programme.text, nl=False)
        return
    for key, value in asdict(bank.head.provenance).items():
        typer.echo(f"{key + ':':15}{', '.join(value) if isinstance(value, tuple) else value or '-'}")
    typer.echo(f"{'bank:':15}{bank.head.digest}\n{'programme text:':15} {bank.programme.digest}")
    table = Table("condition", "urgency", "threshold", "phrases for it", "phrases against it")
    for condition in bank.programme.conditions:
        point = bank.programme.operating_point(condition)
        against = "\n".join(condition.negative) or (f"group {condition.group}" if condition.group else "")
        threshold = f"{condition.thresholds[point]:g} ({point})"
        table.add_row(condition.title, condition.urgency, threshold, "\n".join(condition.positive), against)
    Console().print(table)


@commands.command()
def activate(name: Name, digest: str, *, shelf: ShelfFolder = None, file: File = None) -> None:
    """Put a published bank into service; DIGEST may be its first six characters or more."""
    _say(name, _shelf(shelf, file).activate(name, digest))


@commands.command()
def rollback(name: Name, *, shelf: ShelfFolder = None, file: File = None) -> None:
    """Put the bank back that served before."""
    _say(name, _shelf(shelf, file).rollback(name))


@commands.command("try")
def try_(
    phrases: list[str],
    *,
    text_tower: Tower,
    programme: Annotated[str, typer.Option(help="A TOML file, or the name of a built-in programme.")] = "demo",
) -> None:
    """How a programme hears phrases, as if each were the caption of a picture: a test of wording without pictures."""
    model = tower(text_tower)
    head = build(read(programme), model, encoder_digest=digest("none"), preprocessing_digest=digest("none"))
    try:
        vectors = model.encode(phrases)
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    for phrase, judgement in zip(phrases, score(head, vectors), strict=True):
        table = Table("condition", "probability", "threshold", "loudest phrase", title=phrase)
        every = sorted((*judgement.findings, *judgement.quality), key=lambda finding: -finding.probability)
        for finding in every:
            mark = "bold" if finding.positive else "dim"
            numbers = f"{finding.probability:.3f}", f"{finding.threshold:g}"
            table.add_row(finding.condition, *numbers, finding.prompt, style=mark)
        Console().print(table)


@commands.command()
def builtin(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """List the programmes that come with eyestream, or print one to start your own from."""
    typer.echo("\n".join(available()) if name is None else Programmes.builtin(name).text.rstrip("\n"))


def read(source: str) -> Programmes:
    """The programme in a TOML file or, where the words are no path, the built-in one of that name."""
    if source.endswith(".toml") or "/" in source:
        return Programmes.load(source)
    return Programmes.builtin(source)


def tower(folder: Path) -> TextEncoder:
    """The text tower in a folder; raises Misconfigured saying what to install when this machine cannot run it."""
    try:
        from eyestream.banks.onnx import OnnxTextEncoder

        return OnnxTextEncoder(folder)
    except ImportError as error:
        raise Misconfigured(f"building a bank needs {error.name}: pip install 'eyestream[local]'") from None


def served(repository: Path, model: str) -> tuple[Digest, Digest]:
    """Digests of the encoder and its preprocessing, as a model's config.pbtxt in Triton's folder states them."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tritonclient.grpc import model_config_pb2

    from eyestream.decoding import Preprocessing

    path = repository / model / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    missing = {"eyestream.digest", "eyestream.preprocessing"} - set(parameters)
    if missing:
        raise Misconfigured(f"{path} does not state {', '.join(sorted(missing))}: render it with eyestream-engines")
    preprocessing = Preprocessing.from_json(parameters["eyestream.preprocessing"])
    return Digest(parameters["eyestream.digest"]), preprocessing.digest


def _encoder(repository: Path | None, model: str, *digests: str | None) -> tuple[Digest, Digest]:
    encoder, preprocessing = digests
    if repository is not None and encoder is None and preprocessing is None:
        return served(repository, model)
    for name, value in {"--encoder-digest": encoder, "--preprocessing-digest": preprocessing}.items():
        if repository is not None or value is None or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise Misconfigured(f"give --model-repository, or both digests; {name} is 64 hexadecimal characters")
    return Digest(encoder or ""), Digest(preprocessing or "")


def _current(shelf: Shelf, name: str) -> Bank:
    bank = shelf.current(name)
    if bank is None:
        raise Misconfigured(f"no bank of {name!r} is in service; there are: {', '.join(shelf.programmes()) or 'none'}")
    return bank


def _shelf(folder: Path | None, file: Path | None) -> Shelf:
    return Shelf(folder if folder is not None else settings.load(file).banks.shelf)


def _say(name: str, edition: Edition) -> None:
    typer.echo(f"{name} {edition.head} in service")
