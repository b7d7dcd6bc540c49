"""What only a GPU can show: plans by TensorRT, held against torch on the GPU that they were compiled for.

Knows cases and one compiler; where there is no GPU it says so, and everything here that was not done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream_engines import building, checkpoints, gates
from eyestream_engines.building import Told
from eyestream_engines.cases import Case
from eyestream_engines.compilers import tensorrt
from eyestream_engines.compilers.base import Compiler
from eyestream_engines.families import family_of
from eyestream_engines.gates import Reading
from eyestream_engines.spec import EncoderFile

ENGINE: Final = "engine"
"""The gate of what the compiled plan answers."""


def lacking() -> str:
    """What this machine lacks, in words; empty where plans can be made and run."""
    if tensorrt.gpu() is None:
        return "nvidia-smi finds no GPU"
    if not tensorrt.installed("tensorrt"):
        return "TensorRT is not installed beside this program: pip install tensorrt"
    return ""


def not_run(reason: str, encoders: Sequence[str]) -> str:
    """What a person must read who has asked for it."""
    return (
        f"gpu: NOT RUN: {reason}. No plan was compiled with TensorRT, none was held against its original on a GPU, and "
        f"nothing was learned of their speed, for {len(encoders)} encoders: {', '.join(encoders)}. "
        "`make engines-report` checks on a processor what can be checked there."
    )


def readings(
    encoder: EncoderFile, case: Case, held: Mapping[str, Any], compiler: Compiler, *, told: Told
) -> Iterator[Reading]:
    """The graphs' readings and the plan's, of a case's encoder filled from its seed.

    Raises Misconfigured when the graph is refused, or the compiler's plan cannot be run here.
    """
    network = family_of(encoder).module(encoder, checkpoints.select(encoder, held, source=case.name))
    pixels = gates.pictures(encoder.input)
    expected = building.reference(encoder, network, pixels)
    with TemporaryDirectory(prefix="eyestream-gpu-") as place:
        work = Path(place) / "work"
        yield from building.graphs(encoder, network, work=work, pixels=pixels, expected=expected, told=told)
        engine = Path(place) / compiler.triton[1]
        told("compiling", 0.0)
        compiler.compile(work / "model.onnx", encoder, engine, lambda _phase, share: told("compiling", share))
        answer = compiler.run(engine, pixels, batch=building.batch_of(encoder))
    if answer is None:
        raise Misconfigured(f"the plan of {encoder.name} was compiled and cannot be run on this machine")
    yield gates.half(ENGINE, expected, answer, encoder)
