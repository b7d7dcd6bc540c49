"""`eyestream-engines`: from a published checkpoint to a model that Triton loads. Knows the commands, not their work."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from eyestream.errors import EyestreamError, Misconfigured
from eyestream_engines import catalogue, joining
from eyestream_engines.gpu.commands import gpu
from eyestream_engines.heads import commands
from eyestream_engines.reporting.commands import report
from eyestream_engines.spec import EncoderFile

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(commands.app, name="head")
app.command("list")(catalogue.list_)
for command in (catalogue.describe, report, gpu):
    app.command()(command)
app.command("join")(joining.command)
app.command("gather")(joining.gather_command)

out = Console()
err = Console(stderr=True)

Name = Annotated[str, typer.Argument(help="an encoder; `eyestream-engines list` names them")]


def main() -> None:
    """Run the command line; faults that have a name end it with their text and status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except EyestreamError as error:
        err.print(f"eyestream-engines: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="a checkpoint: safetensors, or a torch file without code")],
) -> None:
    """What a checkpoint file is: its hash, what it holds, whose format it has and what is missing."""
    from eyestream_engines import checkpoints, files

    kind = files.kind_of(file)
    held = files.read(file)
    tensors = list(files.tensors_in(held))
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for _, tensor in tensors})
    numbers = sum(tensor.numel() for _, tensor in tensors)
    _say("file", f"{file}, {kind}, {file.stat().st_size:,} bytes")
    digest = files.digest(file)
    _say("sha256", digest)
    _say("holds", f"{len(tensors)} tensors of {numbers / 1e6:.2f} M numbers ({', '.join(kinds)})")
    _say("at its top", ", ".join(map(str, list(held)[:8])) + (", …" if len(held) > 8 else ""))  # noqa: PLR2004
    ranked = checkpoints.fits(held)
    whole = [fit.encoder for fit in ranked if fit.whole]
    if whole:
        _say("format of", ", ".join(encoder.name for encoder in whole))
        if known := [encoder.name for encoder in whole if encoder.published and encoder.published.holds(digest)]:
            _say("published as", ", ".join(known))
        elif len(whole) > 1:
            _say("", "one format: only its source, or its sha256, tells which of them it is")
        return
    _say("format of", "no encoder known here")
    if ranked and ranked[0].likeness > 0:
        _say("closest", f"{ranked[0].encoder.name}: {ranked[0].fitting} keys fit")
        out.print(checkpoints.faults(ranked[0]), markup=False, highlight=False, soft_wrap=True)


@app.command()
def fetch(
    encoder: Name,
    *,
    file: Annotated[str | None, typer.Option(help="which of its published files; the first unless named")] = None,
    output: Annotated[Path, typer.Option("--output", "--out", help="the folder it goes to")] = Path("checkpoints"),
) -> None:
    """Bring a published checkpoint from the model hub (HF_ENDPOINT, HF_TOKEN); goes on where it was ended."""
    from eyestream_engines import fetching

    described = EncoderFile.load(encoder)
    offer = fetching.look(described, file)
    _say("file", f"{offer.file} of {offer.repository} at {offer.commit}, {offer.size:,} bytes")
    _say("licence", f"{described.licence}; its page says {offer.licence or 'nothing'}")
    _say("announced", f"sha256 {offer.sha256}" if offer.sha256 else "no sha256")
    with _progress(("hash",)) as told:
        path, digest = fetching.fetch(described, offer, output, lambda done, size: told("hash", done / max(size, 1)))
    _say("sha256", digest)
    if described.published and described.published.holds(digest) is None:
        _say("", f"none is known of {encoder}: this is the hub's word alone")
    _say("fetched", f"{path}: eyestream-engines build {encoder} --checkpoint {shlex.quote(str(path))}")


@app.command()
def build(
    encoder: Name,
    *,
    checkpoint: Annotated[
        Path | None, typer.Option(help="the weights; not asked for where the repository has them")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "--out", help="Triton's model repository; the model is a folder in it")
    ] = Path("model_repository"),
    name: Annotated[
        str | None, typer.Option(help="the model's name there; the encoder's unless told otherwise")
    ] = None,
    compiler: Annotated[str, typer.Option(help="auto, onnxruntime, tensorrt or tensorrt-rtx")] = "auto",
    compute: Annotated[str | None, typer.Option(help="tensorrt-rtx without a GPU: capability to compile for")] = None,
    threads: Annotated[int, typer.Option(help="threads of torch", min=1)] = 1,
) -> None:
    """Check a checkpoint, make its engine, hold it against the original, and publish it whole or not at all."""
    import torch

    from eyestream_engines import building, compilers, gates
    from eyestream_engines.steps import STEPS

    if compute is not None and (compiler != "tensorrt-rtx" or not re.fullmatch(r"\d+\.\d", compute)):
        raise Misconfigured(f"--compute {compute}: give a capability such as 8.9, and --compiler tensorrt-rtx with it")
    torch.set_num_threads(threads)
    described = EncoderFile.load(encoder)
    chosen = compilers.choose(compiler, compute=compute)
    with _progress(STEPS) as told:
        built = building.build(
            described,
            checkpoint or described.checkpoint_path,
            output,
            compiler=chosen,
            name=name,
            told=told,
        )
    if not built.fresh:
        _say("nothing to do", f"{built.folder} is this encoder's engine already")
        return
    for facts in built.manifest["gates"]:
        reading = gates.Reading(**{key: value for key, value in facts.items() if key != "passed"})
        out.print(f"passed  {reading.told()}", markup=False, highlight=False, soft_wrap=True)
    target = built.manifest["target"]
    _say(
        "published", f"{built.folder} for {target['compiler']} {target['version']} {target['gpu'] or 'on a processor'}"
    )
    if built.manifest["checkpoint"]["published"] is False:
        _say("another file", f"its sha256 is none of those published for {encoder}: trained further, or converted")
    if described.parity is None and described.checkpoint.file is None:
        _say("not compared", "there are no numbers of its original (parity): nothing but its keys says that it is it")
    if not built.manifest["run_here"]:
        _say("not run", "this machine has no GPU to run the plan on; its numbers were not compared")


