"""An encoder's engine in a Triton repository of its own, as a build makes it, for as long as it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyestream.records import Pixels
from eyestream_engines import checkpoints, gates, proving, triton_config
from eyestream_engines.compilers.base import Compiler
from eyestream_engines.families import family_of
from eyestream_engines.gates import Floats, Reading
from eyestream_engines.gpu.subjects import Subject
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import Told

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Made:
    """What is measured.

    `repository` is Triton's, `engine` the file in it; `network` is torch's, in FP32 on the processor; `pictures`
    [n, ...] and `expected` [n, dim] are what every answer is held against; `readings` those of the graphs before it.
    """

    encoder: EncoderFile
    network: nn.Module
    repository: Path
    engine: Path
    pictures: Pixels
    expected: Floats
    readings: tuple[Reading, ...]
    compiled: Mapping[str, object]

    def batches(self, size: int) -> list[Pixels]:
        """Batches of exactly that size in which every picture is: those left over begin again with the first."""
        count = -(-len(self.pictures) // size)
        taken = np.arange(count * size) % len(self.pictures)
        return [self.pictures[part] for part in np.split(taken, count)]

    def hold(self, gate: str, answers: Sequence[Floats]) -> Reading:
        """The embeddings of `batches`, each row of them, against torch's in FP32."""
        got = np.concatenate(answers)
        return gates.half(gate, self.expected[np.arange(len(got)) % len(self.expected)], got, self.encoder)


def make(subject: Subject, compiler: Compiler, place: Path, *, told: Told) -> Made:
    """Build in the empty folder `place`.

    Raises Misconfigured when the weights are not the encoder's, a graph is beyond its bounds, or nothing compiles it.
    """
    encoder = subject.encoder
    network = family_of(encoder).module(encoder, checkpoints.select(encoder, subject.weights(), source=subject.source))
    pictures = gates.pictures(encoder.input)
    told("computing the reference", 0.0)
    expected = proving.reference(encoder, network, pictures)
    work, model = place / "work", place / "repository" / encoder.name
    readings = proving.graphs(encoder, network, work=work, pixels=pictures, expected=expected, told=told)
    backend, file = compiler.triton
    identity = encoder.identity(subject.digest)
    engine = model / triton_config.version(encoder, identity) / file
    told("compiling", 0.0)
    compiled = compiler.compile(work / "model.onnx", encoder, engine, lambda _phase, share: told("compiling", share))
    config = triton_config.render(encoder, identity, backend=backend)
    (model / "config.pbtxt").write_text(config)
    return Made(encoder, network, model.parent, engine, pictures, expected, tuple(readings), compiled)
