"""A file's bytes -> the encoder's input. Knows the order of the steps; each step is a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from eyestream.decoding.dicom import open_dicom
from eyestream.decoding.field_of_view import find_field
from eyestream.decoding.geometry import WHOLE, Box, lay_out, place, upright, upright_size
from eyestream.decoding.jpeg import open_jpeg
from eyestream.decoding.kinds import kind_of
from eyestream.decoding.limits import Limits
from eyestream.decoding.png import open_png
from eyestream.decoding.preprocessing import Preprocessing
from eyestream.decoding.resampling import luma, resample, stretched_hsv
from eyestream.decoding.source import Source, smallest_scale
from eyestream.decoding.tiff import open_tiff
from eyestream.records import Pixels

_USUAL_FIELD: Final = 0.875
"""How much of the shorter side a field usually spans at the least."""
_COPIES: Final = 5
"""How often a picture lies in memory while its colours are changed, Pillow's own copies of it counted."""
_OPENERS: Final[Mapping[str, Callable[[bytes, Limits], Source]]] = {
    "jpeg": open_jpeg,
    "png": open_png,
    "tiff": open_tiff,
    "dicom": open_dicom,
}


def decode(
    value: bytes,
    *,
    preprocessing: Preprocessing,
    height: int,
    width: int,
    limits: Limits,
    orientation: int = 1,
    content_type: str | None = None,
) -> Pixels:
    """The picture as the encoder takes it: uint8 [height, width, 3], RGB, C-contiguous, the caller's own.

    Raises Rejected when the picture cannot be screened, before anything large is allocated where its header says so.
    The same bytes give the same pixels, whatever else this process does; safe from many threads, and the GIL is
    released while libraries decode and resize. `orientation` is the EXIF value the device took out of the file; at 1
    the file's own is honoured, if it still has one. A left eye stays a left eye: nothing is mirrored but by
    orientation. A picture that is black or flat all over is no error here; the encoder's head judges quality.
    """
    limits.check_bytes(len(value))
    source = _OPENERS[kind_of(value, content_type)](value, limits)
    turn = orientation if orientation != 1 else source.orientation
    pixels, box, eighths = _read_large_enough(source, turn, (height, width), preprocessing, limits)
    if preprocessing.colour == "stretched-hsv":
        limits.check_memory(_COPIES * pixels.nbytes)
        pixels = stretched_hsv(pixels)
    layout = lay_out(upright_size(box.size, turn), (height, width), preprocessing)
    resized = resample(
        pixels,
        box.scaled(eighths / 8, eighths / 8),
        upright_size(layout.resized, turn),
        interpolation=preprocessing.interpolation,
        antialias=preprocessing.antialias,
    )
    if preprocessing.colour == "grey" and resized.ndim == 3:
        resized = luma(resized)
    return place(upright(resized, turn), layout, (height, width), preprocessing.fill)


def _read_large_enough(
    source: Source, turn: int, into: tuple[int, int], preprocessing: Preprocessing, limits: Limits
) -> tuple[Pixels, Box, int]:
    """The picture at the smallest scale whose field of view covers the input, that field at full size, and the eighths.

    A field usually spans most of the shorter side, so the first scale is chosen for that; a picture whose field turns
    out smaller is read once more, and its box is kept. Nothing is turned yet.
    """
    if preprocessing.crop == "none":
        whole = WHOLE.scaled(source.height, source.width)
        eighths = _scale(source, upright_size(whole.size, turn), into, preprocessing)
        return _read(source, eighths, limits), whole, eighths
    shorter = _USUAL_FIELD * min(source.height, source.width)
    eighths = _scale(source, (shorter, shorter), into, preprocessing)
    pixels = _read(source, eighths, limits)
    field = find_field(pixels).scaled(source.height, source.width)
    enough = _scale(source, upright_size(field.size, turn), into, preprocessing)
    if enough > eighths:
        return _read(source, enough, limits), field, enough
    return pixels, field, eighths


def _read(source: Source, eighths: int, limits: Limits) -> Pixels:
    limits.check_memory(source.memory(eighths))
    return source.read(eighths)


def _scale(source: Source, size: tuple[float, float], into: tuple[int, int], preprocessing: Preprocessing) -> int:
    """Eighths; without antialias, or with a contrast to raise, it must be the whole picture's own pixels."""
    if not source.scales or not preprocessing.antialias or preprocessing.colour == "stretched-hsv":
        return 8
    return smallest_scale(size, lay_out(size, into, preprocessing).resized)
