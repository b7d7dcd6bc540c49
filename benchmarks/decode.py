"""How fast pictures become an encoder's input, against what most people would write; ratios, all in one run.

    python benchmarks/decode.py [--rounds 5] [PICTURE.jpg ...]

Without pictures it renders eyes of 1, 8 and 15 megapixels. Times are CPU milliseconds of one thread, medians of
interleaved rounds, so that a noisy machine slows all contestants alike; the last lines are the ones to quote. "level"
is the mean difference to the full decode in grey levels of 255, on the same resize.
"""

from __future__ import annotations

import argparse
import io
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.testing.eyes import Eye, render

BICUBIC = Image.Resampling.BICUBIC
LIMITS = Limits()
SQUASH, CROPPED = Preprocessing(), Preprocessing(crop="field-of-view")
SIZES = ((1024, 1024), (2448, 3264), (3168, 4752))

OPENCV = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

Contestant = Callable[[bytes, int], np.ndarray]


def ours(value: bytes, size: int) -> np.ndarray:
    """The whole picture, squashed: the same work as the others do."""
    return decode(value, preprocessing=SQUASH, height=size, width=size, limits=LIMITS)


def ours_cropped(value: bytes, size: int) -> np.ndarray:
    """With the field of view found and cut out, which no other does."""
    return decode(value, preprocessing=CROPPED, height=size, width=size, limits=LIMITS)


def pillow_full(value: bytes, size: int) -> np.ndarray:
    """What a tutorial writes."""
    return np.asarray(Image.open(io.BytesIO(value)).convert("RGB").resize((size, size), BICUBIC))


def pillow_draft(value: bytes, size: int) -> np.ndarray:
    """Pillow at the smallest scale that covers the input."""
    picture = Image.open(io.BytesIO(value))
    picture.draft("RGB", (size, size))
    return np.asarray(picture.convert("RGB").resize((size, size), BICUBIC))


def simplejpeg_scaled(value: bytes, size: int) -> np.ndarray:
    """Simplejpeg at the smallest scale of its own choice, Pillow's resize."""
    pixels = simplejpeg.decode_jpeg(value, min_height=size, min_width=size, min_factor=1)
    return np.asarray(Image.fromarray(pixels).resize((size, size), BICUBIC))


def opencv_reduced(value: bytes, size: int) -> np.ndarray:
    """OpenCV at the smallest of its scales that covers the input, Pillow's resize."""
    height, width = simplejpeg.decode_jpeg_header(value)[:2]
    fit = max(scale for scale in OPENCV if min(height, width) >= scale * size)
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(value, np.uint8), OPENCV[fit]), cv2.COLOR_BGR2RGB)
    return np.asarray(Image.fromarray(pixels).resize((size, size), BICUBIC))


CONTESTANTS: tuple[Contestant, ...] = (ours, ours_cropped, pillow_full, pillow_draft, simplejpeg_scaled, opencv_reduced)


def rendered() -> dict[str, bytes]:
    """Eyes at three sizes, baseline and, for the middle one, progressive."""
    found = {}
    for height, width in SIZES:
        picture = Image.fromarray(render(Eye(findings=frozenset({"haemorrhages"})), 7, (height, width)))
        for progressive in (False, True) if height == SIZES[1][0] else (False,):
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=92, progressive=progressive)
            found[f"{width}x{height}{' progressive' if progressive else ''}"] = out.getvalue()
    return found


def measure(value: bytes, size: int, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each contestant."""
    times: dict[str, list[float]] = {contestant.__name__: [] for contestant in CONTESTANTS}
    for turn in range(rounds + 1):
        for contestant in CONTESTANTS:
            start = time.thread_time()
            contestant(value, size)
            if turn:  # the first only warms up
                times[contestant.__name__].append(1000 * (time.thread_time() - start))
    return {name: statistics.median(each) for name, each in times.items()}


def in_threads(value: bytes, size: int, rounds: int) -> float:
    """Pictures per second on two threads over one: 2.0 where nothing holds the GIL and cores are free."""
    speeds = []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(lambda _: ours(value, size), range(4 * rounds)))
            speeds.append(1 / (time.perf_counter() - start))
    return speeds[1] / speeds[0]


def main() -> None:
    """Measure, print a line for each picture and size, then the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("pictures", nargs="*", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    values = {path.name: path.read_bytes() for path in options.pictures} or rendered()
    print(f"decode: {platform.machine()}, Python {platform.python_version()}, simplejpeg {simplejpeg.__version__}")
    ratios: dict[str, list[float]] = {contestant.__name__: [] for contestant in CONTESTANTS}
    for name, value in values.items():
        for size in (256, 512):
            told = measure(value, size, options.rounds)
            level = np.abs(ours(value, size).astype(int) - pillow_full(value, size)).mean()
            row = "  ".join(f"{who} {spent:.1f} ms" for who, spent in told.items())
            print(f"{name} ({len(value) // 1024} KiB) to {size}: {row}  level {level:.2f}")
            for who, spent in told.items():
                ratios[who].append(spent / told["ours"])
    for who, each in ratios.items():
        if who != "ours":
            print(f"ours is {statistics.geometric_mean(each):.2f}x {who} (from {min(each):.2f} to {max(each):.2f})")
    print(f"two threads over one: {in_threads(next(reversed(values.values())), 512, options.rounds):.2f}")


if __name__ == "__main__":
    main()
