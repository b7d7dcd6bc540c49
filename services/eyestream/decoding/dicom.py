"""DICOM: one frame of an image object, its claims held against its data before anything is decoded."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyestream.decoding.codestreams import check_jpeg2000, check_other_jpeg, decode_jpeg2000, decode_other_jpeg
from eyestream.decoding.dicom_elements import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    FRAMES,
    PHOTOMETRIC,
    PLANAR,
    ROWS,
    SAMPLES,
    SIGNED,
    Shell,
    fragments,
    read_shell,
)
from eyestream.decoding.jpeg import open_jpeg, read_frame
from eyestream.decoding.limits import Limits
from eyestream.decoding.refusals import refuse
from eyestream.decoding.source import Source
from eyestream.records import Pixels

_RAW: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
_JPEG: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_OTHER_JPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (57, 70, 80, 81))
_JPEG2000: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91))
_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_RAW_COLOURS: Final = frozenset({"RGB", "YBR_FULL"})
_TRANSFORMED_COLOURS: Final = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})


def open_dicom(value: bytes, limits: Limits) -> Source:
    """A single-frame image: uncompressed, JPEG (baseline, extended, lossless, LS) or JPEG 2000; grey or colour.

    Policy: grey of up to 16 bits is scaled by its stored bits to 0..255, MONOCHROME1 is inverted, and no window or
    rescale is applied, so that equal bytes give equal pixels whatever a workstation chose to show. Colour has 8 bits.
    Where the file says RGB but its JPEG does not say so itself, a decoder would guess, and a wrong guess is a green
    retina: refused, as are other compressed data whose colours the file contradicts. Palette colour, signed samples,
    deflated or big-endian files, RLE and several frames are refused.
    """
    shell = read_shell(value)
    height, width = shell.number(ROWS), shell.number(COLUMNS)
    limits.check_size(height, width)
    frames = shell.text(FRAMES) or "1"
    if not (frames.isascii() and frames.isdigit()):
        raise refuse("damaged")
    limits.check_frames(int(frames))
    samples, bits = _check_samples(shell)
    if not shell.encapsulated:
        return _open_raw(value, shell, (height, width, samples), bits)
    stream = b"".join(fragments(value, shell.pixels_at))
    if shell.syntax in _JPEG:
        return _open_jpeg(stream, shell, (height, width), limits)
    return _open_stream(stream, shell, (height, width, samples), bits)


def _check_samples(shell: Shell) -> tuple[int, int]:
    """Samples of a pixel and stored bits of a sample, as far as this reader takes them."""
    samples, photometric = shell.number(SAMPLES, 1), shell.text(PHOTOMETRIC)
    allocated = shell.number(BITS_ALLOCATED)
    stored = shell.number(BITS_STORED, allocated)
    if samples not in {1, 3} or (samples == 1) != (photometric in _GREY):
        raise refuse("unsupported-dicom", feature="palette colour or a rare colour space")
    if shell.number(SIGNED, 0):
        raise refuse("unsupported-dicom", feature="signed samples")
    if allocated not in ({8, 16} if samples == 1 else {8}) or not 1 < stored <= allocated:
        raise refuse("bit-depth", bits=stored)
    return samples, stored


def _open_raw(value: bytes, shell: Shell, shape: tuple[int, int, int], bits: int) -> Source:
    if shell.syntax not in _RAW:
        raise refuse("damaged")
    if shape[2] == 3 and shell.text(PHOTOMETRIC) not in _RAW_COLOURS:
        raise refuse("unsupported-dicom", feature="subsampled colour without compression")
    sample = shell.number(BITS_ALLOCATED) // 8
    if shell.pixels_length < shape[0] * shape[1] * shape[2] * sample:
        raise refuse("truncated")
    return Source(shape[0], shape[1], partial(_read_raw, value, shell, shape, bits))


def _read_raw(value: bytes, shell: Shell, shape: tuple[int, int, int], bits: int, _eighths: int) -> Pixels:
    kind = "<u2" if shell.number(BITS_ALLOCATED) == 16 else "u1"
    flat = np.frombuffer(value, kind, count=shape[0] * shape[1] * shape[2], offset=shell.pixels_at)
    if shape[2] == 1:
        return _to_8_bits(flat.reshape(shape[:2]), bits, shell)
    planes = flat.reshape(3, *shape[:2]).transpose(1, 2, 0) if shell.number(PLANAR, 0) else flat.reshape(shape)
    return _to_rgb(np.ascontiguousarray(planes), shell)


def _open_jpeg(stream: bytes, shell: Shell, size: tuple[int, int], limits: Limits) -> Source:
    if not stream.startswith(b"\xff\xd8"):
        raise refuse("damaged")
    inner = open_jpeg(stream, limits)
    if shell.text(PHOTOMETRIC) == "RGB" and not read_frame(stream).says_colours:
        raise refuse("unsupported-dicom", feature="a JPEG that leaves open whether it holds RGB")
    if (inner.height, inner.width) != size:
        raise refuse("damaged")

    def read(eighths: int) -> Pixels:
        pixels = inner.read(eighths)
        return 255 - pixels if shell.text(PHOTOMETRIC) == "MONOCHROME1" else pixels

    return Source(*size, read, overhead=inner.overhead + len(stream), scales=True)


def _open_stream(stream: bytes, shell: Shell, shape: tuple[int, int, int], bits: int) -> Source:
    if shell.syntax in _JPEG2000:
        colours = _TRANSFORMED_COLOURS if check_jpeg2000(stream, shape, bits) else _RAW_COLOURS
        unpack = decode_jpeg2000
    elif shell.syntax in _OTHER_JPEG:
        check_other_jpeg(stream, shape, bits)
        colours, unpack = _RAW_COLOURS, decode_other_jpeg
    else:
        raise refuse("unsupported-dicom", feature="a rare compression")
    if shape[2] == 3 and shell.text(PHOTOMETRIC) not in colours:
        raise refuse("unsupported-dicom", feature="a colour space that contradicts its compression")

    def read(_eighths: int) -> Pixels:
        samples = unpack(stream)
        if samples.shape != (shape if shape[2] == 3 else shape[:2]):
            raise refuse("damaged")
        if shape[2] == 3:
            if samples.dtype != np.uint8:
                raise refuse("bit-depth", bits=8 * samples.dtype.itemsize)
            return _to_rgb(samples, shell)
        return _to_8_bits(samples, bits, shell)

    return Source(shape[0], shape[1], read, overhead=len(stream) + 8 * shape[0] * shape[1] * shape[2])


def _to_rgb(pixels: Pixels, shell: Shell) -> Pixels:
    if shell.text(PHOTOMETRIC) == "YBR_FULL":
        return np.asarray(Image.fromarray(pixels, mode="YCbCr").convert("RGB"))
    return pixels


def _to_8_bits(samples: npt.NDArray[np.unsignedinteger], bits: int, shell: Shell) -> Pixels:
    """Stored bits to 0..255, rounded; what lies above the stored bits (old overlays) is cut off."""
    largest = (1 << bits) - 1
    if bits == 8:
        pixels = samples.astype(np.uint8)
    else:
        table = (np.arange(largest + 1, dtype=np.float32) * (255 / largest) + 0.5).astype(np.uint8)
        pixels = table[samples & largest]
    return 255 - pixels if shell.text(PHOTOMETRIC) == "MONOCHROME1" else pixels
