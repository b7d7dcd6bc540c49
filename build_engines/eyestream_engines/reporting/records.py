"""What was measured of one parity case, as a file that is kept. Knows no network and no page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from eyestream_engines.cases import Case
from eyestream_engines.gates import Reading
from eyestream_engines.reporting.code import modules
from eyestream_engines.spec import SHELF, EncoderFile

MEASURED: Final = SHELF / "measured"
_PACKAGES: Final = ("numpy", "onnx", "onnxruntime", "onnxscript", "timm", "torch")
_DESCRIPTION: Final = {"architecture", "checkpoint", "input", "preprocessing", "output", "serving", "wording"}
"""What of a TOML a number depends on. Not its bounds: they are held against the numbers when the page is made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compiler made of the graph, or why it made nothing."""

    compiler: str
    compute: str
    seconds: float = 0.0
    bytes: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One encoder of a case; `failed` says why it was given up before its last gate."""

    encoder: str
    readings: tuple[Reading, ...]
    parameters: int = 0
    gmacs: float = 0.0
    plan: Plan | None = None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One case; `identity` is that of everything its numbers depend on."""

    case: str
    identity: str
    machine: str
    seconds: float
    rows: tuple[Row, ...] = field(default=())

    def save(self, folder: Path) -> None:
        """Write `<case>.json`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.case}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(path)


_RECORD: Final = TypeAdapter(Record)


def kept(folder: Path, case: str) -> Record | None:
    """What was measured of the case; None when nothing was, or its file cannot be read."""
    try:
        return _RECORD.validate_json((folder / f"{case}.json").read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def identity_of(case: Case) -> str:
    """sha256 of what the case's numbers depend on: its files, descriptions, packages, the code run; not bounds."""
    state = hashlib.sha256()
    for path in (case.folder / "keys.json", case.folder / f"expected_seed{case.seed}.npz"):
        state.update(path.read_bytes())
    described: list[EncoderFile] = case.encoders
    for encoder in described:
        state.update(encoder.model_dump_json(include=_DESCRIPTION).encode())
    state.update(repr({package: version(package) for package in _PACKAGES}).encode())
    for path in modules({encoder.architecture.family for encoder in described}):
        state.update(path.read_bytes())
    return state.hexdigest()
