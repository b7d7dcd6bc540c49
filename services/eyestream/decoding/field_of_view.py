"""Where in a picture the camera's field lies. Knows neither files nor encoders."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

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
    small = _shrink(pixels)
    background, noise = _background(small)
    if background is None:
        return WHOLE
    signal = functools.reduce(np.maximum, np.abs(small - background))
    bright = float(np.percentile(signal, 98))
    if bright < _FAINT:
        return WHOLE
    mask = signal > max(2.0, 1.0 + 4.0 * noise, _SHARE * bright)
    rows, columns = _longest_run(mask.sum(axis=1)), _longest_run(mask.sum(axis=0))
    rows = _longest_run(mask[:, columns.cells].sum(axis=1))
    columns = _longest_run(mask[rows.cells].sum(axis=0))
    height, width = mask.shape
    if rows.stop - rows.start < _LEAST_SIDE * height or columns.stop - columns.start < _LEAST_SIDE * width:
        return WHOLE
    return Box(rows.start / height, columns.start / width, rows.stop / height, columns.stop / width)


def _shrink(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Local means on a grid that is the same at every scale a picture may be decoded at, [channels, height, width]."""
    scale = min(1.0, _LOOK_AT / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    whole = Image.fromarray(np.ascontiguousarray(pixels))
    small = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    channels = [small] if small.ndim == 2 else [small[:, :, channel] for channel in range(3)]
    return np.stack(channels).astype(np.float32)


def _background(small: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32] | None, float]:
    """The colour at least three corners share, and how much it flickers there."""
    side = max(2, int(_CORNER * min(small.shape[1:])))
    corners = np.stack([small[:, rows, columns] for rows in _ends(side) for columns in _ends(side)])
    corners = corners.reshape(4, small.shape[0], -1)
    colours = np.median(corners, axis=2)
    agree = np.abs(colours - np.median(colours, axis=0)).max(axis=1) <= _ALIKE
    if agree.sum() < 3:
        return None, 0.0
    spreads = np.median(np.abs(corners - colours[:, :, None]), axis=(1, 2))
    return np.median(colours[agree], axis=0)[:, None, None], float(np.median(spreads)) * 1.4826


def _ends(side: int) -> tuple[slice, slice]:
    return slice(0, side), slice(-side, None)


class _Run(NamedTuple):
    """A stretch of rows or columns: its edges to a part of a cell, and the whole cells it covers."""

    start: float
    stop: float

    @property
    def cells(self) -> slice:
        return slice(round(self.start), round(self.stop))


def _longest_run(counts: npt.NDArray[np.intp]) -> _Run:
    """The longest stretch of rows (or columns) that each hold a fair share of the field; empty when none does.

    Its edges are where the counts, between two cells, cross that share: without this the box would jump by a cell
    when a few pixels flicker.
    """
    share = max(1.0, _CHORD * float(counts.max(initial=0)))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], counts >= share, [0])).astype(np.int8)))
    if not edges.size:
        return _Run(0, 0)
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    start, stop = int(starts[longest]), int(stops[longest])
    first = start - _beyond(counts[start], counts[start - 1], share) if start else 0.0
    last = stop + _beyond(counts[stop - 1], counts[stop], share) if stop < len(counts) else float(len(counts))
    return _Run(first, last)


def _beyond(inside: int, outside: int, share: float) -> float:
    """How far outside the last cell that holds its share the counts fall below it, -0.5 to 0.5 cells."""
    return float(inside - share) / float(inside - outside) - 0.5