@app.command()
def trial(
    encoder: Name,
    *,
    checkpoint: Annotated[Path | None, typer.Option(help="the weights")] = None,
    programme: Annotated[str, typer.Option(help="whose phrases are asked: a file, or a built-in programme")] = "demo",
    vocabulary: Annotated[
        Path | None, typer.Option(help="the tokenizer's file; beside the checkpoint unless named")
    ] = None,
    labels: Annotated[str, typer.Option(help="a classifier's classes in its order, with commas between them")] = "",
    head: Annotated[Path | None, typer.Option(help="a head made before, a probe say, in place of texts")] = None,
    output: Annotated[Path, typer.Option("--output", "--out", help="the folder for `eyestream demo --trial`")],
) -> None:
    """Build an encoder and a bank of scores, without operating points, for the demonstration on this machine."""
    from eyestream.programmes import Programme
    from eyestream_engines import trial as trials

    described = EncoderFile.load(encoder)
    asked = trials.Asked(
        Programme.load(programme) if Path(programme).is_file() else Programme.builtin(programme),
        vocabulary,
        tuple(label.strip() for label in labels.split(",") if label.strip()),
        head,
    )
    trials.require(described, asked)
    with _progress(trials.STEPS) as told:
        made, built = trials.make(described, checkpoint or described.checkpoint_path, asked, output, told=told)
    _say("engine", f"{built.folder}{'' if built.fresh else ': as it was'}")
    _say("asked", made.programme)
    _say("next", f"eyestream demo --trial {shlex.quote(str(output))}")


@app.command()
def verify(
    *,
    case: Annotated[Path, typer.Option(help="a folder with keys.json and expected_seed<N>.npz; its name is the case")],
    seed: Annotated[int, typer.Option(help="which weights and inputs are drawn", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="threads of torch", min=1)] = 1,
) -> None:
    """Run a parity case from its keys to Triton's answer; the status says whether every number keeps its bound."""
    import torch

    from eyestream_engines import verifying
    from eyestream_engines.cases import Case

    torch.set_num_threads(threads)
    failed = 0
    for reading in verifying.verify(Case.open(case, seed=seed), told=lambda step, _: err.print(step, style="dim")):
        failed += not reading.passed
        verdict = "passed" if reading.passed else "FAILED"
        out.print(f"{verdict}  {reading.told()}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def scaling(
    encoders: Annotated[list[str] | None, typer.Argument(help="which; all that read pictures unless named")] = None,
    *,
    pictures: Annotated[Path | None, typer.Option(help="a folder of JPEG photographs; drawn ones otherwise")] = None,
    page: Annotated[Path | None, typer.Option(help="write the table as a page of Markdown")] = None,
    threads: Annotated[int, typer.Option(help="threads of torch", min=1)] = 1,
) -> None:
    """Measure what it changes in vectors that the line decodes large JPEGs at a smaller scale."""
    import torch

    from eyestream_engines import scaling

    torch.set_num_threads(threads)
    chosen = scaling.measurable(encoders or ())
    if page is not None and not os.access(page.parent, os.W_OK):  # said now, and not after minutes
        raise Misconfigured(f"{page} cannot be written: name a page in a folder that is there and is yours")
    taken = scaling.photographs(pictures) if pictures else scaling.drawn()
    told = (
        f"{len(taken)} photographs of {pictures.name}" if pictures else f"{len(taken)} drawn eyes of 2 to 8 megapixels"
    )
    effects = []
    for encoder in chosen:
        effects.append(scaling.measure(encoder, taken, scaling.synthetic))
        out.print(effects[-1].row(), markup=False, highlight=False, soft_wrap=True)
    if page is not None:
        page.write_text("\n".join(scaling.page(effects, pictures=told)) + "\n", "utf-8")


@contextlib.contextmanager
def _progress(steps: tuple[str, ...]) -> Iterator[Callable[[str, float], None]]:
    """A bar over the steps; where nobody watches, a line for each step."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    if not err.is_terminal:
        seen: set[str] = set()

        def line(step: str, _: float) -> None:
            if step not in seen:
                seen.add(step)
                err.print(f"{len(seen)}/{len(steps)} {step}", markup=False, highlight=False)

        yield line
        return
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(steps[0], total=len(steps))
        yield lambda step, share: bar.update(task, description=step, completed=steps.index(step) + share)


def _say(what: str, text: str) -> None:
    out.print(f"{what:14} {text}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
