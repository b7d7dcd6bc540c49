"""A checkpoint in several files made the one that an engine is built from: an encoder and its decoder, or shards."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines.spec import EncoderFile, Parts

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN: Final = 8


def join(encoder: EncoderFile, body: Path, decoder: Path, output: Path) -> Digest:
    """Write both files' tensors to `output`, as safetensors, whole or not at all; returns the sha256 of its bytes.

    The same tensors always give the same bytes. Only what the engine is made of is written. Raises Misconfigured, with
    every fault of both and with what each file is, when they are not the parts of the encoder; and when `output` cannot
    be written or is one of them.
    """
    from eyestream_engines import checkpoints, files

    if encoder.parts is None:
        raise Misconfigured(f"the weights of {encoder.name} are one file already: build it with that")
    if output.exists() and any(output.samefile(path) for path in (body, decoder) if path.exists()):
        raise Misconfigured(f"{output} is one of the files to join, and would be written over: name another")
    held = {path: files.read(path) for path in (body, decoder)}
    together = _together(encoder, encoder.parts, held[body], held[decoder])
    fit = checkpoints.compare(encoder, checkpoints.unwrap(encoder, together))
    if not fit.whole:
        turned = _together(encoder, encoder.parts, held[decoder], held[body])
        if checkpoints.compare(encoder, checkpoints.unwrap(encoder, turned)).whole:
            raise Misconfigured(f"{body} is the decoder and {decoder} the encoder: exchange them")
        told = "\n".join(f"  {path}: {_what(one)}" for path, one in held.items())
        raise Misconfigured(
            f"{body} and {decoder} are not the encoder and the decoder of {encoder.name}.\n{checkpoints.faults(fit)}\n"
            f"Names that begin with {encoder.checkpoint.beside['decoder']} are the decoder's. The files are:\n{told}"
        )
    used = checkpoints.select(encoder, together, source=f"{body} with {decoder}")
    prefix = encoder.checkpoint.beside["decoder"]
    named = {name if name.startswith(prefix) else f"encoder.{name}": value for name, value in used.items()}
    _save({name: value.contiguous() for name, value in named.items()}, output)
    return files.digest(output)


def gather(encoder: EncoderFile, folder: Path, output: Path) -> Digest:
    """Write what the encoder reads of all the shards in a folder to `output`, as `join` does; returns its sha256.

    Raises Misconfigured when the folder holds no shards, or together they are not a checkpoint of the encoder.
    """
    from eyestream_engines import checkpoints, files

    shards = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not shards:
        raise Misconfigured(f"{folder} holds no *.safetensors: name the folder that holds the checkpoint's shards")
    if output.parent.resolve() == folder.resolve():
        raise Misconfigured(f"{output} would lie among the shards, and be taken for one: name another folder")
    held: dict[str, Any] = {}
    for shard in shards:
        part = files.read(shard)
        if twice := sorted(held.keys() & part.keys()):
            raise Misconfigured(f"{shard} holds {twice[0]} once more: {folder} has shards of more than one checkpoint")
        held |= part
    used = checkpoints.select(encoder, held, source=str(folder))
    _save({name: value.contiguous() for name, value in used.items()}, output)
    return files.digest(output)


def gather_command(
    encoder: Annotated[str, typer.Argument(help="an encoder; `eyestream-engines list` names them")],
    folder: Annotated[Path, typer.Argument(help="the folder of the shards, *.safetensors")],
    *,
    output: Annotated[Path, typer.Option("--output", "--out", help="the file to write, *.safetensors")],
) -> None:
    """Make one checkpoint of a model hub's shards: what the encoder reads, checked to the last key."""
    _told("gathered", encoder, output, gather(EncoderFile.load(encoder), folder, output))


def command(
    encoder: Annotated[str, typer.Argument(help="an encoder of two files; `eyestream-engines describe` tells")],
    *,
    body: Annotated[Path, typer.Option("--encoder", help="the published encoder's file")],
    decoder: Annotated[Path, typer.Option(help="the file of the decoder that was trained on it")],
    output: Annotated[Path, typer.Option("--output", "--out", help="the file to write, *.safetensors")],
) -> None:
    """Make one checkpoint of an encoder's file and its decoder's, checked to the last key."""
    _told("joined", encoder, output, join(EncoderFile.load(encoder), body, decoder, output))


def _told(done: str, encoder: str, output: Path, digest: Digest) -> None:
    typer.echo(f"{done:14} {output}: eyestream-engines build {encoder} --checkpoint {shlex.quote(str(output))}")
    typer.echo(f"sha256         {digest}")


def _together(
    encoder: EncoderFile, parts: Parts, body: Mapping[str, Any], decoder: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]]:
    """Both files' tensors, out of their outer dicts and without prefixes, as one file holds them."""
    return {"encoder": _part(encoder, parts.encoder, body), "decoder": _part(encoder, parts.decoder, decoder)}


def _part(encoder: EncoderFile, wrapper: str, held: Mapping[str, Any]) -> dict[str, Tensor]:
    from eyestream_engines import checkpoints

    told = encoder.checkpoint.model_copy(update={"wrapper": wrapper, "beside": {}})
    return checkpoints.unwrap(encoder.model_copy(update={"checkpoint": told}), held)


def _save(tensors: Mapping[str, Tensor], output: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    new = output.with_name(f"{output.name}.new")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), new)
        new.replace(output)
    except (OSError, SafetensorError) as error:
        raise Misconfigured(f"{output} cannot be written: {error}") from None
    finally:
        with contextlib.suppress(OSError):  # moved, or never begun
            new.unlink()


def _what(held: Mapping[str, Any]) -> str:
    """What a file is, for a person who gave a wrong one."""
    from eyestream_engines import checkpoints

    if whole := [fit.encoder.name for fit in checkpoints.fits(held) if fit.whole]:
        return f"a checkpoint of {', '.join(whole)}"
    names = list(map(str, held))
    return f"at its top {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
