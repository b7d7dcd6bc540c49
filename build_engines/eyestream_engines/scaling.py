"""What it changes that a JPEG is decoded at a smaller scale: the encoder's vectors beside those of the whole picture.

The line decodes a large JPEG at the smallest scale that still covers the encoder's input; every paper's code decodes it
whole. Both go through the same preparation here, and the same network in FP32. Knows no family.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from eyestream.decoding import Limits, decode
from eyestream.errors import Misconfigured
from eyestream.records import Pixels
from eyestream.testing.eyes import random_eye, render
from eyestream_engines import gates
from eyestream_engines.gates import Agreement, Floats
from eyestream_engines.spec import EncoderFile, names

Embed = Callable[[EncoderFile, Pixels], Floats]
"""Vectors [n, dim], float32, of pictures [n, height, width, 3]."""

SIZES: Final = ((1224, 1632), (1536, 2048), (1944, 2592), (2448, 3264))
"""Heights and widths of the drawn photographs: 2, 3, 5 and 8 megapixels."""
_QUALITY: Final = 90
_SUFFIXES: Final = {".jpg", ".jpeg"}
_LIMITS: Final = Limits(max_bytes=2**28)
_INTRODUCTION: Final = """# What scaled decoding changes

The line decodes a JPEG at the smallest scale that covers the encoder's input
([0011](decisions/0011-strict-scaled-decoding.md)); the encoders' authors decode it whole. Measured on {pictures},
the networks in FP32. Published weights are not ours to have: all but the demonstration's are drawn from a seed, and
trained ones will give other figures.

Each figure is of the worst picture: pixels, root mean square of the difference in grey levels; the largest difference
of a number, in units of the vectors' root mean square; cosine; rank agreement of the scores over a bank of directions.
Encoders whose preparation samples without antialiasing, or raises contrast first, are always given the whole picture.

Written by `eyestream-engines scaling --page docs/engines-decoding.md`.
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """Of one encoder, on the worst picture; `agreement` is None where nothing changes, for pixels are the same.

    `grey_levels`: root mean square of the pixels' difference.
    """

    encoder: str
    grey_levels: float
    agreement: Agreement | None

    def row(self) -> str:
        """For a table in Markdown."""
        if self.agreement is None:
            return f"| {self.encoder} | 0 | the same | the same | the same |"
        found = self.agreement
        figures = f"{found.absolute:.1e} | {found.cosine:.6f} | {found.rank:.4f}"
        return f"| {self.encoder} | {self.grey_levels:.2f} | {figures} |"


def measurable(chosen: Sequence[str]) -> list[EncoderFile]:
    """The chosen encoders, or all that can be measured; raises Misconfigured for one chosen that cannot be."""
    found = [EncoderFile.load(name) for name in chosen or names()]
    why = {encoder.name: reason for encoder in found if (reason := _hindrance(encoder))}
    if chosen and why:
        raise Misconfigured("; ".join(f"{name} {reason}" for name, reason in why.items()))
    return [encoder for encoder in found if encoder.name not in why]


def measure(encoder: EncoderFile, photographs: Sequence[bytes], embed: Embed) -> Effect:
    """Decode JPEGs both ways and compare their vectors; the whole pictures' are the reference."""
    scaled = _prepared(encoder, photographs)
    whole = _prepared(encoder, [_as_png(jpeg) for jpeg in photographs])
    apart = np.square(scaled.astype(np.float64) - whole).mean((1, 2, 3))
    levels = float(np.sqrt(apart.max()))
    agreement = gates.agreement(embed(encoder, whole), embed(encoder, scaled)) if levels else None
    return Effect(encoder.name, levels, agreement)


def drawn(sizes: Iterable[tuple[int, int]] = SIZES) -> list[bytes]:
    """Rendered photographs as JPEG files; the same every time."""
    return [_jpeg(seed, size) for seed, size in enumerate(sizes)]


def photographs(folder: Path) -> list[bytes]:
    """The JPEG files of a folder, in the order of their names; raises Misconfigured where there are none."""
    if not folder.is_dir():
        raise Misconfigured(f"{folder} is no folder: name a folder of JPEG photographs")
    found = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise Misconfigured(f"{folder} holds no *.jpg or *.jpeg: name a folder of JPEG photographs")
    return found


def synthetic(encoder: EncoderFile, pixels: Pixels) -> Floats:
    """Vectors of the encoder's network: of its own file where the repository has it, else of its parity case's weights.

    Weights drawn from a seed are of the size of trained ones and were taught nothing: trained ones give other figures.
    """
    from eyestream_engines import checkpoints, files, proving
    from eyestream_engines.cases import PARITY, Case
    from eyestream_engines.families import family_of

    held = Case.open(PARITY / encoder.parity).file() if encoder.parity else files.read(encoder.checkpoint_path)
    network = family_of(encoder).module(encoder, checkpoints.select(encoder, held, source=encoder.name))
    return proving.reference(encoder, network, pixels)


def page(effects: Iterable[Effect], *, pictures: str) -> Iterator[str]:
    """The lines of docs/engines-decoding.md."""
    yield _INTRODUCTION.format(pictures=pictures)
    yield "| encoder | pixels | largest difference | cosine | rank |"
    yield "| --- | --- | --- | --- | --- |"
    yield from (effect.row() for effect in effects)


def _hindrance(encoder: EncoderFile) -> str:
    """Why nothing can be measured of an encoder; empty where it can."""
    if encoder.input.frames is not None:
        return "reads volumes, and no JPEG holds one"
    has = encoder.parity or encoder.checkpoint.file
    return "" if has else "has neither weights in the repository nor a parity case that fills it"


def _prepared(encoder: EncoderFile, files: Sequence[bytes]) -> Pixels:
    size = encoder.input
    return np.stack(
        [
            decode(value, preprocessing=encoder.preprocessing, height=size.height, width=size.width, limits=_LIMITS)
            for value in files
        ]
    )


def _as_png(jpeg: bytes) -> bytes:
    """The whole picture's pixels, upright as the line turns them, in a file that is never scaled."""
    kept = io.BytesIO()
    ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB").save(kept, "PNG", compress_level=1)
    return kept.getvalue()


def _jpeg(seed: int, size: tuple[int, int]) -> bytes:
    eye = random_eye(np.random.default_rng(seed))
    kept = io.BytesIO()
    Image.fromarray(render(eye, seed, size)).save(kept, "JPEG", quality=_QUALITY)
    return kept.getvalue()
