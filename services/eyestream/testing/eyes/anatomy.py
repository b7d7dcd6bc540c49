"""A healthy fundus: background, macula, optic disc and vessels. Knows nothing of disease or of picture faults."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eyestream.testing.eyes.canvas import Floats, Frame, Mask, Point, smooth_noise

VEIN, ARTERY = 210, 150
STEP = 0.045
"""Length of a vessel's straight pieces, in radii of the field."""
PIECE = 3
"""Steps that are drawn with one width."""
REACH = (1.9, 0.85, 0.45)
"""How far arcades, their branches and the branches of those run, in radii."""
BRANCHING, THINNEST = 0.13, 0.007
VESSEL_ABSORPTION = np.array([0.38, 0.74, 0.62], np.float32)
DISC_FROM_MACULA = 0.60


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Where things lie and what colour they have; `nasal` is +1 where the nose is to the right."""

    nasal: int
    disc: Point
    disc_radius: float
    cup_ratio: float
    macula: Point
    tint: Floats
    tessellation: float
    macula_depth: float
    vessel_contrast: float
    sheen: float


def chance_anatomy(
    rng: np.random.Generator, laterality: str, field: str, *, astray: bool = False, large_cup: float | None = None
) -> Anatomy:
    """Chance anatomy for an eye; `astray` turns the gaze so far that neither disc nor macula is well in view.

    `large_cup`, 0 to 1, is how far a large cup exceeds the normal; the other traits do not depend on it.
    """
    nasal = 1 if laterality == "R" else -1
    gap = DISC_FROM_MACULA + rng.uniform(-0.05, 0.05)
    rise = rng.uniform(-0.09, 0.03)
    shift = rng.normal(0, 0.05, 2)
    wander = rng.uniform(0, 2 * math.pi)
    centre = {"macula": (0.0, 0.0), "disc": (gap, rise), "other": (gap / 2, 0.0)}[field]
    if field == "other":
        centre = (centre[0] + 0.5 * math.cos(wander), centre[1] + 0.5 * math.sin(wander))
    if astray:
        centre = (centre[0] + rng.uniform(0.75, 1.1) * math.cos(wander), rng.uniform(0.75, 1.1) * math.sin(wander))
    macula = (float(nasal * (-centre[0] + shift[0])), float(-centre[1] + shift[1]))
    disc = (macula[0] + nasal * gap, macula[1] + rise)
    pigment = rng.uniform(0, 1)
    tint = np.array([214, 92, 38], np.float32) * (1 - pigment) + np.array([150, 62, 34], np.float32) * pigment
    camera = rng.normal(1, [0.10, 0.09, 0.16]).astype(np.float32)
    normal_cup, big_cup = rng.uniform(0.22, 0.5), rng.uniform(0.0, 0.08)
    return Anatomy(
        nasal=nasal,
        disc=disc,
        disc_radius=float(rng.uniform(0.115, 0.15)),
        cup_ratio=float(normal_cup if large_cup is None else 0.68 + 0.14 * large_cup + big_cup),
        macula=macula,
        tint=tint * camera,
        tessellation=float(rng.uniform(0, 1) ** 2),
        macula_depth=float(rng.uniform(0.18, 0.5)),
        vessel_contrast=float(rng.uniform(0.75, 1.15)),
        sheen=float(max(0.0, rng.normal(0, 0.5))),
    )


def background(rng: np.random.Generator, frame: Frame, anatomy: Anatomy) -> Floats:
    """Retina and choroid without disc and vessels, [height, width, 3], 0 to 255."""
    x, y = frame.grid()
    shape = (y.shape[0], x.shape[1])
    shade = 1 + 0.07 * smooth_noise(rng, shape, cells=3) + 0.035 * smooth_noise(rng, shape, cells=10)
    shade += 0.012 * smooth_noise(rng, shape, cells=40)
    weave = smooth_noise(rng, shape, cells=22) * smooth_noise(rng, shape, cells=7)
    shade += 0.10 * anatomy.tessellation * np.clip(weave, -1.5, 1.5)
    from_macula = (x - anatomy.macula[0]) ** 2 + (y - anatomy.macula[1]) ** 2
    from_disc = (x - anatomy.disc[0]) ** 2 + (y - anatomy.disc[1]) ** 2
    shade *= 1 - anatomy.macula_depth * (0.65 * np.exp(-from_macula / 0.05) + 0.35 * np.exp(-from_macula / 0.006))
    shade += 0.13 * np.exp(-from_disc / 0.09)
    arcade = np.exp(-(((np.sqrt(from_macula) - 0.5) / 0.14) ** 2)) * np.exp(-from_disc / 0.35)
    shade += 0.10 * anatomy.sheen * arcade
    edge = np.clip(x**2 + y**2, 0, 1.4)
    light = rng.normal(0, 0.06, 2)
    shade *= (1 - rng.uniform(0.12, 0.42) * edge**2) * (1 + light[0] * x + light[1] * y)
    green = 1 + 0.05 * smooth_noise(rng, shape, cells=5)
    layers = np.stack([np.maximum(shade, 0) ** 0.8, shade * green, shade], axis=-1)
    return frame.upscale_colours(np.asarray(layers * anatomy.tint, np.float32))


def optic_disc(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats) -> None:
    """Draw the optic disc and its cup into `pixels`."""
    rim, cup = frame.mask(), frame.mask()
    radius = anatomy.disc_radius
    squeeze, pale = rng.uniform(0.86, 1.0), rng.uniform(0.85, 1.1)
    _ellipse(rim, anatomy.disc, (radius * squeeze, radius), level=int(rng.uniform(190, 240)))
    offset = (anatomy.disc[0] - anatomy.nasal * radius * 0.08 * (1 - anatomy.cup_ratio), anatomy.disc[1])
    size = radius * anatomy.cup_ratio
    _ellipse(cup, offset, (size * squeeze * 0.95, size), level=int(rng.uniform(200, 250)))
    brightness = float(anatomy.tint[0]) / 190 * pale
    rim.cover(pixels, np.array([236, 146, 74], np.float32) * np.float32(brightness), soft=0.012)
    cup.cover(pixels, np.array([253, 226, 165], np.float32) * np.float32(brightness), soft=0.010)


def _ellipse(mask: Mask, centre: Point, radii: Point, *, level: int) -> None:
    angles = np.linspace(0, 2 * np.pi, 40)
    mask.polygon(
        [(float(centre[0] + radii[0] * np.cos(a)), float(centre[1] + radii[1] * np.sin(a))) for a in angles],
        level=level,
    )


def vessels(rng: np.random.Generator, frame: Frame, anatomy: Anatomy, pixels: Floats) -> None:
    """Draw arteries and veins into `pixels`: four arcades of each, branching and tapering away from the disc."""
    mask = frame.mask()
    calibre = rng.uniform(0.85, 1.15)
    for level, width in ((VEIN, 0.034), (ARTERY, 0.025)):
        for up in (-1, 1):
            for temporal in (True, False):
                start = rng.normal(0, 0.012, 2)
                side = -anatomy.nasal if temporal else anatomy.nasal
                lean = rng.uniform(62, 84) if temporal else rng.uniform(28, 62)
                heading = math.atan2(up * math.sin(math.radians(lean)), side * math.cos(math.radians(lean)))
                turn = -up * side * (rng.uniform(0.95, 1.3) if temporal else rng.uniform(-0.3, 0.3))
                origin = (float(anatomy.disc[0] + start[0]), float(anatomy.disc[1] + start[1]))
                thick = width * calibre * (1.0 if temporal else 0.7)
                _grow(rng, mask, origin, heading, turn=turn, width=thick, level=level, depth=0)
    mask.absorb(pixels, VESSEL_ABSORPTION * np.float32(anatomy.vessel_contrast), soft=0.004)


def _grow(
    rng: np.random.Generator,
    mask: Mask,
    origin: Point,
    heading: float,
    *,
    turn: float,
    width: float,
    level: int,
    depth: int,
) -> None:
    """Walk on from `origin`, turning by `turn` radians a radius, and put out branches on both sides."""
    steps = max(3, round(REACH[depth] * rng.uniform(0.75, 1.15) / STEP))
    along = np.arange(steps) / steps
    headings = heading + np.cumsum(turn * STEP * (1.25 - along) + rng.normal(0, 0.085, steps))
    x = origin[0] + STEP * np.cumsum(np.cos(headings))
    y = origin[1] + STEP * np.cumsum(np.sin(headings))
    beyond = np.flatnonzero(x * x + y * y > 1.3)
    if len(beyond):
        steps = int(beyond[0]) + 1
    points = [origin, *zip(x[:steps].tolist(), y[:steps].tolist(), strict=True)]
    for start in range(0, steps, PIECE):
        here = width * (1 - 0.62 * float(along[start]))
        faint = level if here > 0.012 else int(level * 0.72)
        mask.line(points[start : start + PIECE + 1], width=here, level=faint)
    if depth == len(REACH) - 1:
        return
    for step in (np.flatnonzero(rng.random(steps)[2:] < BRANCHING) + 2).tolist():
        here = width * (1 - 0.62 * float(along[step]))
        if here < THINNEST:
            return
        side = 1 if rng.random() < 0.5 else -1
        fork, bend = float(headings[step]) + side * rng.uniform(0.4, 0.9), -side * rng.uniform(0, 0.9)
        _grow(rng, mask, points[step + 1], fork, turn=bend, width=here * 0.66, level=level, depth=depth + 1)
