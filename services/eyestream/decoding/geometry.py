"""Where pixels go: orientation, the size a picture is resized to, what is cut off and what is filled.

Arithmetic on sizes and views of arrays; knows no files and no interpolation. Sizes are (height, width).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from eyestream.decoding.preprocessing import Preprocessing
from eyestream.records import Pixels

Length = TypeVar("Length", int, float)


class Box(NamedTuple):
    """A rectangle, in fractions of the picture's sides so that it holds at every scale, or in pixels once `scaled`."""

    top: float
    left: float
    bottom: float
    right: float

    def scaled(self, height: float, width: float) -> Box:
        """The rectangle in pixels of a picture of that size, fractions of pixels kept."""
        return Box(self.top * height, self.left * width, self.bottom * height, self.right * width)

    @property
    def size(self) -> tuple[float, float]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class Layout(NamedTuple):
    """Resize to `resized`, then place it at `top`, `left` of the input: negative where the input cuts it off."""

    resized: tuple[int, int]
    top: int
    left: int


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """A view of the picture turned and mirrored as EXIF orientation 1 to 8 asks."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


def upright_size(size: tuple[Length, Length], orientation: int) -> tuple[Length, Length]:
    """The size that `upright` gives a picture of `size`."""
    return (size[1], size[0]) if orientation in {5, 6, 7, 8} else size


def lay_out(size: tuple[float, float], into: tuple[int, int], preprocessing: Preprocessing) -> Layout:
    """How a picture of `size` fills the encoder's input `into` under the preprocessing's shape.

    `pad-square` is laid out as a fit in the middle; `longest-side-pad` truncates and fills right and below, as FLAIR
    does; `shortest-side-crop` truncates the longer side and rounds the cut as torchvision does.
    """
    height, width = size
    if preprocessing.shape == "squash":
        return Layout(into, 0, 0)
    if preprocessing.shape == "shortest-side-crop":
        cover = max(int(into[0] / preprocessing.crop_ratio) / height, int(into[1] / preprocessing.crop_ratio) / width)
        resized = (max(into[0], _floor(height * cover)), max(into[1], _floor(width * cover)))
        return Layout(resized, -round((resized[0] - into[0]) / 2), -round((resized[1] - into[1]) / 2))
    fit = min(into[0] / height, into[1] / width)
    resized = (min(into[0], max(1, _floor(height * fit))), min(into[1], max(1, _floor(width * fit))))
    if preprocessing.shape == "longest-side-pad":
        return Layout(resized, 0, 0)
    return Layout(resized, (into[0] - resized[0]) // 2, (into[1] - resized[1]) // 2)


def place(resized: Pixels, layout: Layout, into: tuple[int, int], fill: tuple[int, int, int]) -> Pixels:
    """The encoder's input [height, width, 3], C-contiguous and writable, with `resized` where the layout says."""
    if resized.ndim == 2:
        resized = np.broadcast_to(resized[:, :, None], (*resized.shape, 3))
    inside = resized[max(0, -layout.top) :, max(0, -layout.left) :][: into[0], : into[1]]
    canvas = np.empty((*into, 3), np.uint8)
    if inside.shape[:2] != into:
        canvas[:] = fill
    top, left = max(0, layout.top), max(0, layout.left)
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas


def _floor(length: float) -> int:
    """Truncation that forgives the last bits of a quotient which was a whole number on paper."""
    return int(length + 1e-6)
