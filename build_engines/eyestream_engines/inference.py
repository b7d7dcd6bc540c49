"""An exported image graph run on this machine's CPU. Knows no torch and no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from eyestream.encoders.triton import INPUT
from eyestream.records import Pixels, Vectors

_PICTURES: Final = 4
"""Dimensions of a batch of them; volumes have one more."""


def open_graph(path: Path, *, threads: int = 1, batch: int | None = None) -> Any:
    """An ONNX Runtime session for the graph; with `batch`, for batches of that size alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # An arena grows by doubling, and one buffer of a volume's attention has 4 GB.
    options.enable_cpu_mem_arena = False
    if batch is not None:
        options.add_free_dimension_override_by_name("batch", batch)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def embed(path: Path, pictures: Pixels, *, batch: int = 16, threads: int = 1) -> Vectors:
    """Embeddings [n, dim], float32, of pictures [n, height, width, 3], run `batch` at a time."""
    # Where every size is known volumes take a third of the time.
    whole = pictures.ndim > _PICTURES and len(pictures) % batch == 0
    session = open_graph(path, threads=threads, batch=batch if whole else None)
    parts = [
        session.run(None, {INPUT: np.ascontiguousarray(pictures[start : start + batch])})[0]
        for start in range(0, len(pictures), batch)
    ]
    return np.concatenate(parts).astype(np.float32)
