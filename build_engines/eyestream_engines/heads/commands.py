"""`eyestream-engines head …`: from a checkpoint to the ScoreHead that scores its embeddings. Knows no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream_engines.spec import EncoderFile

app = typer.Typer(no_args_is_help=True, help="Make the ScoreHead that scores an encoder's embeddings.")

Name = Annotated[str, typer.Argument(help="an encoder; `eyestream-engines list` names them")]
Checkpoint = Annotated[Path, typer.Option(help="the weights that the engine was built from")]
Output = Annotated[Path, typer.Option("--output", "--out", help="a folder; the head is named by its digest")]


@app.command()
def text(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    programme: Annotated[str, typer.Option(help="a screening programme: a file, or the name of a built-in one")],
    vocabulary: Annotated[Path, typer.Option(help="the tokenizer's file, which comes with the checkpoint")],
    output: Output = Path("heads"),
) -> None:
    """Ask a programme's phrases of the model, as its authors ask."""
    from eyestream_engines import checkpoints
    from eyestream_engines.heads import zeroshot

    described = EncoderFile.load(encoder)
    zeroshot.wording_of(described)
    read = checkpoints.read(described, checkpoint)
    asked = Programme.load(programme) if Path(programme).exists() else Programme.builtin(programme)
    made = zeroshot.head(described, read.tensors, read.digest, programme=asked, vocabulary=vocabulary)
    _saved(made, output)


@app.command()
def classifier(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    labels: Annotated[str, typer.Option(help="the classes in the file's order, with commas between them")] = "",
    output: Output = Path("heads"),
) -> None:
    """Take the classifier that the file holds."""
    from eyestream_engines import checkpoints
    from eyestream_engines.heads import published

    described = EncoderFile.load(encoder)
    read = checkpoints.read(described, checkpoint)
    given = tuple(label.strip() for label in labels.split(",") if label.strip())
    _saved(published.head(described, read.tensors, read.digest, labels=given), output)


@app.command()
def probe(
    encoder: Name,
    *,
    checkpoint: Checkpoint,
    embeddings: Annotated[
        Path, typer.Option(help=".npz with `embeddings` [n, dim], `labels` [n], places in `classes`, and `classes`")
    ],
    output: Output = Path("heads"),
) -> None:
    """Fit a logistic regression on labelled embeddings of the encoder's engine."""
    from eyestream_engines import files
    from eyestream_engines.heads import fewshot
    from eyestream_engines.heads.classes import named

    described = EncoderFile.load(encoder)
    try:
        with np.load(embeddings) as stored:
            support, labels, classes = (stored[name] for name in ("embeddings", "labels", "classes"))
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"{embeddings} does not hold embeddings, labels and classes: {error}") from None
    if support.ndim != 2 or support.shape[1] != described.output.dim or labels.shape != support.shape[:1]:  # noqa: PLR2004
        raise Misconfigured(
            f"{embeddings} holds embeddings {list(support.shape)} and labels {list(labels.shape)}; those of {encoder} "
            f"are [n, {described.output.dim}] and [n]"
        )
    provenance = Provenance(described.identity(files.digest(checkpoint)), described.preprocessing.digest, kind="probe")
    told = named([str(label) for label in classes])
    _saved(fewshot.probe(support.astype(np.float32), labels, told, provenance), output)


def _saved(head: ScoreHead, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{head.save(output)}: {len(head.judges)} conditions, {len(head.rows)} rows of {head.dim} numbers")
