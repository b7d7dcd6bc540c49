"""JPEG 2000 codestreams without their comments; no pixel is decoded. Serves High-Throughput JPEG 2000 as well."""

from __future__ import annotations

from typing import Final

from eyestream.device.frames import refused
from eyestream.errors import Rejected

_SOC: Final = b"\xff\x4f"
_SOT: Final = b"\xff\x90"
_SOD: Final = b"\xff\x93"
_EOC: Final = b"\xff\xd9"
_COM: Final = b"\xff\x64"


def strip(data: bytes) -> bytes:
    """The codestream up to EOC with every comment overwritten by blanks.

    Overwritten, not cut: tile-parts are found by their lengths, which thus stay true. Raises Rejected when the
    codestream is cut or is none.
    """
    if not data.startswith(_SOC):
        raise _broken()
    out = bytearray(data)
    at = _blank_header(out, len(_SOC), end=_SOT)
    while out[at : at + 2] == _SOT:
        length = int.from_bytes(out[at + 6 : at + 10], "big")
        header_end = _blank_header(out, at + 2 + int.from_bytes(out[at + 2 : at + 4], "big"), end=_SOD)
        # The last tile-part may leave its length open.
        following = at + length if length else max(out.rfind(_EOC), header_end)
        if following < header_end:
            raise _broken()
        at = following
    if out[at : at + 2] != _EOC:
        raise _broken()
    return bytes(out[: at + 2])


def _blank_header(out: bytearray, at: int, *, end: bytes) -> int:
    """Blank the comments from `at` to the marker `end` and return where that is."""
    while out[at : at + 2] != end:
        marker, length = bytes(out[at : at + 2]), int.from_bytes(out[at + 2 : at + 4], "big")
        if marker[:1] != b"\xff" or length < 2 or at + 2 + length > len(out):  # noqa: PLR2004
            raise _broken()
        if marker == _COM:
            text = slice(at + 6, at + 2 + length)
            out[text] = b" " * len(out[text])
        at += 2 + length
    return at


def _broken() -> Rejected:
    return refused("broken-jpeg2000", "The JPEG 2000 picture is cut or damaged; export it again.")
