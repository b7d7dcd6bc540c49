"""TIFF: the tags that make pixels read and bounded here, then a clean directory of only those handed to the decoder.

A hostile directory may claim that thousands of tags hold the whole file each; the decoder never sees it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from functools import partial
from typing import Final

from PIL import TiffImagePlugin

from eyestream.decoding.ifd import ORIENTATION, BrokenDirectory, CutOff, read_first
from eyestream.decoding.limits import Limits
from eyestream.decoding.pillow import to_pixels
from eyestream.decoding.refusals import refuse
from eyestream.decoding.source import Source
from eyestream.records import Pixels

Tags = dict[int, tuple[int, ...]]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 320, 322, 323, 324, 325, 338, 339
_READ: Final = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES}
    | {_PLANAR, _PREDICTOR, _COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT, ORIENTATION}
)
_SHORTS: Final = frozenset({_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR, _PREDICTOR}) | {
    _COLOUR_MAP,
    _EXTRA,
    _FORMAT,
}
_NONE: Final = 1
_COMPRESSIONS: Final = frozenset({_NONE, 5, 8, 32946, 32773})
_NAMES: Final[Mapping[int, str]] = {
    2: "fax compression",
    3: "fax compression",
    4: "fax compression",
    6: "JPEG compression",
    7: "JPEG compression",
}
_GREY_OR_COLOUR: Final = frozenset({0, 1, 2, 3})
_PALETTE, _COLOURS = 3, 3 * 256
_CMYK: Final = 5
_MOST_PIECES: Final = 1 << 19


def open_tiff(value: bytes, limits: Limits) -> Source:
    """A TIFF of one picture, 8 bits a sample, in grey, RGB or palette colour; uncompressed, LZW, deflate or PackBits.

    Policy: 16 bits are refused, because nothing says which range holds the picture; JPEG inside TIFF is refused,
    because its damage goes unnoticed (send the JPEG); several pages are refused; alpha as in PNG.
    """
    if value[2:4] in {b"+\x00", b"\x00+"}:
        raise refuse("unsupported-tiff", feature="the 64-bit variant BigTIFF")
    try:
        tags, following = read_first(value, _READ, most_values=_MOST_PIECES)
    except BrokenDirectory as error:
        raise refuse("truncated" if isinstance(error, CutOff) else "damaged") from None
    if not all(_fits(tag, values) for tag, values in tags.items()):
        raise refuse("damaged")
    height, width = _one(tags, _HEIGHT, 0), _one(tags, _WIDTH, 0)
    limits.check_size(height, width)
    if following:
        limits.check_frames(2)
    _check_pieces(value, tags, (height, width), _check_samples(tags))
    orientation = _one(tags, ORIENTATION, 1)
    turn = orientation if 1 <= orientation <= 8 else 1
    return Source(height, width, partial(_read, value, tags), turn, overhead=2 * len(value))


def _check_samples(tags: Tags) -> int:
    """What a sample is; gives how many a pixel has."""
    compression, photometric = _one(tags, _COMPRESSION, _NONE), _one(tags, _PHOTOMETRIC, -1)
    samples = _one(tags, _SAMPLES, 1)
    if photometric == _CMYK:
        raise refuse("cmyk")
    if compression not in _COMPRESSIONS:
        raise refuse("unsupported-tiff", feature=_NAMES.get(compression, "a rare compression"))
    if photometric not in _GREY_OR_COLOUR:
        raise refuse("unsupported-tiff", feature="a rare colour space")
    bits = tags.get(_BITS, (1,))
    if any(depth != 8 for depth in bits):
        raise refuse("bit-depth", bits=next(depth for depth in bits if depth != 8))
    if photometric == _PALETTE and len(tags.get(_COLOUR_MAP, ())) != _COLOURS:
        raise refuse("damaged")
    extra = tags.get(_EXTRA, ())
    if samples != (3 if photometric == 2 else 1) + len(extra) or len(bits) not in {1, samples}:
        raise refuse("damaged")
    if extra not in {(), (1,), (2,)}:
        raise refuse("unsupported-tiff", feature="extra samples")
    unusual = (_PLANAR, 1), (_FILL_ORDER, 1), (_FORMAT, 1)
    if any(set(tags.get(tag, (usual,))) != {usual} for tag, usual in unusual) or _one(tags, _PREDICTOR, 1) not in {
        1,
        2,
    }:
        raise refuse("unsupported-tiff", feature="a rare layout of samples")
    return samples


def _check_pieces(value: bytes, tags: Tags, size: tuple[int, int], samples: int) -> None:
    """Every strip or tile is there, inside the file, and as long as it must be where nothing compresses it."""
    tiled = _TILES in tags
    rows = _one(tags, _TILE_HEIGHT, 0) if tiled else min(_one(tags, _ROWS_PER_STRIP, size[0]), size[0])
    columns = _one(tags, _TILE_WIDTH, 0) if tiled else size[1]
    if not 0 < rows <= size[0] + 256 or not 0 < columns <= size[1] + 256:
        raise refuse("damaged")
    offsets, lengths = tags.get(_TILES if tiled else _STRIPS, ()), tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    if not len(offsets) == len(lengths) == -(-size[0] // rows) * -(-size[1] // columns):
        raise refuse("damaged")
    if any(offset < 8 or offset + length > len(value) for offset, length in zip(offsets, lengths, strict=True)):
        raise refuse("truncated")
    if _one(tags, _COMPRESSION, _NONE) == _NONE:
        last = rows if tiled else size[0] - rows * (len(offsets) - 1)
        needed = [rows * columns * samples] * (len(offsets) - 1) + [last * columns * samples]
        if any(length < need for length, need in zip(lengths, needed, strict=True)):
            raise refuse("truncated")


def _read(value: bytes, tags: Tags, _eighths: int) -> Pixels:
    try:
        picture = TiffImagePlugin.TiffImageFile(io.BytesIO(_clean(value, tags)))
        picture.load()
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        raise refuse("truncated" if "truncated" in str(error).lower() else "damaged") from None
    return to_pixels(picture)


def _clean(value: bytes, tags: Tags) -> bytes:
    """The same strips under a new directory of checked tags, put behind them; upright, the turn is taken elsewhere."""
    order = "<" if value[:2] == b"II" else ">"
    kept = sorted((tag, values) for tag, values in tags.items() if tag != ORIENTATION)
    start = len(value) + len(value) % 2
    spill_at = start + 2 + 12 * len(kept) + 4
    entries, spill = [struct.pack(order + "H", len(kept))], []
    for tag, values in kept:
        code, kind = ("H", 3) if tag in _SHORTS else ("I", 4)
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        entry = struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) > 4:
            entries.append(entry + struct.pack(order + "I", spill_at))
            spill.append(packed)
            spill_at += len(packed)
        else:
            entries.append(entry + packed.ljust(4, b"\x00"))
    header = value[:4] + struct.pack(order + "I", start)
    return b"".join([header, value[8:].ljust(start - 8, b"\x00"), *entries, struct.pack(order + "I", 0), *spill])


def _fits(tag: int, values: tuple[int, ...]) -> bool:
    """Whether `_clean` can write them: a hostile directory may hold any integer under any tag."""
    return min(values) >= 0 and max(values) <= (0xFFFF if tag in _SHORTS else 0xFFFF_FFFF)


def _one(tags: Tags, tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]
