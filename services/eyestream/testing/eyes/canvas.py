"""The frame an eye is drawn in: coordinates, smooth noise and soft masks. Knows nothing of eyes.

Positions are in units of the field of view's radius, (0, 0) its centre, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Floats = npt.NDArray[np.float32]
Point = tuple[float, float]

SUPERSAMPLING = 2
"""Masks are drawn this many times larger and averaged, for smooth edges."""
COARSE = 4
"""Smooth layers are computed at one pixel in this many per side."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of `height` by `width` pixels; its field of view has its centre at (`cx`, `cy`) and `radius` pixels."""

    height: int
    width: int
    cx: float
    cy: float
    radius: float

    def grid(self) -> tuple[Floats, Floats]:
        """Give x and y of the coarse pixels, for layers that `upscale` brings to full size."""
        rows, columns = -(-self.height // COARSE), -(-self.width // COARSE)
        x = ((np.arange(columns, dtype=np.float32) + 0.5) * (self.width / columns) - self.cx) / self.radius
        y = ((np.arange(rows, dtype=np.float32) + 0.5) * (self.height / rows) - self.cy) / self.radius
        return x[None, :], y[:, None]

    def upscale(self, layer: Floats) -> Floats:
        """A coarse layer [h, w] at full size."""
        image = Image.fromarray(np.ascontiguousarray(layer, np.float32))
        return np.asarray(image.resize((self.width, self.height), Image.Resampling.BILINEAR), np.float32)

    def upscale_colours(self, layer: Floats) -> Floats:
        """A coarse layer of colours [h, w, 3], 0 to 255, at full size."""
        image = Image.fromarray(np.clip(layer, 0, 255).astype(np.uint8))
        return np.asarray(image.resize((self.width, self.height), Image.Resampling.BILINEAR), np.float32)

    def mask(self) -> Mask:
        """An empty mask of this frame."""
        return Mask(self)


class Mask:
    """A grey-level drawing over a frame; later strokes cover earlier ones."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._image = Image.new("L", (frame.width * SUPERSAMPLING, frame.height * SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)

    def _pixel(self, point: Point) -> Point:
        frame = self._frame
        return (
            (frame.cx + point[0] * frame.radius) * SUPERSAMPLING,
            (frame.cy + point[1] * frame.radius) * SUPERSAMPLING,
        )

    def line(self, points: Sequence[Point], *, width: float, level: int) -> None:
        """A stroke through `points` with a round end; `width` in radii."""
        size = width * self._frame.radius * SUPERSAMPLING
        way = [self._pixel(point) for point in points]
        self._draw.line(way, fill=level, width=max(1, round(size)))
        if size >= 4:
            for x, y in way[1:]:
                self._draw.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), fill=level)

    def disc(self, centre: Point, radius: float, *, level: int) -> None:
        """A filled circle; `radius` in radii."""
        x, y = self._pixel(centre)
        size = radius * self._frame.radius * SUPERSAMPLING
        self._draw.ellipse((x - size, y - size, x + size, y + size), fill=level)

    def polygon(self, points: Iterable[Point], *, level: int) -> None:
        """A filled polygon."""
        self._draw.polygon([self._pixel(point) for point in points], fill=level)

    def alpha(self, *, soft: float = 0.0) -> Floats:
        """The drawing as [height, width, 1], 0 to 1; edges blurred over `soft` radii."""
        return self._crop((0, 0, self._frame.width, self._frame.height), soft)

    def cover(self, pixels: Floats, colour: Floats, *, soft: float) -> None:
        """Paint `colour` over `pixels`, in place."""
        for window, alpha in self._drawn(soft):
            change = colour - pixels[window]
            pixels[window] += np.multiply(change, alpha, out=change)

    def absorb(self, pixels: Floats, absorption: Floats, *, soft: float) -> None:
        """Take the shares `absorption` of red, green and blue out of `pixels`, in place."""
        for window, alpha in self._drawn(soft):
            passed = alpha * absorption
            pixels[window] *= np.subtract(1, passed, out=passed)

    def _drawn(self, soft: float) -> Iterator[tuple[tuple[slice, slice], Floats]]:
        """The part of the frame that holds a stroke, and its alpha; nothing when there is none."""
        if (box := self._image.getbbox()) is None:
            return
        margin = 2 + round(2 * soft * self._frame.radius)
        left, top = max(0, box[0] // SUPERSAMPLING - margin), max(0, box[1] // SUPERSAMPLING - margin)
        right = min(self._frame.width, -(-box[2] // SUPERSAMPLING) + margin)
        bottom = min(self._frame.height, -(-box[3] // SUPERSAMPLING) + margin)
        yield (slice(top, bottom), slice(left, right)), self._crop((left, top, right, bottom), soft)

    def _crop(self, box: tuple[int, int, int, int], soft: float) -> Floats:
        left, top, right, bottom = (side * SUPERSAMPLING for side in box)
        image = self._image.crop((left, top, right, bottom)).reduce(SUPERSAMPLING)
        if soft > 0:
            image = image.filter(ImageFilter.BoxBlur(max(0.3, soft * self._frame.radius)))
        alpha: Floats = np.multiply(np.asarray(image), np.float32(1 / 255), dtype=np.float32)[..., None]
        return alpha


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], *, cells: int) -> Floats:
    """Noise of unit deviation whose patches are 1/`cells` of the shorter side, [height, width]."""
    height, width = shape
    rows = max(2, round(cells * height / min(shape)))
    columns = max(2, round(cells * width / min(shape)))
    image = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def blob(
    rng: np.random.Generator, centre: Point, radius: float, *, rough: float, stretch: Point = (1, 1)
) -> list[Point]:
    """The outline of an irregular patch: `rough` is the deviation of its radius, `stretch` scales x and y."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    radii = radius * np.clip(1 + rough * rng.standard_normal(12), 0.4, 1.8)
    tilt = rng.uniform(0, np.pi)
    x, y = radii * np.cos(angles) * stretch[0], radii * np.sin(angles) * stretch[1]
    turned = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], axis=1)
    return [(float(dx + centre[0]), float(dy + centre[1])) for dx, dy in turned]
