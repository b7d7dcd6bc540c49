"""Compressed streams that only DICOM carries: JPEG 2000, lossless JPEG and JPEG-LS. Knows no DICOM.

Their decoders forgive what is cut off, so each stream is walked to its end marker before it is decoded, and its claims
are held against those of the file around it. The decoders come with the `worker` extra.
"""

from __future__ import annotations

import importlib
import struct

import numpy as np
import numpy.typing as npt

from eyestream.decoding.refusals import refuse

Samples = npt.NDArray[np.unsignedinteger]

_SIZ, _COD, _SOT, _EOC, _COM = 0xFF51, 0xFF52, 0xFF90, 0xFFD9, 0xFF64
_LOSSLESS, _LS = 0xC3, 0xF7


def check_jpeg2000(stream: bytes, shape: tuple[int, int, int], bits: int) -> bool:
    """A whole codestream of height, width and samples `shape`, each of `bits` unsigned bits; else Rejected.

    True when it says that RGB was transformed, which its decoder undoes.
    """
    if not stream.startswith(b"\xff\x4f\xff\x51") or len(stream) < 48:
        raise refuse("damaged")
    right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    (samples,) = struct.unpack_from(">H", stream, 40)
    if (bottom - top, right - left, samples) != shape or stream[42] != bits - 1:
        raise refuse("damaged")
    at, transformed = 2, False
    while (marker := _short(stream, at)) != _SOT:
        if not 0xFF50 <= marker <= _COM:
            raise refuse("damaged")
        if marker == _COD:
            transformed = stream[at + 8 : at + 9] == b"\x01"
        at += 2 + _short(stream, at + 2)
    while (marker := _short(stream, at)) == _SOT:
        if at + 10 > len(stream):
            raise refuse("truncated")
        (length,) = struct.unpack_from(">I", stream, at + 6)
        if length == 0:  # "up to the end": only the last part may say so
            at = stream.rfind(b"\xff\xd9", at)
            break
        if length < 14:
            raise refuse("damaged")
        at += length
    if at < 0 or _short(stream, at) != _EOC:
        raise refuse("truncated")
    return transformed


def check_other_jpeg(stream: bytes, shape: tuple[int, int, int], bits: int) -> None:
    """A lossless JPEG or JPEG-LS of height, width and samples `shape`, each of `bits`, with its end; else Rejected."""
    at = 2
    if not stream.startswith(b"\xff\xd8"):
        raise refuse("damaged")
    while (marker := _short(stream, at)) != 0xFFDA:
        if marker & 0xFF in {_LOSSLESS, _LS}:
            if at + 10 > len(stream):
                raise refuse("truncated")
            precision, height, width, samples = struct.unpack_from(">BHHB", stream, at + 4)
            if (height, width, samples) != shape or precision != bits:
                raise refuse("damaged")
            break
        if not 0xFFC0 <= marker < 0xFFFF:
            raise refuse("damaged")
        at += 2 + max(2, _short(stream, at + 2))
    else:
        raise refuse("damaged")
    if stream.rstrip(b"\x00")[-2:] != b"\xff\xd9":
        raise refuse("truncated")


def decode_jpeg2000(stream: bytes) -> Samples:
    """[height, width] or [height, width, 3]; any failure of the library is the stream's, hence Rejected."""
    return _decoded("openjpeg.utils", stream)


def decode_other_jpeg(stream: bytes) -> Samples:
    """As decode_jpeg2000, for lossless JPEG and JPEG-LS."""
    return _decoded("libjpeg.utils", stream)


def _decoded(library: str, stream: bytes) -> Samples:
    try:
        decode = importlib.import_module(library).decode
    except ModuleNotFoundError:
        raise refuse("unsupported-dicom", feature="a compression whose decoder is not installed here") from None
    try:
        samples: Samples = decode(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  what these libraries raise on hostile streams is nowhere written down
        raise refuse("damaged") from None
    if samples.dtype.kind != "u":
        raise refuse("damaged")
    return samples


def _short(stream: bytes, at: int) -> int:
    if at + 2 > len(stream):
        raise refuse("truncated")
    return int.from_bytes(stream[at : at + 2], "big")
