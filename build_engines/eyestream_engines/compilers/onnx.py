"""The graph as it is, run by ONNX Runtime on the processor: the engine of machines without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from eyestream.records import Pixels, Vectors
from eyestream_engines.compilers.base import Target, Told
from eyestream_engines.inference import embed
from eyestream_engines.spec import EncoderFile


class OnnxRuntime:
    """Implements `Compiler` by copying."""

    @property
    def target(self) -> Target:
        """Any processor; ONNX Runtime reads graphs of every version of itself."""
        return Target("onnxruntime", version("onnxruntime"))

    @property
    def triton(self) -> tuple[str, str]:
        """Triton's back end and its file."""
        return "onnxruntime", "model.onnx"

    def compile(self, graph: Path, encoder: EncoderFile, into: Path, told: Told) -> Mapping[str, object]:  # noqa: ARG002
        """Copy the graph, and its weights where they lie beside it."""
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(graph, into)
        if (beside := graph.with_name(f"{graph.name}.data")).exists():
            shutil.copyfile(beside, into.with_name(beside.name))
        told("copying", 1.0)
        return {"bytes": into.stat().st_size}

    def run(self, engine: Path, pictures: Pixels, *, batch: int) -> Vectors | None:
        """Embeddings on one thread."""
        return embed(engine, pictures, batch=batch)
