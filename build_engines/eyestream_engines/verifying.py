"""A parity case from its keys to Triton's answer: everything between a checkpoint and a score, held against bounds.

Knows cases, families and a server; a build does the same with real weights, where no original's numbers are at hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream.records import Digest, Pixels
from eyestream_engines import checkpoints, gates, proving, triton_config
from eyestream_engines.cases import NO_ENCODERS, Case
from eyestream_engines.families import family_of
from eyestream_engines.gates import Floats, Reading
from eyestream_engines.heads import parity
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import Told

TRITON: Final = "Triton's answer"
"""The gate of what comes back over gRPC."""
_TIMEOUT_S: Final = 300.0
_NOBODY: Final = Digest("0" * 64)
"""Whose weights: those of a case are nobody's file."""


def verify(case: Case, *, told: Told = lambda _step, _share: None) -> Iterator[Reading]:
    """Readings as they are made: preparation, every array, the graphs, and what Triton answers.

    Encoders that differ in nothing a case can tell (the eight of VisionFM) are verified once. Raises Misconfigured when
    no encoder is described by the case, or its keys are not that encoder's.
    """
    encoders = [] if case.name == parity.CASE else distinct(case)
    case.expected()  # whether it is there is told now, not after the network has run
    if not encoders:
        yield from parity.readings(case)
        return
    for encoder in encoders:
        label = f"{encoder.name}: " if len(encoders) > 1 else ""
        for reading in readings(encoder, case, case.file(), told=told):
            yield replace(reading, gate=f"{label}{reading.gate}")


def readings(
    encoder: EncoderFile,
    case: Case,
    held: Mapping[str, Any],
    *,
    told: Told = lambda _step, _share: None,
    graph: Callable[[Path], None] = lambda _path: None,
) -> Iterator[Reading]:
    """The readings of one of the case's encoders; `held` is the case's file.

    `graph` is called with the strongly typed graph's path after Triton has answered, while the file still lies there.
    """
    if (prepared := gates.preprocessing(encoder, case)) is not None:
        yield prepared
    weights = checkpoints.select(encoder, held, source=case.name)
    told("comparing with the original", 0.0)
    yield from gates.original(family_of(encoder).arrays(encoder, weights, case), case, encoder)
    network = family_of(encoder).module(encoder, weights)
    del held, weights  # a file of several encoders holds the others' towers too, which are as large
    pixels = gates.pictures(encoder.input)
    expected = proving.reference(encoder, network, pixels)
    with TemporaryDirectory(prefix="eyestream-verify-") as place:
        model = Path(place) / "repository" / encoder.name
        version = model / triton_config.version(encoder, _NOBODY)
        yield from proving.graphs(encoder, network, work=version, pixels=pixels, expected=expected, told=told)
        del network  # the server needs its memory
        (model / "config.pbtxt").write_text(triton_config.render(encoder, _NOBODY))
        told("asking Triton", 0.0)
        with _triton(Path(place) / "state", model.parent) as address:
            answer = asyncio.run(_ask(address, encoder, pixels))
        yield gates.half(TRITON, expected, answer, encoder)
        graph(version / "model.onnx")


def distinct(case: Case) -> list[EncoderFile]:
    """The case's encoders, of those that it cannot tell apart the first; raises Misconfigured when there is none."""
    kept: dict[str, EncoderFile] = {}
    for encoder in case.encoders:
        facts = encoder.model_dump_json(include={"architecture", "checkpoint", "output", "text"})
        kept.setdefault(facts, encoder)
    if case.name in NO_ENCODERS:
        raise Misconfigured(f"nothing is built for the parity case {case.name}: {NO_ENCODERS[case.name]}")
    if not kept:
        raise Misconfigured(f"no encoder of build_engines/encoders names the parity case {case.name}")
    return list(kept.values())


@contextmanager
def _triton(state: Path, repository: Path) -> Iterator[str]:
    from eyestream.apps.local import Stack

    with Stack(state, model_repository=repository, parts=("triton",)) as stack:
        yield stack.up().triton_grpc


async def _ask(address: str, encoder: EncoderFile, pixels: Pixels) -> Floats:
    client = await TritonEncoder.connect(address, encoder.name, timeout_s=_TIMEOUT_S)
    try:
        size = min(proving.batch_of(encoder), encoder.serving.max_batch)
        parts = [await client.encode(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    finally:
        await client.close()
    return np.concatenate(parts)
