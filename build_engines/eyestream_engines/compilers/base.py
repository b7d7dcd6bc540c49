"""The seam between a strongly typed graph and what a machine runs. Knows no compiler.

To add one, write a class with these methods and name it in `compilers.choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eyestream.records import Pixels, Vectors
from eyestream_engines.spec import EncoderFile

Told = Callable[[str, float], None]
"""Told what is being done and which share of it is, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is for; two engines with the same target and graph may stand for each other.

    `compiler` and `version` of the back end; `gpu` its product's name and `compute` its capability (`8.9`), both empty
    where the engine runs on a processor.
    """

    compiler: str
    version: str
    gpu: str = ""
    compute: str = ""


class Compiler(Protocol):
    """Turns a graph into what Triton loads."""

    @property
    def target(self) -> Target:
        """What an engine compiled now would be for."""
        ...

    @property
    def triton(self) -> tuple[str, str]:
        """Triton's name of the back end, and of the file it loads."""
        ...

    def compile(self, graph: Path, encoder: EncoderFile, into: Path, told: Told) -> Mapping[str, object]:
        """Write the engine of a graph to the path `into`; returns facts for the manifest (seconds, bytes).

        Raises Misconfigured when the graph cannot be compiled here.
        """
        ...

    def run(self, engine: Path, pictures: Pixels, *, batch: int) -> Vectors | None:
        """Embeddings of the pictures by a compiled engine; None where this machine cannot run it."""
        ...
