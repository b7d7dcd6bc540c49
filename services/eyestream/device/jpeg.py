"""JPEG without its stories: segments that describe pixels stay, byte for byte, every other one goes.

No pixel is decoded. Serves whole files as well as the streams of the JPEG family (lossless and JPEG-LS included) that
DICOM and TIFF wrap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eyestream.device.frames import refused
from eyestream.errors import Rejected

_SOI, _EOI, _SOS, _DNL, _TEM = 0xD8, 0xD9, 0xDA, 0xDC, 0x01
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_KEPT: Final = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, _SOS, _DNL, 0xF8}
"""Tables, frames and scans, with LSE (F8) and SOF55 (F7) of JPEG-LS."""

# In a scan FF is followed by 00 (stuffing; 00 to 7F in JPEG-LS) or a restart marker; any other code ends the scan.
_AFTER_SCAN: Final = re.compile(rb"\xff+[\xc0-\xcf\xd8-\xfe]")
_EXIF: Final = b"Exif\0"
_ICC: Final = b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class Stripped:
    """The stream without its stories; `exif` is the EXIF block that was taken out.

    `bits` is the depth of a sample, `components` how many a pixel has, and `tells_colours` whether the stream itself
    says how they are to be read (JFIF, Adobe or components named R, G and B).
    """

    data: bytes
    width: int
    height: int
    bits: int
    components: int
    tells_colours: bool
    exif: bytes | None


def strip(data: bytes, *, tables_only: bool = False) -> Stripped:
    """The stream from SOI to EOI with nothing in it but what decodes it, and its ICC profile.

    Pixels are copied byte for byte; what follows EOI is dropped. Raises Rejected when the stream is cut or is none.
    `tables_only` allows a stream without a picture (TIFF's JPEGTables).
    """
    kept = bytearray(b"\xff\xd8")
    frame: bytes | None = None
    exif: bytes | None = None
    scans = tells_colours = False
    for marker, payload, scan in _segments(data):
        if marker == _APP1 and payload.startswith(_EXIF) and exif is None:
            exif = payload
        body = _kept_body(marker, payload)
        if body is None:
            continue
        tells_colours = tells_colours or marker in (_APP0, _APP14)
        scans = scans or marker == _SOS
        if marker in _FRAMES and frame is None:
            frame = body
        kept += b"\xff%c" % marker + (len(body) + 2).to_bytes(2, "big") + body + scan
    kept += b"\xff\xd9"
    if tables_only:
        return Stripped(bytes(kept), 0, 0, 0, 0, tells_colours, None)
    if frame is None or not scans or len(frame) < 6 + 3 * frame[5]:
        raise refused("no-pixels", "The JPEG holds no picture; export it again.")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    names = frame[6 : 6 + 3 * frame[5] : 3]
    return Stripped(bytes(kept), width, height, frame[0], frame[5], tells_colours or names == b"RGB", exif)


def _kept_body(marker: int, payload: bytes) -> bytes | None:
    if marker in _KEPT:
        return payload
    if marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:  # noqa: PLR2004
        return payload[:12] + b"\0\0"  # without its thumbnail
    if marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:  # noqa: PLR2004
        return payload[:12]
    if marker == _APP2 and payload.startswith(_ICC):
        return payload
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(marker, payload, entropy-coded data that follows) up to EOI."""
    if data[:2] != b"\xff\xd8":
        raise refused("not-a-picture", "The file does not begin as a JPEG does.")
    at = 2
    while True:
        marker, at = _marker(data, at)
        if marker == _EOI:
            return
        if marker in (_TEM, _SOI) or 0xD0 <= marker <= 0xD7 or marker < 0xC0:  # noqa: PLR2004
            raise refused("broken-jpeg", "The JPEG is damaged between its segments; export it again.")
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + length
        if length < 2 or end > len(data):  # noqa: PLR2004
            raise _cut()
        scan_end = end
        if marker == _SOS:
            found = _AFTER_SCAN.search(data, end)
            if found is None:
                raise _cut()
            scan_end = found.start()
        yield marker, data[at + 2 : end], data[end:scan_end]
        at = scan_end


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker code at `at` and where its segment begins; fill bytes are skipped."""
    if data[at : at + 1] not in (b"\xff", b""):
        raise refused("broken-jpeg", "The JPEG is damaged between its segments; export it again.")
    while data[at : at + 1] == b"\xff":
        at += 1
    if at >= len(data):
        raise _cut()
    return data[at], at + 1


def _cut() -> Rejected:
    return refused("truncated", "The JPEG ends before its picture does; copy or export it again.")
