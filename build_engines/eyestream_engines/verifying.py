"""A parity case from its keys to Triton's answer: everything between a checkpoint and a score, held against bounds.

Knows cases, families and a server; a build does the same with real weights, where no original's numbers are at hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream.records import Digest, Pixels
from eyestream_engines import building, checkpoints, gates, triton_config
from eyestream_engines.building import Told
from eyestream_engines.cases import NO_ENCODERS, Case
from eyestream_engines.families import family_of
from eyestream_engines.gates import Floats, Reading
from eyestream_engines.heads import parity
from eyestream_engines.spec import EncoderFile

if TYPE_CHECKING:
    from torch import Tensor

_TIMEOUT_S: Final = 300.0
_BATCH: Final = 2


def verify(case: Case, *, told: Told = lambda _step, _share: None) -> Iterator[Reading]:
    """Readings as they are made: preparation, every array, the graphs, and what Triton answers.

    Encoders that differ in nothing a case can tell (the eight of VisionFM) are verified once. Raises Misconfigured when
    no encoder is described by the case, or its keys are not that encoder's.
    """
    if case.name == parity.CASE:
        yield from parity.readings(case)
        return
    encoders = _distinct(case)
    held = case.file()
    for encoder in encoders:
        label = f"{encoder.name}: " if len(encoders) > 1 else ""
        if (prepared := gates.preprocessing(encoder, case)) is not None:
            yield _named(prepared, label)
        weights = checkpoints.select(encoder, held, source=case.name)
        told("comparing with the original", 0.0)
        for reading in gates.original(family_of(encoder).arrays(encoder, weights, case), case, encoder):
            yield _named(reading, label)
        for reading in _served(encoder, weights, told):
            yield _named(reading, label)


def _served(encoder: EncoderFile, weights: dict[str, Tensor], told: Told) -> Iterator[Reading]:
    network = family_of(encoder).module(encoder, weights)
    pixels = gates.pictures(encoder.input)
    expected = building.reference(encoder, network, pixels)
    with TemporaryDirectory(prefix="eyestream-verify-") as place:
        model = Path(place) / "repository" / encoder.name
        yield from building.graphs(encoder, network, work=model / "1", pixels=pixels, expected=expected, told=told)
        (model / "config.pbtxt").write_text(triton_config.render(encoder, Digest("0" * 64)))
        told("asking Triton", 0.0)
        with _triton(Path(place) / "state", model.parent) as address:
            answer = asyncio.run(_ask(address, encoder, pixels))
        yield gates.half("Triton's answer", expected, answer, encoder)


@contextmanager
def _triton(state: Path, repository: Path) -> Iterator[str]:
    from eyestream.apps.local import Stack

    with Stack(state, model_repository=repository, parts=("triton",)) as stack:
        yield stack.up().triton_grpc


async def _ask(address: str, encoder: EncoderFile, pixels: Pixels) -> Floats:
    client = await TritonEncoder.connect(address, encoder.name, timeout_s=_TIMEOUT_S)
    try:
        size = min(_BATCH, encoder.serving.max_batch)
        parts = [await client.encode(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    finally:
        await client.close()
    return np.concatenate(parts)


def _distinct(case: Case) -> list[EncoderFile]:
    kept: dict[str, EncoderFile] = {}
    for encoder in case.encoders:
        facts = encoder.model_dump_json(include={"architecture", "checkpoint", "output", "text"})
        kept.setdefault(facts, encoder)
    if case.name in NO_ENCODERS:
        raise Misconfigured(f"nothing is built for the parity case {case.name}: {NO_ENCODERS[case.name]}")
    if not kept:
        raise Misconfigured(f"no encoder of build_engines/encoders names the parity case {case.name}")
    return list(kept.values())


def _named(reading: Reading, label: str) -> Reading:
    return replace(reading, gate=f"{label}{reading.gate}")
