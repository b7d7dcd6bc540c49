"""From torch modules to ONNX graphs that say what torch says. Knows no training and no server."""

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
from eyestream_engines.spec import EncoderFile, Input, Tolerance

log = logging.getLogger(__name__)

OPSET: Final = 18
"""Old enough for every Triton that serves the CPU, new enough for all we use."""
_LARGEST_FILE: Final = 1_900_000_000
"""Beyond it the weights lie in a file beside the graph: one protobuf holds less than 2 GiB."""
_LEAST: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the graph was from torch at worst."""

    cosine: float
    absolute: float


class Front(nn.Module):
    """Pictures or volumes as they arrive -> what the network reads: scaled, normalised, channels first."""

    def __init__(self, told: Input) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(told.mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(told.std) * 255, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, (frames,) height, width, channels] -> float32 [n, channels, (frames,) height, width]."""
        return ((pixels.float() - self.mean) / self.std).movedim(-1, 1)


class Engine(nn.Module):
    """All that is served: front, network, and length 1 where the encoder's file says so."""

    def __init__(self, encoder: EncoderFile, network: nn.Module) -> None:
        super().__init__()
        self.front, self.network, self.l2 = Front(encoder.input), network, encoder.output.l2
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 pictures -> float32 embeddings [n, dim]."""
        vectors = self.network(self.front(pixels))
        return (
            vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(_LEAST) if self.l2 else vectors
        )


class _Served(nn.Module):
    """What the server runs: the tower, and its vectors in half precision."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, height, width, 3] -> float16 [n, dim]."""
        return self.tower(pixels).half()


def shape_of(told: Input) -> tuple[int, ...]:
    """The shape of one picture or volume as it arrives."""
    frames = () if told.frames is None else (told.frames,)
    return (*frames, told.height, told.width, told.channels)


def to_graph(encoder: EncoderFile, engine: Engine) -> Any:
    """The engine in FP32 as an onnx_ir.Model: `pixels` uint8 [batch, ...] to `embedding` float32 [batch, dim]."""
    example = torch.zeros(2, *shape_of(encoder.input), dtype=torch.uint8)
    model = _program(engine, example, names=(INPUT, OUTPUT), free={0: torch.export.Dim("batch")}).model
    _anonymise(model)
    return model


def save(model: Any, path: Path) -> None:
    """Write an onnx_ir.Model: one file, or with `<name>.data` beside it where one cannot hold the weights."""
    import onnx_ir as ir

    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    ir.save(model, path, external_data=f"{path.name}.data" if size > _LARGEST_FILE else None)


def export_image(tower: nn.Module, path: Path, *, height: int, width: int) -> None:
    """Write the tower as ONNX: `pixels` uint8 [batch, height, width, 3] to `embedding` float16 [batch, dim]."""
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    _export(_Served(tower).eval(), example, path, names=(INPUT, OUTPUT), free={0: torch.export.Dim("batch")})


def export_text(tower: nn.Module, path: Path) -> None:
    """Write the tower as ONNX: `features` int64 [texts, words, features] to `vector` float32 [texts, dim]."""
    example = torch.ones(2, 7, 11, dtype=torch.int64)
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(("texts", "words", "letters"))}
    _export(tower.eval(), example, path, names=("features", "vector"), free=free)


def check_parity(tower: nn.Module, path: Path, pictures: Pixels, tolerance: Tolerance) -> Parity:
    """Run both on the pictures, in batches of one, two and all; raises Misconfigured beyond the tolerance.

    Differences are told in units of the vectors' root mean square, as every bound of a tolerance is.
    """
    with torch.inference_mode():
        expected = tower.eval()(torch.from_numpy(np.ascontiguousarray(pictures))).float().numpy()
    sizes = sorted({1, 2, len(pictures)})
    got = [embed(path, pictures[:size], batch=size) for size in sizes]
    parity = _worst(expected, got)
    log.info("parity of %s: cosine %.6f, largest difference %.5f", path.name, parity.cosine, parity.absolute)
    if parity.cosine < tolerance.cosine or parity.absolute > tolerance.half:
        raise Misconfigured(f"{path} is not the network: {parity} is beyond {tolerance}; it must not be served")
    return parity


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


def _anonymise(model: Any) -> None:
    """The same for an onnx_ir.Model; the types of its values stay."""
    model.producer_name, model.producer_version, model.doc_string = "eyestream-engines", "", ""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        node.doc_string = None
        node.metadata_props.clear()
        values += node.outputs
    for value in values:
        value.doc_string = None
        value.metadata_props.clear()


def _export(module: nn.Module, example: Tensor, path: Path, *, names: tuple[str, str], free: dict[int, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = _program(module, example, names=names, free=free).model_proto
    strip(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _program(module: nn.Module, example: Tensor, *, names: tuple[str, str], free: dict[int, Any]) -> Any:
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
    return program


def _worst(expected: npt.NDArray[np.float32], got: Sequence[npt.NDArray[np.float32]]) -> Parity:
    unit = float(np.sqrt(np.square(expected).mean()))
    cosines = [(row * expected[: len(row)]).sum(1) / np.linalg.norm(row, axis=1) for row in got]
    largest = [np.abs(row - expected[: len(row)]).max() / unit for row in got]
    return Parity(cosine=float(min(c.min() for c in cosines)), absolute=float(max(largest)))
