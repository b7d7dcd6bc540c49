"""From torch modules to ONNX files that say what torch says. Knows no training and no server."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eyestream.encoders.triton import INPUT, OUTPUT
from eyestream.errors import Misconfigured
from eyestream.records import Pixels
from eyestream_engines.inference import embed
from eyestream_engines.spec import Tolerance

log = logging.getLogger(__name__)

OPSET: Final = 18
"""Old enough for every Triton that serves the CPU, new enough for all we use."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the graph was from torch at worst."""

    cosine: float
    absolute: float


class _Served(nn.Module):
    """What the server runs: the tower, and its vectors in half precision."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, height, width, 3] -> float16 [n, dim]."""
        return self.tower(pixels).half()


def export_image(tower: nn.Module, path: Path, *, height: int, width: int) -> None:
    """Write the tower as ONNX: `pixels` uint8 [batch, height, width, 3] to `embedding` float16 [batch, dim]."""
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    _export(_Served(tower).eval(), example, path, names=(INPUT, OUTPUT), free={0: torch.export.Dim("batch")})


def export_text(tower: nn.Module, path: Path) -> None:
    """Write the tower as ONNX: `features` int64 [texts, words, features] to `vector` float32 [texts, dim]."""
    example = torch.ones(2, 7, 11, dtype=torch.int64)
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(("texts", "words", "letters"))}
    _export(tower.eval(), example, path, names=("features", "vector"), free=free)


def _export(module: nn.Module, example: Tensor, path: Path, *, names: tuple[str, str], free: dict[int, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("onnx_ir").setLevel(logging.WARNING)
    logging.getLogger("onnxscript").setLevel(logging.WARNING)
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[names[0]],
        output_names=[names[1]],
        dynamic_shapes=(free,),
        opset_version=OPSET,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    strip(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip(model: Any) -> None:
    """Take out what tells of the machine that exported: stack traces, paths, names of modules."""
    model.producer_name, model.producer_version, model.doc_string = "eyestream-engines", "", ""
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]


def check_parity(tower: nn.Module, path: Path, pictures: Pixels, tolerance: Tolerance) -> Parity:
    """Run both on the pictures, in batches of one, two and all; raises Misconfigured beyond the tolerance."""
    with torch.inference_mode():
        expected = tower.eval()(torch.from_numpy(np.ascontiguousarray(pictures))).float().numpy()
    sizes = sorted({1, 2, len(pictures)})
    got = [embed(path, pictures[:size], batch=size) for size in sizes]
    parity = _worst(expected, got)
    log.info("parity of %s: cosine %.6f, largest difference %.5f", path.name, parity.cosine, parity.absolute)
    if parity.cosine < tolerance.cosine or parity.absolute > tolerance.absolute:
        raise Misconfigured(f"{path} is not the network: {parity} is beyond {tolerance}; it must not be served")
    return parity


def _worst(expected: npt.NDArray[np.float32], got: Sequence[npt.NDArray[np.float32]]) -> Parity:
    cosines = [(row * expected[: len(row)]).sum(1) / np.linalg.norm(row, axis=1) for row in got]
    largest = [np.abs(row - expected[: len(row)]).max() for row in got]
    return Parity(cosine=float(min(c.min() for c in cosines)), absolute=float(max(largest)))
