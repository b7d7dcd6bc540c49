"""JPEG: markers read before anything is decoded, then the smallest libjpeg-turbo scale that suffices.

simplejpeg decodes where it is installed, because it turns every warning of libjpeg into an error; Pillow's draft mode
stands in, for which this module checks the end of the data itself. Both release the GIL. `docs/decisions` and
benchmarks/decode.py say what each costs.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import numpy as np
from PIL import JpegImagePlugin

from eyestream.decoding.ifd import orientation_of
from eyestream.decoding.limits import Limits
from eyestream.decoding.refusals import refuse
from eyestream.decoding.source import Source
from eyestream.records import Pixels

_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_SAYS_COLOURS: Final = frozenset({(0xE0, b"JFIF\x00"), (0xEE, b"Adobe")})
_EXIF: Final = b"Exif\x00\x00"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a JPEG claims: its size, coding process (the SOF marker), components and EXIF orientation."""

    height: int
    width: int
    bits: int
    process: int
    components: int
    subsampled: int
    orientation: int
    scan_at: int
    says_colours: bool
    """A JFIF or Adobe segment says how the components make colours; else decoders guess."""


def open_jpeg(value: bytes, limits: Limits) -> Source:
    """A baseline, extended or progressive JPEG of 8 bits in grey or colour.

    Policy: CMYK and YCCK are refused, because no camera makes them and their inks have no agreed conversion; 12-bit,
    lossless, hierarchical and arithmetic-coded ones are refused; what follows the end marker is ignored.
    """
    frame = read_frame(value)
    limits.check_size(frame.height, frame.width)
    _check_coding(frame)
    coefficients = 0
    if frame.process == _PROGRESSIVE or value[frame.scan_at + 4] < frame.components:
        limits.check_scans(value.count(b"\xff\xda", frame.scan_at))
        coefficients = 2 * frame.subsampled  # the decoder holds the whole picture's until the last scan
    read = partial(_read, value, frame)
    return Source(frame.height, frame.width, read, frame.orientation, overhead=coefficients, scales=True)


def read_frame(value: bytes) -> Frame:
    """The frame header, found by walking the segments; Rejected where they break off or make no sense."""
    at, orientation, sof, says_colours = 2, 1, None, False
    while True:
        if at + 4 > len(value):
            raise refuse("truncated")
        if value[at] != 0xFF:
            raise refuse("damaged")
        marker = value[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", value, at + 2)
        body = value[at + 4 : at + 2 + length]
        if length < 2 or marker == _EOI:
            raise refuse("damaged")
        if len(body) < length - 2:
            raise refuse("truncated")
        if marker == _APP1 and body.startswith(_EXIF):
            orientation = orientation_of(body[len(_EXIF) :])
        elif (marker, body[:5]) in _SAYS_COLOURS:
            says_colours = True
        elif marker in _FRAMES:
            sof = (marker, body)
        elif marker == _SOS and body:
            break
        at += 2 + length
    if sof is None:
        raise refuse("damaged")
    return _frame(*sof, orientation=orientation, scan_at=at, says_colours=says_colours)


def _frame(process: int, body: bytes, *, orientation: int, scan_at: int, says_colours: bool) -> Frame:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise refuse("damaged")
    bits, height, width, components = struct.unpack_from(">BHHB", body)
    factors = [divmod(body[7 + 3 * i], 16) for i in range(components)]
    largest = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    sampled = sum(h * v for h, v in factors)
    subsampled = height * width * sampled // max(1, largest)
    return Frame(height, width, bits, process, components, subsampled, orientation, scan_at, says_colours)


def _check_coding(frame: Frame) -> None:
    if frame.process not in {_BASELINE, _EXTENDED, _PROGRESSIVE}:
        raise refuse("unsupported-jpeg")
    if frame.bits != 8:
        raise refuse("bit-depth", bits=frame.bits)
    if frame.components == 4:
        raise refuse("cmyk")
    if frame.components not in {1, 3}:
        raise refuse("unsupported-jpeg")


@cache
def _has_simplejpeg() -> bool:
    return importlib.util.find_spec("simplejpeg") is not None


def _read(value: bytes, frame: Frame, eighths: int) -> Pixels:
    if _has_simplejpeg():
        return _read_with_simplejpeg(value, frame, eighths)
    return read_with_pillow(value, frame, eighths)


def _read_with_simplejpeg(value: bytes, frame: Frame, eighths: int) -> Pixels:
    import simplejpeg  # the `worker` extra; a camera's computer need not have it

    height, width = -(-frame.height * eighths // 8), -(-frame.width * eighths // 8)
    colours = "GRAY" if frame.components == 1 else "RGB"
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(value, colours, min_height=height, min_width=width, min_factor=1)
    except ValueError as error:
        raise refuse("truncated" if "Premature end" in str(error) else "damaged") from None
    return pixels[:, :, 0] if frame.components == 1 else pixels


def read_with_pillow(value: bytes, frame: Frame, eighths: int) -> Pixels:
    """The same pixels, but for libjpeg's warnings: damage inside the data that leaves their length whole passes."""
    if value.rfind(b"\xff\xd9", frame.scan_at) < 0:
        raise refuse("truncated")
    mode = "L" if frame.components == 1 else "RGB"
    try:
        picture = JpegImagePlugin.JpegImageFile(io.BytesIO(value))
        picture.draft(mode, (frame.width * eighths // 8, frame.height * eighths // 8))
        picture.load()
    except OSError as error:
        raise refuse("truncated" if "truncated" in str(error).lower() else "damaged") from None
    return np.asarray(picture if picture.mode == mode else picture.convert(mode))
