"""A shelf's files: written durably, and the safetensors layout. Nothing here knows what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eyestream import durable
from eyestream.records import Vectors

METADATA = "eyestream"


def write(path: Path, content: bytes) -> None:
    """As `durable.write`; makes the folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, content)


def pack(tensors: Mapping[str, Vectors], metadata: str) -> bytes:
    """A safetensors file of float32 tensors with one metadata string; the same input gives the same bytes, always.

    The library's own writer is not used because its padding and order may change with its version, and a digest of
    the file must not.
    """
    header: dict[str, object] = {"__metadata__": {METADATA: metadata}}
    blobs = []
    offset = 0
    for name in sorted(tensors):
        blob = np.ascontiguousarray(tensors[name], dtype="<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    head = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(blobs)


def unpack(content: bytes) -> tuple[dict[str, Vectors], str]:
    """Tensors and metadata of a safetensors file; raises ValueError when it is none or has no metadata of ours."""
    import safetensors
    import safetensors.numpy

    try:
        tensors = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from None
    size = int.from_bytes(content[:8], "little")  # the library has checked it
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(METADATA)
    if not isinstance(metadata, str):
        raise ValueError("no eyestream metadata in it")  # noqa: TRY004 - the file's fault, not the caller's type
    return tensors, metadata
