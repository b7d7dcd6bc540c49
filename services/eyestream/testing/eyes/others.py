"""Pictures that are no eye at all: what a camera or a folder also holds. Knows nothing of eyes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from eyestream.testing.eyes.canvas import Floats, smooth_noise


def not_an_eye(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A full-frame picture [height, width, 3] of a page, skin, a landscape, a pattern, noise or nothing."""
    kinds = (_page, _skin, _landscape, _checker, _stripes, _static, _plain, _shapes)
    return kinds[int(rng.integers(len(kinds)))](rng, shape)


def _colour(rng: np.random.Generator) -> Floats:
    return rng.uniform(20, 240, 3).astype(np.float32)


def _page(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    height, width = shape
    paper, ink = int(rng.uniform(215, 255)), int(rng.uniform(0, 70))
    image = Image.new("RGB", (width, height), (paper, paper, int(paper * rng.uniform(0.9, 1))))
    draw = ImageDraw.Draw(image)
    line = max(4, height // int(rng.integers(18, 40)))
    for top in range(line, height - line, line):
        left = width * 0.08
        end = width * (0.92 if rng.random() < 0.85 else rng.uniform(0.2, 0.8))
        while left < end:
            word = line * rng.uniform(0.5, 3)
            draw.rectangle((left, top, min(left + word, end), top + line * 0.45), fill=(ink, ink, ink))
            left += word + line * 0.4
    return np.asarray(image, np.float32)


def _skin(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    tone = np.array([224, 172, 140], np.float32) * rng.uniform(0.4, 1.1)
    shade = 1 + 0.08 * smooth_noise(rng, shape, cells=3) + 0.03 * smooth_noise(rng, shape, cells=60)
    return np.asarray(shade[..., None] * tone, np.float32)


def _landscape(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    height, width = shape
    horizon = 0.5 + 0.08 * smooth_noise(rng, (2, width), cells=2)[0] + rng.uniform(-0.15, 0.15)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    ground = (rows > horizon[None, :])[..., None]
    sky = np.array([120, 170, 230], np.float32) * rng.uniform(0.6, 1.1) * (0.7 + 0.5 * rows[..., None])
    grass = np.array([70, 120, 50], np.float32) * rng.uniform(0.6, 1.4)
    texture = (1 + 0.15 * smooth_noise(rng, shape, cells=50))[..., None]
    return np.where(ground, grass * texture, sky).astype(np.float32)


def _checker(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    cell = max(2, min(shape) // int(rng.integers(4, 24)))
    rows, columns = np.indices(shape) // cell
    return np.where(((rows + columns) % 2)[..., None] == 0, _colour(rng), _colour(rng)).astype(np.float32)


def _stripes(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    rows, columns = np.indices(shape, dtype=np.float32) / min(shape)
    angle, bands = rng.uniform(0, np.pi), rng.uniform(3, 30)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * bands * (rows * np.sin(angle) + columns * np.cos(angle)))
    return np.asarray(wave[..., None] * _colour(rng) + (1 - wave[..., None]) * _colour(rng), np.float32)


def _static(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.integers(0, 256, (*shape, 3)).astype(np.float32)


def _plain(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.broadcast_to(_colour(rng), (*shape, 3)).astype(np.float32)


def _shapes(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    height, width = shape
    fill = [tuple(int(v) for v in _colour(rng)) for _ in range(13)]
    image = Image.new("RGB", (width, height), fill[0])
    draw = ImageDraw.Draw(image)
    for colour in fill[1:]:
        left, top = rng.uniform(-0.2, 0.9) * width, rng.uniform(-0.2, 0.9) * height
        box = (left, top, left + rng.uniform(0.1, 0.5) * width, top + rng.uniform(0.1, 0.5) * height)
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, fill=colour)
    return np.asarray(image, np.float32)
