"""PNG without its stories: chunks that describe pixels stay, byte for byte, every other one goes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from eyestream.device.frames import refused

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP", b"pHYs"}
)
_CHUNK_BYTES: Final = 12
"""Length, kind and checksum."""


@dataclass(frozen=True, slots=True)
class Stripped:
    """The file without its stories; `exif` is the EXIF block that was taken out."""

    data: bytes
    width: int
    height: int
    exif: bytes | None


def strip(data: bytes) -> Stripped:
    """The file from its signature to IEND with nothing in it but pixels and their colours.

    Pixels are copied byte for byte; of an animation its first picture stays. Raises Rejected when a chunk is cut or
    damaged.
    """
    if not data.startswith(SIGNATURE):
        raise refused("not-a-picture", "The file does not begin as a PNG does.")
    kept = bytearray(SIGNATURE)
    header = exif = None
    pixels = False
    at = len(SIGNATURE)
    while True:
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if at + _CHUNK_BYTES + length > len(data):
            raise refused("truncated", "The PNG ends before its picture does; copy or export it again.")
        if zlib.crc32(kind + body) != int.from_bytes(data[at + 8 + length : at + _CHUNK_BYTES + length], "big"):
            raise refused("broken-png", "A checksum of the PNG is wrong; copy or export it again.")
        if kind == b"eXIf" and exif is None:
            exif = body
        if kind == b"IHDR" and header is None:
            header = body
        pixels = pixels or kind == b"IDAT"
        if kind in _KEPT:
            kept += _chunk(kind, _without_name(body) if kind == b"iCCP" else body)
        elif not kind[:1].islower():
            raise refused("broken-png", "The PNG needs an extension that is not known here; export it again.")
        at += _CHUNK_BYTES + length
        if kind == b"IEND":
            break
    if header is None or len(header) != 13 or not pixels:  # noqa: PLR2004
        raise refused("no-pixels", "The PNG holds no picture; export it again.")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    return Stripped(bytes(kept), width, height, exif)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def _without_name(profile: bytes) -> bytes:
    """An ICC profile's chunk with a name of ours, since its name is free text."""
    return b"icc\0" + profile.partition(b"\0")[2]
