"""Checkpoint files as they lie on a disk: safetensors, and torch files without code. Knows no encoder.

A torch file is a pickle, which may hold any program; it is only ever read by torch's own reader of tensors
(`weights_only`), with the few harmless classes that published checkpoints hold beside their weights.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.records import Digest

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and of how many."""

_CHUNK: Final = 1 << 24
_ZIP: Final = b"PK\x03\x04"
_PICKLES: Final = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_PAGES: Final = (b"<!do", b"<htm", b"<?xm", b"<HTM", b"<!DO")
_DAMAGED: Final = "{} is a damaged torch file ({}): it was cut short, or is no checkpoint; fetch it again"
_DAMAGES: Final = (RuntimeError, AssertionError, struct.error)
"""What torch's reader of tensors raises when it meets bytes that it did not expect, beside Python's usual faults."""
_LFS: Final = b"version https://git-lfs"
_HEADER: Final = 8
_LONGEST_HEADER: Final = 1 << 28


def mark(path: Path) -> tuple[int, ...]:
    """What is another once the file was written again, or one put in its place, and costs no reading.

    Raises Misconfigured when there is none.
    """
    try:
        told = path.stat()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def digest(path: Path, progress: Progress = lambda _done, _all: None) -> Digest:
    """sha256 of the file: the encoder's identity in every result."""
    state, done = hashlib.sha256(), 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
                done += len(chunk)
                progress(done, size)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    return Digest(state.hexdigest())


def read(path: Path) -> Mapping[str, Any]:
    """What the file holds: tensors by name, or dicts of them by name; mapped, not loaded, where possible.

    Raises Misconfigured, saying what the file is instead.
    """
    kind = kind_of(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    held = _read_torch(path, mapped=kind == "torch")
    if not isinstance(held, Mapping):
        raise Misconfigured(f"{path} holds a {type(held).__name__}, not weights by name: save its state_dict() instead")
    return {str(name): value for name, value in held.items()}


def kind_of(path: Path) -> str:
    """`safetensors`, `torch` (a zip) or `torch-legacy` (a bare pickle), by its first bytes."""
    try:
        if path.is_dir():
            raise Misconfigured(f"{path} is a folder: name the checkpoint file inside it")
        if path.exists() and not path.is_file():  # to open a pipe may wait for ever, and it can be read only once
            raise Misconfigured(f"{path} is a pipe or a device: save the checkpoint to a file first")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    if size == 0:
        raise Misconfigured(f"{path} is empty: fetch it again")
    if start.lstrip().startswith(_PAGES):
        raise Misconfigured(
            f"{path} is a web page, not weights: the download needs a login or a confirmation; open the page in a "
            f"browser, accept its terms, and fetch the file itself"
        )
    if start.startswith(_LFS):
        raise Misconfigured(f"{path} is only Git's pointer to the file: run `git lfs pull` where it came from")
    if start.startswith(_ZIP):
        return "torch"
    if start.startswith(_PICKLES):
        return "torch-legacy"
    if start[_HEADER : _HEADER + 1] == b"{" and int.from_bytes(start[:_HEADER], "little") <= _LONGEST_HEADER:
        return "safetensors"
    raise Misconfigured(f"{path} is neither a safetensors nor a torch file; its first bytes are {start[:8].hex(' ')}")


def tensors_in(held: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor at any depth, by its dotted name."""
    import torch

    for name, value in held.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from tensors_in(value, f"{prefix}{name}.")


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise Misconfigured(
            f"{path} is a damaged safetensors file ({error}): it was cut short; fetch it again"
        ) from None


def _read_torch(path: Path, *, mapped: bool) -> Any:
    import torch

    if mapped:
        _require_stored(path)
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to ask torch's makers about a pickle that we refuse
            return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except pickle.UnpicklingError as error:
        if not _holds_code(error):
            raise Misconfigured(_DAMAGED.format(path, _reason(error))) from None
        raise Misconfigured(
            f"{path} holds more than tensors, and is not opened: a pickle can run any program. {_reason(error)} "
            f"Where you trust its source, save its weights as safetensors on a machine of no importance."
        ) from None
    except (*_DAMAGES, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise Misconfigured(_DAMAGED.format(path, _reason(error))) from None


def _require_stored(path: Path) -> None:
    """Refuse compressed tensors: torch maps their bytes as if they were the numbers, and says nothing."""
    try:
        with zipfile.ZipFile(path) as held:
            packed = [part.filename for part in held.infolist() if part.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Misconfigured(_DAMAGED.format(path, _reason(error))) from None
    if named := [name for name in packed if "/data/" in name or name.endswith("/data.pkl")]:  # else a program's text
        raise Misconfigured(
            f"{path} was compressed by a zip program ({named[0]}), which torch never does: fetch the file as it was "
            "published, or pack it again without compression"
        )


def _holds_code(error: pickle.UnpicklingError) -> bool:
    return any(word in str(error) for word in ("GLOBAL", "Unsupported", "callable", "class"))


def _reason(error: Exception) -> str:
    """The long advice of torch without its recommendation to load the file all the same."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0] if lines else "")
    return told.split(" Please use ")[0].split(" was not an allowed ")[0].removeprefix("WeightsUnpickler error: ")


def _harmless() -> list[Any]:
    """Classes that hold values and do nothing: options of the training script, numbers of NumPy."""
    import argparse
    from collections import OrderedDict, defaultdict

    import numpy as np
    from numpy._core.multiarray import scalar

    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    return [
        argparse.Namespace,
        OrderedDict,
        defaultdict,
        dict,
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]
