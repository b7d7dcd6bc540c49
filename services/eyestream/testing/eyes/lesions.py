"""What disease adds to a fundus: dots, blots, deposits and haze. Knows nothing of anatomy's drawing."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from eyestream.testing.eyes.anatomy import Anatomy
from eyestream.testing.eyes.canvas import Floats, Frame, Point, blob, smooth_noise

BLOOD_ABSORPTION = np.array([0.45, 0.86, 0.72], np.float32)
RADIUS_IN_VIEW = 0.86


def _spot(rng: np.random.Generator, centre: Point = (0, 0), *, spread: float | None = None) -> Point:
    """A chance place in the field: anywhere, or about `centre`."""
    for _ in range(40):
        if spread is None:
            angle, distance = rng.uniform(0, 2 * math.pi), RADIUS_IN_VIEW * math.sqrt(rng.random())
            return (distance * math.cos(angle), distance * math.sin(angle))
        x, y = centre[0] + spread * rng.standard_normal(), centre[1] + spread * rng.standard_normal()
        if math.hypot(x, y) < RADIUS_IN_VIEW:
            return (float(x), float(y))
    return _spot(rng)


def _beside_disc(rng: np.random.Generator, anatomy: Anatomy) -> Point:
    """A chance place outside the optic disc, where a lesion can be told from it."""
    while True:
        x, y = _spot(rng)
        if math.hypot(x - anatomy.disc[0], y - anatomy.disc[1]) > 1.6 * anatomy.disc_radius:
            return (x, y)


def microaneurysms(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats, severity: float) -> None:
    """Small round red dots, a hundredth of the field across."""
    mask = frame.mask()
    for _ in range(round(7 + 22 * severity + rng.uniform(0, 5))):
        mask.disc(_beside_disc(rng, anatomy), float(rng.uniform(0.0075, 0.0125)), level=int(rng.uniform(175, 250)))
    mask.absorb(pixels, BLOOD_ABSORPTION, soft=0.002)


def haemorrhages(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats, severity: float) -> None:
    """Blots and flames of blood, several times a vessel's width."""
    mask = frame.mask()
    for _ in range(round(2 + 8 * severity + rng.uniform(0, 2))):
        centre = _beside_disc(rng, anatomy)
        radius = float(rng.uniform(0.026, 0.045 + 0.035 * severity))
        flame = rng.random() < 0.35
        stretch = (1.9, 0.6) if flame else (1.15, 0.9)
        mask.polygon(blob(rng, centre, radius, rough=0.2, stretch=stretch), level=int(rng.uniform(185, 250)))
    mask.absorb(pixels, BLOOD_ABSORPTION, soft=0.005)


def exudates(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats, severity: float) -> None:
    """Hard exudates: sharp, bright yellow-white specks in clusters and rings, most of them near the macula."""
    mask = frame.mask()
    for _ in range(round(1 + 3 * severity + rng.uniform(0, 1))):
        centre = _spot(rng, anatomy.macula, spread=0.33)
        ring = rng.random() < 0.4
        ring_radius = float(rng.uniform(0.06, 0.14))
        for _ in range(round(8 + 14 * severity)):
            angle = rng.uniform(0, 2 * math.pi)
            away = ring_radius * (rng.normal(1, 0.12) if ring else rng.rayleigh(0.6))
            place = (centre[0] + away * math.cos(angle), centre[1] + away * math.sin(angle))
            outline = blob(rng, place, float(rng.uniform(0.006, 0.017)), rough=0.3)
            mask.polygon(outline, level=int(rng.uniform(190, 255)))
    colour = np.array([255, 232, 140], np.float32) * float(anatomy.tint[0] / 190)
    mask.cover(pixels, np.minimum(colour, np.float32(255)), soft=0.0015)


def drusen(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats, severity: float) -> None:
    """Soft, round, pale yellow deposits about the macula, scattered singly and running together."""
    mask = frame.mask()
    for _ in range(round(22 + 60 * severity)):
        place = _spot(rng, anatomy.macula, spread=0.17)
        mask.disc(place, float(rng.uniform(0.010, 0.020 + 0.018 * severity)), level=int(rng.uniform(95, 165)))
    colour = np.minimum(anatomy.tint * np.array([1.15, 1.75, 1.9], np.float32) + 18, np.float32(250))
    mask.cover(pixels, colour, soft=0.009)


def cataract(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats, severity: float) -> Floats:
    """The picture through a clouded lens: a veil over everything, contrast lost and fine detail smeared."""
    shape = (-(-frame.height // 4), -(-frame.width // 4))
    patches = frame.upscale(1 + 0.15 * smooth_noise(rng, shape, cells=3))[..., None]
    veil = np.array([176, 150, 112], np.float32) * np.clip(anatomy.tint / anatomy.tint.mean(), 0.75, 1.2) ** 0.5
    strength = 0.28 + 0.34 * severity + float(rng.uniform(0, 0.06))
    pixels += np.clip(strength * patches, 0, 0.9).astype(np.float32) * (veil.astype(np.float32) - pixels)
    return soften(frame, pixels, 0.002 + 0.005 * severity)


def soften(frame: Frame, pixels: Floats, radius: float) -> Floats:
    """The picture blurred over `radius` radii of the field."""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(radius * frame.radius))
    return np.asarray(blurred, np.float32)
