"""Pixels -> pixels of another size, in grey or in hue, saturation and value. Knows nothing but the kernels."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from eyestream.decoding.geometry import Box
from eyestream.records import Pixels

_PILLOW: Final = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_CONTRAST: Final = 1.3
_KEYS_A: Final = -0.75
"""The bicubic parameter of torch and OpenCV where they sample without antialias; Pillow's own is -0.5."""


def resample(pixels: Pixels, box: Box, size: tuple[int, int], *, interpolation: str, antialias: bool) -> Pixels:
    """What lies in `box`, in pixels, at `size`; [height, width] or [height, width, 3]. Releases the GIL meanwhile.

    With antialias it is Pillow's own resize, bit for bit where the box is the whole picture. Without, the box is
    widened to whole pixels and two or four neighbours are sampled with half-pixel centres, within one level of torch.
    """
    if antialias:
        edges = (box.left, box.top, box.right, box.bottom)
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize((size[1], size[0]), _PILLOW[interpolation], box=edges))
    inside = pixels[int(box.top) : math.ceil(box.bottom), int(box.left) : math.ceil(box.right)].astype(np.float32)
    rows = _along_rows(inside, size[0], interpolation)
    both = _along_rows(rows.swapaxes(0, 1), size[1], interpolation).swapaxes(0, 1)
    return np.clip(np.rint(both), 0, 255).astype(np.uint8)


def stretched_hsv(pixels: Pixels) -> Pixels:
    """[height, width, 3] or grey [height, width] -> hue, saturation, value [height, width, 3], as VisionUnite sees it.

    The contrast is raised by 1.3 about the picture's mean luma; then every channel's least value becomes 1, and what
    would pass 255 starts again at 0: upstream computes in bytes, in training too.
    """
    picture = ImageEnhance.Contrast(Image.fromarray(pixels).convert("RGB")).enhance(_CONTRAST)
    raised = np.asarray(picture)
    stretched = raised - (raised.min(axis=(0, 1)) - np.uint8(1))
    return np.asarray(Image.fromarray(stretched).convert("HSV"))


def luma(pixels: Pixels) -> Pixels:
    """[height, width, 3] -> [height, width], Pillow's ITU-R 601-2 luma."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _along_rows(pixels: npt.NDArray[np.float32], rows: int, interpolation: str) -> npt.NDArray[np.float32]:
    centres = (np.arange(rows) + 0.5) * (pixels.shape[0] / rows) - 0.5
    if interpolation == "bilinear":
        centres = np.clip(centres, 0, None)
    first = np.floor(centres).astype(int)
    offset = (centres - first).astype(np.float32)
    out = np.zeros((rows, *pixels.shape[1:]), np.float32)
    for tap in (0, 1) if interpolation == "bilinear" else (-1, 0, 1, 2):
        weight = _kernel(np.abs(offset - tap), interpolation)
        near = np.clip(first + tap, 0, pixels.shape[0] - 1)
        out += pixels[near] * weight.reshape(-1, *[1] * (pixels.ndim - 1))
    return out


def _kernel(distance: npt.NDArray[np.float32], interpolation: str) -> npt.NDArray[np.float32]:
    if interpolation == "bilinear":
        return 1 - distance
    inner = (_KEYS_A + 2) * distance**3 - (_KEYS_A + 3) * distance**2 + 1
    outer = _KEYS_A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, inner, outer)
