"""`eyestream-engines head …`: from a checkpoint to the ScoreHead that scores its embeddings. Knows no model."""

from __future__ import annotations

import shlex
import unicodedata
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream_engines.spec import EncoderFile

if TYPE_CHECKING:
    from eyestream.records import Vectors
    from eyestream_engines.heads.fewshot import Labels

app = typer.Typer(no_args_is_help=True, help="Make the ScoreHead that scores an encoder's embeddings.")

Name = Annotated[str, typer.Argument(help="an encoder; `eyestream-engines list` names them")]
Checkpoint = Annotated[Path, typer.Option(help="the weights that the engine was built from")]
Output = Annotated[Path, typer.Option("--output", "--out", help="a folder; the head is named by its digest")]
OnShelf = Annotated[Path | None, typer.Option("--shelf", help="publish it there with its programme, in place of that")]
Activate = Annotated[bool, typer.Option("--activate", help="with --shelf: put it into service at once")]
Serving = Annotated[
    str | None, typer.Option("--programme", help="the one whose conditions are the classes: its operating points")
]


@app.command()
def text(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    programme: Annotated[str, typer.Option(help="a screening programme: a file, or the name of a built-in one")],
    vocabulary: Annotated[Path, typer.Option(help="the tokenizer's file, which comes with the checkpoint")],
    output: Output = Path("heads"),
    shelf: OnShelf = None,
    activate: Activate = False,
) -> None:
    """Ask a programme's phrases of the model, as its authors ask."""
    from eyestream_engines import checkpoints
    from eyestream_engines.heads import zeroshot

    described = EncoderFile.load(encoder)
    zeroshot.wording_of(described)
    asked = _publishable(programme, shelf, activate=activate)
    zeroshot.require_readable(described, asked, vocabulary)
    read = checkpoints.read(described, checkpoint)
    made = zeroshot.head(described, read.tensors, read.digest, programme=asked, vocabulary=vocabulary)
    _kept(made, output, asked, shelf, activate=activate)


@app.command()
def classifier(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    labels: Annotated[str, typer.Option(help="the classes in the file's order, with commas between them")] = "",
    output: Output = Path("heads"),
    programme: Serving = None,
    shelf: OnShelf = None,
    activate: Activate = False,
) -> None:
    """Take the classifier that the file holds."""
    from eyestream_engines import checkpoints
    from eyestream_engines.heads import published

    described = EncoderFile.load(encoder)
    serving = _serving(programme, shelf, activate=activate)
    read = checkpoints.read(described, checkpoint)
    given = tuple(label.strip() for label in labels.split(",") if label.strip())
    made = published.head(described, read.tensors, read.digest, labels=given)
    _kept(made, output, serving, shelf, activate=activate)


@app.command()
def probe(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    embeddings: Annotated[
        Path, typer.Option(help=".npz with `embeddings` [n, dim], `labels` [n], places in `classes`, and `classes`")
    ],
    output: Output = Path("heads"),
    programme: Serving = None,
    shelf: OnShelf = None,
    activate: Activate = False,
) -> None:
    """Fit a logistic regression on labelled embeddings of the encoder's engine."""
    from eyestream_engines import files
    from eyestream_engines.heads import fewshot
    from eyestream_engines.heads.classes import named

    described = EncoderFile.load(encoder)
    serving = _serving(programme, shelf, activate=activate)
    support, labels, classes = _labelled(embeddings, described)
    provenance = Provenance(described.identity(files.digest(checkpoint)), described.preprocessing.digest, kind="probe")
    _kept(fewshot.probe(support, labels, named(classes), provenance), output, serving, shelf, activate=activate)


def _labelled(path: Path, encoder: EncoderFile) -> tuple[Vectors, Labels, list[str]]:
    """Labelled embeddings, and the names of their classes; raises Misconfigured for what no probe can be fitted on."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            support, labels, classes = (stored[name] for name in ("embeddings", "labels", "classes"))
        # Two spellings of one accent are one name to whoever reads it.
        names = [unicodedata.normalize("NFC", name).strip() for name in map(str, classes.astype(str).ravel())]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise Misconfigured(f"{path} does not hold embeddings, labels and classes: {error}") from None
    if support.ndim != 2 or support.shape[1] != encoder.output.dim or labels.shape != support.shape[:1]:  # noqa: PLR2004
        raise Misconfigured(
            f"{path} holds embeddings {list(support.shape)} and labels {list(labels.shape)}; those of {encoder.name} "
            f"are [n, {encoder.output.dim}] and [n]"
        )
    if len(names) < 2 or not all(names):  # noqa: PLR2004 - one class is told from nothing
        raise Misconfigured(f"{path} names the classes {names}: a probe needs two or more, each with a name")
    if strange := sorted({str(label) for label in labels if label not in range(len(names))}):
        raise Misconfigured(
            f"{path} has labels {', '.join(strange[:3])}; they are places in classes, 0 to {len(names) - 1}"
        )
    with np.errstate(over="ignore"):  # what leaves float32 is told below
        numbers = (
            support.astype(np.float32) if support.dtype.kind in "fiu" else np.full(support.shape, np.nan, np.float32)
        )
    if sick := np.flatnonzero(~np.isfinite(numbers).all(1)).tolist():
        raise Misconfigured(
            f"{path} holds {len(sick)} embeddings that are not finite numbers, the first in row {sick[0]}"
        )
    return numbers, labels.astype(np.int64), names


def _serving(programme: str | None, shelf: Path | None, *, activate: bool) -> Programme | None:
    """The programme of that file, or the built-in one, if any; raises Misconfigured for what could not be published."""
    if programme is not None:
        return _publishable(programme, shelf, activate=activate)
    if shelf is not None:
        raise Misconfigured("a bank is a head and a programme: name its file, --programme FILE")
    _require_shelf(shelf, activate=activate)
    return None


def _require_shelf(shelf: Path | None, *, activate: bool) -> None:
    if activate and shelf is None:
        raise Misconfigured("--activate puts a bank of a shelf into service: name the shelf, --shelf FOLDER")


def _publishable(programme: str, shelf: Path | None, *, activate: bool) -> Programme:
    _require_shelf(shelf, activate=activate)
    if Path(programme).is_file():
        return Programme.load(programme)
    built_in = Programme.builtin(programme)
    if shelf is not None and built_in.decides:
        raise Misconfigured(
            f"the operating points of {programme!r} were measured with another encoder: write a programme of your own "
            f"(`eyestream bank builtin {programme}` starts one), and `decides = false` in it until yours are measured"
        )
    return built_in


def _kept(head: ScoreHead, output: Path, programme: Programme | None, shelf: Path | None, *, activate: bool) -> None:
    from eyestream_engines.heads import shelving

    if programme is None or shelf is None:
        _saved(head if programme is None else shelving.fit(head, programme), output)
        return
    digest = shelving.publish(head, programme, shelf, activate=activate)
    on = f"--shelf {shlex.quote(str(shelf))}"
    serve = f"published; serve it with: eyestream bank activate {programme.name} {digest[:12]} {on}"
    typer.echo(f"{programme.name} {digest} {'in service' if activate else serve}")
    if programme.decides:
        typer.echo("it refers by its operating points: they must have been measured with this very checkpoint")


def _saved(head: ScoreHead, output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        path = head.save(output)
    except OSError as error:
        raise Misconfigured(f"the head cannot be written to {output}: {error.strerror}") from None
    typer.echo(f"{path}: {len(head.judges)} conditions, {len(head.rows)} rows of {head.dim} numbers")
