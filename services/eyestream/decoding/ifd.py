"""Image file directories: the tag lists of TIFF files and of EXIF blocks. Reads them, judges nothing.

Reads with bounds and never recurses, so that a hostile directory costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

ORIENTATION: Final = 0x0112

_INTEGERS: Final[Mapping[int, str]] = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


class BrokenDirectory(ValueError):
    """This is no directory."""


class CutOff(BrokenDirectory):
    """The directory points outside its bytes."""


def read_first(
    data: bytes | memoryview, wanted: frozenset[int], *, most_values: int
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The wanted integer tags of the first directory, and the offset of the next directory, 0 for none.

    Of a tag given twice the first counts. Raises BrokenDirectory, also when a wanted tag has more than `most_values`
    values.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(data[:4]))
    if order is None:
        raise BrokenDirectory("no byte order mark")
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        tags: dict[int, tuple[int, ...]] = {}
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
            if tag not in wanted or tag in tags or kind not in _INTEGERS:
                continue
            if not 0 < values <= most_values:
                raise BrokenDirectory("a tag has no or too many values")
            inline = values * struct.calcsize(order + _INTEGERS[kind]) <= 4
            at = entry + 8 if inline else struct.unpack_from(order + "I", data, entry + 8)[0]
            tags[tag] = struct.unpack_from(f"{order}{values}{_INTEGERS[kind]}", data, at)
        (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    except struct.error as error:
        raise CutOff(str(error)) from None
    return tags, following


def orientation_of(exif: bytes | memoryview) -> int:
    """The EXIF orientation, 1 to 8; 1 when it is absent, out of range or the block is broken."""
    try:
        tags, _ = read_first(exif, frozenset({ORIENTATION}), most_values=64)
    except BrokenDirectory:
        return 1
    value = tags.get(ORIENTATION, (1,))[0]
    return value if 1 <= value <= 8 else 1
