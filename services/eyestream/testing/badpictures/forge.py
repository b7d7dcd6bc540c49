"""Picture files written by hand, byte by byte, so that they can lie. Knows nothing of what a line makes of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

EXPLICIT = "1.2.840.10008.1.2.1"


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG marker segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(height: int, width: int, *, process: int = 0xC0, bits: int = 8, components: int = 3, scans: int = 1) -> bytes:
    """A JPEG whose header claims all that; its scans hold nothing."""
    table = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    frame = segment(process, struct.pack(">BHHB", bits, height, width, components) + table)
    of_scan = bytes((components, *(byte for number in range(components) for byte in (number + 1, 0)), 0, 63, 0))
    return b"\xff\xd8" + frame + (segment(0xDA, of_scan) + b"\x00") * scans + b"\xff\xd9"


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with a true checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    height: int, width: int, *, bits: int = 8, colour: int = 2, data: bytes | None = b"", extra: Sequence[bytes] = ()
) -> bytes:
    """A PNG whose header claims all that; `data` are the rows before deflate, None for no IDAT at all."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = b"" if data is None else chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body + chunk(b"IEND", b"")


def tiff(
    height: int, width: int, data: bytes, *, tags: Mapping[int, int | Sequence[int]] = {}, following: int = 0
) -> bytes:
    """A little-endian TIFF of one grey strip; `tags` add to its own or replace them, `following` is the next page."""
    own: dict[int, int | Sequence[int]] = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    entries, spill = [], b""
    start = 8 + len(data) + len(data) % 2
    every = sorted((own | {279: len(data)} | dict(tags)).items())
    spill_at = start + 2 + 12 * len(every) + 4
    for tag, value in every:
        values = [value] if isinstance(value, int) else list(value)
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            packed, spill = struct.pack("<I", spill_at + len(spill)), spill + packed
        entries.append(struct.pack("<HHI", tag, 4, len(values)) + packed)
    directory = struct.pack("<H", len(every)) + b"".join(entries) + struct.pack("<I", following)
    return b"II*\x00" + struct.pack("<I", start) + data.ljust(start - 8, b"\x00") + directory + spill


def element(group: int, number: int, representation: bytes, body: bytes, *, length: int | None = None) -> bytes:
    """A DICOM element in explicit little endian; `length` is what it claims."""
    body += b"\x00" * (len(body) % 2)
    claimed = len(body) if length is None else length
    if representation in {b"OB", b"OW", b"SQ", b"UN"}:
        return struct.pack("<HH2s2xI", group, number, representation, claimed) + body
    return struct.pack("<HH2sH", group, number, representation, claimed) + body


def dicom(
    height: int,
    width: int,
    pixels: bytes | None,
    *,
    syntax: str = EXPLICIT,
    photometric: bytes = b"MONOCHROME2",
    frames: int = 1,
    bits: tuple[int, int] = (8, 8),
    signed: int = 0,
    samples: int = 1,
    before: bytes = b"",
    encapsulated: bool = False,
) -> bytes:
    """A DICOM image object that claims all that; `bits` are allocated and stored, `before` goes ahead of its header."""

    def short(number: int, value: int) -> bytes:
        return element(0x28, number, b"US", struct.pack("<H", value))

    transfer = element(2, 0x10, b"UI", syntax.encode())
    shell = b"\x00" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(transfer))) + transfer + before
    shell += short(2, samples) + element(0x28, 4, b"CS", photometric.ljust(len(photometric) + len(photometric) % 2))
    shell += element(0x28, 8, b"IS", str(frames).encode().rjust(6)) + short(0x10, height) + short(0x11, width)
    shell += short(0x100, bits[0]) + short(0x101, bits[1]) + short(0x102, bits[1] - 1) + short(0x103, signed)
    if pixels is None:
        return shell
    if not encapsulated:
        return shell + element(0x7FE0, 0x10, b"OB" if bits[0] == 8 else b"OW", pixels)
    pixels += b"\x00" * (len(pixels) % 2)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(pixels)) + pixels
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return shell + element(0x7FE0, 0x10, b"OB", b"", length=0xFFFFFFFF) + items + end
