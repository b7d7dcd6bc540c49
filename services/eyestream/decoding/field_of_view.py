"""Where in a picture the camera's field lies. Knows neither files nor encoders."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyestream.decoding.geometry import WHOLE, Box
from eyestream.records import Pixels

_LOOK_AT: Final = 256
"""The longer side of the copy that is looked at, in pixels."""
_CORNER: Final = 0.05
"""A corner's side, as a part of the picture's."""
_ALIKE: Final = 16
"""Grey levels by which corners that show the same background may differ."""
_SHARE: Final = 0.06
"""How much of the field's brightness, over the background, still is field."""
_CHORD: Final = 0.1
"""How much of the longest row or column of field another must hold to count as field.

A circle's chord grows so fast that this shaves a quarter of a percent off its diameter, while text and date stamps
beside the field stay below it.
"""
_LEAST_SIDE: Final = 0.25
_FAINT: Final = 4.0


def find_field(pixels: Pixels) -> Box:
    """The bounding box of the round, or cut round, field; WHOLE when there is no background to tell it from.

    The background is what at least three corners agree on, of whatever colour. The field is what differs from it by
    more than the corners' own noise and a small share of the picture's bright parts, so that dark pictures are found
    as bright ones are. Rows and columns that hold little of it (text, a date, a thin frame) are not counted, and of
    several stretches the longest is the field. A box that is less than a quarter of a side is not believed.
    """
    step = max(1, max(pixels.shape[:2]) // _LOOK_AT)
    small = _shrink(pixels, step)
    background, noise = _background(small)
    if background is None:
        return WHOLE
    signal = np.abs(small - background).max(axis=2)
    bright = float(np.percentile(signal, 98))
    if bright < _FAINT:
        return WHOLE
    mask = signal > max(2.0, 1.0 + 4.0 * noise, _SHARE * bright)
    rows, columns = _longest_run(mask.sum(axis=1)), _longest_run(mask.sum(axis=0))
    rows = _longest_run(mask[:, columns].sum(axis=1))
    columns = _longest_run(mask[rows].sum(axis=0))
    if rows.stop - rows.start < _LEAST_SIDE * len(mask) or columns.stop - columns.start < _LEAST_SIDE * mask.shape[1]:
        return WHOLE
    height, width = pixels.shape[:2]
    bottom, right = min(rows.stop * step, height), min(columns.stop * step, width)
    return Box(rows.start * step / height, columns.start * step / width, bottom / height, right / width)


def _shrink(pixels: Pixels, step: int) -> npt.NDArray[np.float32]:
    """Means of blocks of `step` pixels a side, [height, width, channels]."""
    small = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(step), np.float32)
    return small[:, :, None] if small.ndim == 2 else small


def _background(small: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32] | None, float]:
    """The colour at least three corners share, and how much it flickers there."""
    side = max(2, int(_CORNER * min(small.shape[:2])))
    corners = [small[rows, columns].reshape(-1, small.shape[2]) for rows in _ends(side) for columns in _ends(side)]
    colours = np.array([np.median(corner, axis=0) for corner in corners])
    middle = np.median(colours, axis=0)
    agree = np.abs(colours - middle).max(axis=1) <= _ALIKE
    if agree.sum() < 3:
        return None, 0.0
    spreads = [np.median(np.abs(corner - colour)) for corner, colour in zip(corners, colours, strict=True)]
    return np.median(colours[agree], axis=0), float(np.median(spreads)) * 1.4826


def _ends(side: int) -> tuple[slice, slice]:
    return slice(0, side), slice(-side, None)


def _longest_run(counts: npt.NDArray[np.intp]) -> slice:
    """The longest stretch of rows (or columns) that each hold a fair share of the field."""
    held = np.concatenate(([0], counts >= max(1, _CHORD * counts.max()), [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(held))
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return slice(int(starts[longest]), int(stops[longest]))
