"""TIFF without its stories: each page becomes a file of its own with the tags that describe pixels and no other.

Strips and tiles are copied byte for byte (their own comments taken out where they are JPEG); no pixel is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from eyestream.device import jpeg
from eyestream.device.frames import refused
from eyestream.errors import Rejected

MAX_PAGES: Final = 512
_CLASSIC, _BIG = 42, 43
_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION, _SUBFILE = 256, 257, 259, 274, 254
_OFFSETS: Final = {273: 279, 324: 325}
"""Tag of the offsets of the strips or tiles -> tag of their byte counts."""
_JPEG_TABLES: Final = 347
_JPEG: Final = 7
_COMPRESSIONS: Final = frozenset({1, 5, _JPEG, 8, 32773, 32946})
"""None, LZW, JPEG, Deflate, PackBits and Deflate by its old number."""
_KEPT: Final = frozenset(
    {
        256,
        257,
        258,
        259,
        262,
        266,
        277,
        278,
        282,
        283,
        284,
        296,
        317,
        320,
        322,
        323,
        338,
        339,
        347,
        530,
        531,
        532,
        34675,
    }
)
"""Sizes, samples, colours, resolution, predictor, colour map, tiling, JPEG tables, YCbCr and the ICC profile."""
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_LONG, _UNDEFINED = 4, 7


@dataclass(frozen=True, slots=True)
class Page:
    """One page as a file; `orientation` is what was taken out of it."""

    data: bytes
    width: int
    height: int
    orientation: int


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    value: bytes


_Directory = Mapping[int, _Entry]


def pages(data: bytes) -> Iterator[Page]:
    """Every full-size page in order; thumbnails are left out. Raises Rejected at what is cut, damaged or not known."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise refused("not-a-picture", "The file does not begin as a TIFF does.")
    try:
        for directory in _directories(data, order):
            subfile = _integers(directory, _SUBFILE, order)
            if not (subfile and subfile[0] & 1):
                yield _page(data, directory, order)
    except (struct.error, IndexError, KeyError):
        raise _broken() from None


def _broken() -> Rejected:
    return refused("broken-tiff", "The TIFF is cut or damaged; copy or export it again.")


def _take(data: bytes, start: int, length: int) -> bytes:
    part = data[start : start + length]
    if len(part) != length:
        raise _broken()
    return part


def _directories(data: bytes, order: str) -> Iterator[_Directory]:
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version not in (_CLASSIC, _BIG):
        raise refused("not-a-picture", "The file does not begin as a TIFF does.")
    big = version == _BIG
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) == MAX_PAGES:
            raise refused("too-many-frames", f"The TIFF has more than {MAX_PAGES} pages, or a loop of pages.")
        seen.add(at)
        directory, at = _directory(data, at, order, big=big)
        yield directory


def _directory(data: bytes, at: int, order: str, *, big: bool) -> tuple[_Directory, int]:
    count_form, entry_form, inline, next_form = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    (count,) = struct.unpack_from(order + count_form, data, at)
    at += struct.calcsize(order + count_form)
    entries: dict[int, _Entry] = {}
    for _ in range(count):
        tag, kind, values = struct.unpack_from(order + entry_form, data, at)
        at += struct.calcsize(order + entry_form)
        length = values * _SIZES.get(kind, 0)
        wanted = tag in _KEPT or tag in _OFFSETS or tag in _OFFSETS.values() or tag in (_SUBFILE, _ORIENTATION)
        if wanted and kind in _SIZES and values:
            start = at if length <= inline else struct.unpack_from(order + next_form, data, at)[0]
            entries[tag] = _Entry(kind, values, _take(data, start, length))
        at += inline
    return entries, struct.unpack_from(order + next_form, data, at)[0]


def _integers(directory: _Directory, tag: int, order: str) -> tuple[int, ...]:
    entry = directory.get(tag)
    if entry is None or entry.kind not in _INTEGERS:
        return ()
    return struct.unpack(f"{order}{entry.count}{_INTEGERS[entry.kind]}", entry.value)


def _page(data: bytes, directory: _Directory, order: str) -> Page:
    width, height = (_integers(directory, tag, order)[0] for tag in (_WIDTH, _HEIGHT))
    compression = (_integers(directory, _COMPRESSION, order) or (1,))[0]
    if compression not in _COMPRESSIONS:
        raise refused("compression-not-supported", "Export the TIFF uncompressed or with LZW, Deflate or JPEG.")
    offsets_tag = next((tag for tag in _OFFSETS if tag in directory), None)
    if offsets_tag is None:
        raise refused("no-pixels", "The TIFF holds no picture; export it again.")
    parts = _parts(data, directory, offsets_tag, order)
    kept = {tag: entry for tag, entry in directory.items() if tag in _KEPT}
    if compression == _JPEG:
        parts = [jpeg.strip(part).data for part in parts]
        if _JPEG_TABLES in kept:
            tables = jpeg.strip(kept[_JPEG_TABLES].value, tables_only=True).data
            kept[_JPEG_TABLES] = _Entry(_UNDEFINED, len(tables), tables)
    turned = (_integers(directory, _ORIENTATION, order) or (1,))[0]
    orientation = turned if 1 <= turned <= 8 else 1  # noqa: PLR2004
    return Page(_written(kept, parts, offsets_tag, order), width, height, orientation)


def _parts(data: bytes, directory: _Directory, offsets_tag: int, order: str) -> list[bytes]:
    offsets = _integers(directory, offsets_tag, order)
    counts = _integers(directory, _OFFSETS[offsets_tag], order)
    if not offsets or len(offsets) != len(counts) or sum(counts) > len(data):
        raise _broken()
    return [_take(data, offset, count) for offset, count in zip(offsets, counts, strict=True)]


def _written(kept: _Directory, parts: list[bytes], offsets_tag: int, order: str) -> bytes:
    """A classic TIFF of one page: header, picture, long values, directory."""
    out = bytearray(8)
    offsets = []
    for part in parts:
        offsets.append(len(out))
        out += part + b"\0" * (len(part) % 2)
    numbers = f"{order}{len(parts)}I"
    entries = {tag: _classic(entry, order) for tag, entry in kept.items()}
    entries[offsets_tag] = _Entry(_LONG, len(parts), struct.pack(numbers, *offsets))
    entries[_OFFSETS[offsets_tag]] = _Entry(_LONG, len(parts), struct.pack(numbers, *map(len, parts)))
    directory = bytearray(struct.pack(order + "H", len(entries)))
    for tag, entry in sorted(entries.items()):
        value = entry.value.ljust(4, b"\0")
        if len(value) > 4:  # noqa: PLR2004
            value, long = struct.pack(order + "I", len(out)), value
            out += long + b"\0" * (len(long) % 2)
        directory += struct.pack(order + "HHI", tag, entry.kind, entry.count) + value
    struct.pack_into(f"{order}2sHI", out, 0, b"II" if order == "<" else b"MM", _CLASSIC, len(out))
    return bytes(out + directory + bytes(4))


def _classic(entry: _Entry, order: str) -> _Entry:
    """The entry with the types of a classic TIFF; only BigTIFF has 64-bit integers."""
    if entry.kind not in (16, 18):
        return entry
    values = struct.unpack(f"{order}{entry.count}Q", entry.value)
    return _Entry(_LONG, entry.count, struct.pack(f"{order}{entry.count}I", *values))
