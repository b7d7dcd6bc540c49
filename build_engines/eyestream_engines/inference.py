"""An exported image graph run on this machine's CPU. Knows no torch and no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eyestream.encoders.triton import INPUT
from eyestream.records import Pixels, Vectors


def open_graph(path: Path, *, threads: int = 1) -> Any:
    """An ONNX Runtime session for the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # An arena grows by doubling, and one buffer of a volume's attention has 4 GB.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def embed(path: Path, pictures: Pixels, *, batch: int = 16, threads: int = 1) -> Vectors:
    """Embeddings [n, dim], float32, of pictures [n, height, width, 3], run `batch` at a time."""
    session = open_graph(path, threads=threads)
    parts = [
        session.run(None, {INPUT: np.ascontiguousarray(pictures[start : start + batch])})[0]
        for start in range(0, len(pictures), batch)
    ]
    return np.concatenate(parts).astype(np.float32)
