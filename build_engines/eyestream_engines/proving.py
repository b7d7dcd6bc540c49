"""A network held against its original, and its graphs held against the network: where an engine's numbers come from.

Knows no server, no compiler and no repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyestream.records import Pixels
from eyestream_engines import checkpoints, gates
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.families import family_of
from eyestream_engines.gates import Floats, Reading
from eyestream_engines.inference import embed
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import STEPS, Told

if TYPE_CHECKING:
    from torch import nn


def compare_with_original(encoder: EncoderFile) -> list[Reading]:
    """Our code against the original's stored numbers: the encoder's parity case, filled from its seed."""
    if encoder.parity is None:
        return []
    case = Case.open(PARITY / encoder.parity)
    readings = [] if (prepared := gates.preprocessing(encoder, case)) is None else [prepared]
    weights = checkpoints.select(encoder, case.file(), source=case.name)
    readings += gates.original(family_of(encoder).arrays(encoder, weights, case), case, encoder)
    return [gates.require(reading) for reading in readings]


def batch_of(encoder: EncoderFile) -> int:
    """Pictures, or volumes, at a time: a graph of volumes holds gigabytes of attention for each."""
    return 2 if encoder.input.frames is None else 1


def reference(encoder: EncoderFile, network: nn.Module, pixels: Pixels) -> Floats:
    """What torch says in FP32 of pictures normalised by arithmetic of its own."""
    import torch

    given = torch.from_numpy(gates.normalised(pixels, encoder.input))
    with torch.inference_mode():
        vectors = np.concatenate([network(part).float().numpy() for part in given.split(batch_of(encoder))])
    return gates.unit(vectors) if encoder.output.l2 else vectors


def graphs(
    encoder: EncoderFile, network: nn.Module, *, work: Path, pixels: Pixels, expected: Floats, told: Told
) -> list[Reading]:
    """Write work/model.onnx, strongly typed FP16, having held it and its FP32 origin against torch."""
    import onnx_ir as ir

    from eyestream_engines import export, precision

    told(STEPS[4], 0.0)
    graph = export.to_graph(encoder, export.Engine(encoder, network))
    work.mkdir(parents=True)
    full, rounded, served = work / "full.onnx", work / "rounded.onnx", work / "model.onnx"
    ir.save(graph, full, external_data="full.data")
    told(STEPS[5], 0.0)
    readings = [gates.require(gates.graph(expected, embed(full, pixels, batch=batch_of(encoder)), encoder))]
    told(STEPS[6], 0.0)
    precision.halve(graph)
    export.save(graph, served)
    _drop(full)
    told(STEPS[7], 0.0)
    emulated = ir.load(served)
    precision.emulate(emulated)
    ir.save(emulated, rounded, external_data="rounded.data")
    del emulated
    answer = embed(rounded, pixels, batch=batch_of(encoder))
    readings.append(gates.require(gates.half("FP16, rounded as a GPU does", expected, answer, encoder)))
    _drop(rounded)
    return readings


def _drop(graph: Path) -> None:
    graph.unlink()
    graph.with_suffix(".data").unlink(missing_ok=True)
