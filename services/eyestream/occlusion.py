"""Where a picture says what its result says: the picture again and again with one place covered, and what is missed.

Each place of a grid is covered in turn by what surrounds it, softly at the rim, since a hard patch would be something
to see itself. What a condition's log-odds lose then is what the place speaks for it. Knows no encoder, head or file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from eyestream.records import Pixels

CELLS: Final = 16
"""Places a side: 256 pictures for each picture explained, whatever its size."""
_WIDTH: Final = 2.5
"""Width of what is covered, in cells. Neighbours overlap: a lesion on a border is covered whole by one of them."""
_RIM: Final = 0.375
"""Width of the soft rim beyond it, in cells."""
_SURROUND: Final = 1.0
"""How far around a place its surroundings are taken from, in cells: the deviation of a Gaussian blur."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """One picture [height, width, 3], and the same with each place covered in turn."""

    pixels: Pixels
    cells: int = CELLS

    @property
    def pictures(self) -> int:
        """How many there are: the picture itself, and one for each place."""
        return 1 + self.cells**2

    def batches(self, size: int) -> Iterator[Pixels]:
        """Every picture, [n, height, width, 3] with n up to `size`: first the picture itself, then row by row.

        Made as they are asked for: all at once would be hundreds of megabytes.
        """
        height, width = self.pixels.shape[:2]
        rows, columns = _windows(self.cells, height), _windows(self.cells, width)
        cell = max(height, width) / self.cells
        picture = self.pixels.astype(np.float32)
        around = Image.fromarray(self.pixels).filter(ImageFilter.GaussianBlur(_SURROUND * cell))
        change = np.asarray(around, np.float32) - picture
        batch: list[Pixels] = [self.pixels]
        for row in rows:
            for column in columns:
                if len(batch) == size:
                    yield np.stack(batch)
                    batch = []
                veil = (row[:, None] * column[None, :])[..., None]
                batch.append(np.rint(picture + veil * change).astype(np.uint8))
        yield np.stack(batch)

    def lost(self, log_odds: Doubles) -> Doubles:
        """What each place speaks for each condition, [cells, cells, conditions], from [pictures, conditions].

        Log-odds are in the order of `batches`. Above 0 the place speaks for the condition, below 0 against it.
        """
        if len(log_odds) != self.pictures:
            raise ValueError(f"{self.pictures} pictures were made, and {len(log_odds)} came back")
        lost: Doubles = (log_odds[0] - log_odds[1:]).reshape(self.cells, self.cells, -1)
        return lost


def _windows(cells: int, length: int) -> npt.NDArray[np.float32]:
    """How much of each pixel along one side is covered, for each cell along it: [cells, length], 0 to 1."""
    cell = length / cells
    centres = (np.arange(cells) + 0.5) * cell
    away = np.abs(np.arange(length) + 0.5 - centres[:, None])
    rim = max(1.0, _RIM * cell)
    return np.clip((_WIDTH * cell / 2 + rim - away) / rim, 0, 1).astype(np.float32)
