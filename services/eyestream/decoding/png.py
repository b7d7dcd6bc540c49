"""PNG: every chunk's place, length and checksum verified, and only the chunks that make pixels handed to the decoder.

Text, colour profiles and other ancillary chunks are never inflated, so a bomb in them costs nothing.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from typing import Final, NamedTuple

from PIL import PngImagePlugin

from eyestream.decoding.ifd import orientation_of
from eyestream.decoding.limits import Limits
from eyestream.decoding.pillow import to_pixels
from eyestream.decoding.refusals import refuse
from eyestream.decoding.source import Source
from eyestream.records import Pixels

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_COLOURS: Final = frozenset({_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA})
_MAKES_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_MOST_CHUNKS: Final = 100_000


class _Chunk(NamedTuple):
    name: bytes
    body: memoryview
    whole: memoryview


def open_png(value: bytes, limits: Limits) -> Source:
    """A PNG of up to 8 bits in grey, RGB or palette colour.

    Policy: 16 bits are refused, because nothing says which range holds the picture; an alpha channel is accepted only
    when it is opaque everywhere, and a transparent colour (tRNS) never; animated ones are refused. An eXIf
    orientation is honoured; gamma and colour profiles are not applied, as in the encoders' own code.
    """
    chunks = _chunks(value)
    head = chunks[0]
    if head.name != b"IHDR" or len(head.body) != 13:
        raise refuse("damaged")
    width, height, bits, colour = struct.unpack_from(">IIBB", head.body)
    limits.check_size(height, width)
    if bits == 16:
        raise refuse("bit-depth", bits=bits)
    if colour not in _COLOURS or bits not in {1, 2, 4, 8}:
        raise refuse("damaged")
    names = [chunk.name for chunk in chunks]
    if b"acTL" in names:
        (frames,) = struct.unpack_from(">I", chunks[names.index(b"acTL")].body.tobytes().ljust(4, b"\x00"))
        limits.check_frames(max(2, frames))
    if b"tRNS" in names:
        raise refuse("transparent")
    if b"IDAT" not in names:
        raise refuse("truncated")
    orientation = orientation_of(chunks[names.index(b"eXIf")].body) if b"eXIf" in names else 1
    bare = _SIGNATURE + b"".join(chunk.whole for chunk in chunks if chunk.name in _MAKES_PIXELS)
    return Source(height, width, partial(_read, bare), orientation, overhead=len(bare))


def _chunks(value: bytes) -> list[_Chunk]:
    """All chunks up to IEND, checksums verified."""
    chunks: list[_Chunk] = []
    data, at = memoryview(value), len(_SIGNATURE)
    while not chunks or chunks[-1].name != b"IEND":
        if at + 12 > len(value):
            raise refuse("truncated")
        length, name = struct.unpack_from(">I4s", data, at)
        if not name.isalpha() or len(chunks) > _MOST_CHUNKS:
            raise refuse("damaged")
        if at + 12 + length > len(value):
            raise refuse("truncated")
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != checksum:
            raise refuse("damaged")
        chunks.append(_Chunk(name, data[at + 8 : at + 8 + length], data[at : at + 12 + length]))
        at += 12 + length
    return chunks


def _read(bare: bytes, _eighths: int) -> Pixels:
    try:
        picture = PngImagePlugin.PngImageFile(io.BytesIO(bare))
        picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise refuse("truncated" if "truncated" in str(error).lower() else "damaged") from None
    return to_pixels(picture)
