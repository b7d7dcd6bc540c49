"""Rendered eyes as the encoder gets them: drawn, saved as JPEG, and read through the line's own decoder.

Knows no network. Eye `index` of a split is always the same eye and the same pixels.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image

from eyestream.decoding import Limits, decode
from eyestream.records import Pixels, digest
from eyestream.testing.eyes import Eye, random_eye, render
from eyestream_engines.spec import SHELF, EncoderFile

log = logging.getLogger(__name__)

Split = Literal["train", "validate", "test"]
FIRST_SEED: Final = {"train": 0, "validate": 10_000_000, "test": 20_000_000}
"""Seeds of the splits lie ten million apart, so that no eye is in two of them."""
SIDES: Final = (300, 340, 380, 420, 480, 560, 640, 900)
"""Shorter sides of the pictures, in pixels, as they come from a camera."""
SHAPES: Final = (1.0, 1.0, 4 / 3, 3 / 2)
CHUNK: Final = 50
CACHE: Final = SHELF.parent / ".eyestream" / "demo-eyes"
"""Rendered eyes are kept here; they are never committed."""


@cache
def spec() -> EncoderFile:
    """The demo encoder's own file."""
    return EncoderFile.load("eyestream-demo")


def eye_of(split: Split, index: int) -> Eye:
    """The description of one eye of a split."""
    return random_eye(np.random.default_rng((FIRST_SEED[split] + index, 1)))


def picture_of(split: Split, index: int) -> Pixels:
    """The encoder's input for one eye of a split: size, camera, shape and JPEG quality are drawn by its seed."""
    seed = FIRST_SEED[split] + index
    rng = np.random.default_rng((seed, 2))
    height = int(rng.choice(SIDES))
    size = (height, round(height * float(rng.choice(SHAPES))))
    return through_the_line(render(eye_of(split, index), seed, size), quality=int(rng.integers(60, 96)))


def through_the_line(pixels: Pixels, *, quality: int = 90) -> Pixels:
    """What the encoder gets of a picture that a device saved as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return decoded(file.getvalue())


def decoded(value: bytes) -> Pixels:
    """What the encoder gets of a file."""
    wanted = spec()
    return decode(
        value,
        preprocessing=wanted.preprocessing,
        height=wanted.input.height,
        width=wanted.input.width,
        limits=Limits(),
    )


def corpus(split: Split, count: int, *, cache_dir: Path, workers: int = 2) -> tuple[list[Eye], Pixels]:
    """The first `count` eyes of a split and their pictures [count, height, width, 3], kept under `cache_dir`."""
    eyes = [eye_of(split, index) for index in range(count)]
    shape = (count, spec().input.height, spec().input.width, 3)
    described = json.dumps([asdict(eye) for eye in eyes], default=sorted, sort_keys=True)
    key = digest(described, spec().preprocessing.to_json(), str(shape))
    path = cache_dir / f"{split}-{count}-{key[:12]}.npy"
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        for start, chunk in _rendered(split, count, workers):
            pixels[start : start + len(chunk)] = chunk
            if start % 1000 == 0:
                log.info("%s: %d of %d eyes rendered", split, start, count)
        pixels.flush()
        unfinished.rename(path)
    return eyes, np.load(path, mmap_mode="r")


def _rendered(split: Split, count: int, workers: int) -> Iterator[tuple[int, Pixels]]:
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(workers) as pool:
        chunks = pool.map(_chunk, [split] * len(starts), starts, [min(count, start + CHUNK) for start in starts])
        yield from zip(starts, chunks, strict=True)


def _chunk(split: Split, start: int, stop: int) -> Pixels:
    return np.stack([picture_of(split, index) for index in range(start, stop)])
