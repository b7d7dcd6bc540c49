"""The two things worth knowing from EXIF before it is thrown away: which way is up, and when the picture was taken."""

from __future__ import annotations

import datetime as dt
from typing import Final

from eyestream.device.frames import quiet_parsers

_ORIENTATION: Final = 0x0112
_EXIF_IFD: Final = 0x8769
_TAKEN: Final = 0x9003
_TAKEN_OFFSET: Final = 0x9011


def read(block: bytes) -> tuple[int, dt.datetime | None]:
    """Orientation (1 to 8; 1 when it does not say) and the time the picture was taken, from an EXIF block.

    A damaged block says nothing: the picture is good without it. A time without an offset is this machine's local time.
    """
    from PIL import Image

    with quiet_parsers():
        try:
            exif = Image.Exif()
            exif.load(block)
            orientation = exif.get(_ORIENTATION)
            details = exif.get_ifd(_EXIF_IFD)
            taken, offset = details.get(_TAKEN), details.get(_TAKEN_OFFSET)
        except Exception:  # noqa: BLE001 - Pillow meets damaged EXIF with almost any exception
            return 1, None
    upright = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1  # noqa: PLR2004
    return upright, _time(taken, offset)


def _time(taken: object, offset: object) -> dt.datetime | None:
    if not isinstance(taken, str):
        return None
    zone = offset.strip("\0 ") if isinstance(offset, str) else ""
    for text, form in ((f"{taken.strip(chr(0) + ' ')}{zone}", "%Y:%m:%d %H:%M:%S%z"), (taken, "%Y:%m:%d %H:%M:%S")):
        try:
            return dt.datetime.strptime(text, form).astimezone(dt.UTC)
        except (ValueError, OverflowError, OSError):
            continue
    return None
