"""What a reader makes of a file before its pixels are decoded. Knows no format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eyestream.records import Pixels

_BYTES_A_PIXEL = 8
"""The array, 3, and Pillow's own copy, 4, rounded up."""
EIGHTHS = (1, 2, 4, 8)
"""The scales at which a JPEG may be decoded, in eighths of its size.

Only these have vector code in libjpeg-turbo and only these are known to Pillow, so every build decodes the same pixels;
3/8 costs what 4/8 costs, and 5/8 to 7/8 cost more than the whole picture.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose claims were checked. `read(eighths)` decodes it: [height, width, 3] RGB or [height, width] grey.

    `read` takes a member of EIGHTHS, always 8 where `scales` is False, and raises Rejected when the data turn out
    damaged; the scaled sides are rounded up. `height` and `width` are the full size as stored, before `orientation`.
    """

    height: int
    width: int
    read: Callable[[int], Pixels]
    orientation: int = 1
    overhead: int = 0
    """Bytes that `read` needs beside the picture itself, whatever the scale."""
    scales: bool = False

    def memory(self, eighths: int) -> int:
        """About the most bytes that reading and then resizing at this scale holds at once."""
        return self.overhead + _BYTES_A_PIXEL * self.height * self.width * eighths**2 // 64


def smallest_scale(full: tuple[float, float], needed: tuple[int, int]) -> int:
    """The least of EIGHTHS at which a `full` (height, width) is still at least `needed` both ways; 8 when none is."""
    for eighths in EIGHTHS:
        if full[0] * eighths >= needed[0] * 8 and full[1] * eighths >= needed[1] * 8:
            return eighths
    return EIGHTHS[-1]
