"""`eyestream-engines list` and `describe`: what is known of every encoder, for a person. Knows no weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from eyestream_engines.spec import SHELF, EncoderFile, names

out = Console()

_COLUMNS: Final = ("encoder", "what it is", "modalities", "input", "embedding", "used by", "licence")
_WIDE: Final = 10_000
"""Columns where the answer goes to a file or another program: an encoder is one line there, however long."""


def list_() -> None:
    """Every encoder there is a description of."""
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for encoder in map(EncoderFile.load, names()):
        size = f"{encoder.input.height}x{encoder.input.width}"
        frames = f"{encoder.input.frames}x" if encoder.input.frames else ""
        table.add_row(
            encoder.name,
            encoder.title,
            ", ".join(encoder.modalities),
            f"{frames}{size}",
            str(encoder.output.dim),
            encoder.served_by.partition(":")[0],
            encoder.licence,
        )
    (out if out.is_terminal else Console(width=_WIDE)).print(table)


def describe(name: Annotated[str, typer.Argument(help="an encoder; `eyestream-engines list` names them")]) -> None:
    """One encoder: where its weights are, their format, preparation, pooling, bounds, and what else to know of it."""
    encoder = EncoderFile.load(name)
    _say("used by", encoder.served_by)
    for key, value in _flat(encoder.model_dump(exclude_none=True)):
        _say(key, value)
    for note in notes(name):
        _say("note", note)


def notes(name: str) -> Iterator[str]:
    """What its file says in comments, each as one line: some of it must be done before a picture is sent."""
    lines = (SHELF / "encoders" / f"{name}.toml").read_text("utf-8").splitlines()
    for comment, together in groupby(lines, lambda line: line.startswith("#")):
        if comment:
            yield " ".join(line.removeprefix("#").strip() for line in together)


def _flat(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in ("", ()):
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _say(key: str, value: object) -> None:
    out.print(f"{key:32} {value}", markup=False, highlight=False, soft_wrap=True)
