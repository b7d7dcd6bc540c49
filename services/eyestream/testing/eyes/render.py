"""From the description of an eye to the pixels a fundus camera would give. Knows nothing of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from eyestream.records import Pixels
from eyestream.testing.eyes import lesions
from eyestream.testing.eyes.anatomy import background, chance_anatomy, optic_disc, vessels
from eyestream.testing.eyes.canvas import Floats, Frame
from eyestream.testing.eyes.eye import FINDINGS, Eye
from eyestream.testing.eyes.others import not_an_eye

LARGEST_DRAWN = 768
"""Longer sides are drawn at this many pixels and enlarged: a camera's optics resolve no more of a rendered eye."""

UNDER_VESSELS = {"drusen": lesions.drusen}
OVER_VESSELS = {
    "microaneurysms": lesions.microaneurysms,
    "haemorrhages": lesions.haemorrhages,
    "exudates": lesions.exudates,
}


def _stream(seed: int, purpose: str) -> np.random.Generator:
    """Chance of its own for each purpose, so that one more finding leaves the rest of the eye as it was."""
    return np.random.default_rng((seed, *purpose.encode()))


def render(eye: Eye, seed: int, size: tuple[int, int] = (512, 512)) -> Pixels:
    """A photograph of `eye`, uint8 [height, width, 3], RGB; `size` is (height, width), each at least 32.

    The same arguments give the same pixels. `seed`, zero or more, chooses everything the description leaves open:
    camera, pigment, vessels, where lesions lie. Eyes that differ in one finding but share the seed differ only there.
    """
    height, width = size
    scale = min(1.0, LARGEST_DRAWN / max(size))
    drawn = (max(32, round(height * scale)), max(32, round(width * scale)))
    if eye.quality == "not-an-eye":
        pixels, inside = not_an_eye(_stream(seed, "not-an-eye"), drawn), None
    else:
        frame = _frame(_stream(seed, "frame"), drawn)
        pixels = _fundus(eye, seed, frame)
        pixels = _spoil(eye, _stream(seed, "quality"), frame, pixels)
        inside = _field_of_view(_stream(seed, "camera"), frame)
    return _expose(_stream(seed, "sensor"), pixels, inside, size)


def save_jpeg(pixels: Pixels, path: Path, quality: int = 90) -> None:
    """Write `pixels` as a JPEG file of the given `quality`, 1 to 95."""
    Image.fromarray(pixels).save(path, "JPEG", quality=quality)


def _frame(rng: np.random.Generator, shape: tuple[int, int]) -> Frame:
    """Where the field of view lies: wholly inside, or cut at top and bottom where the picture is wide."""
    height, width = shape
    whole = min(height, width) * rng.uniform(0.44, 0.497)
    cut = min(width * rng.uniform(0.45, 0.495), height * rng.uniform(0.52, 0.66))
    radius = cut if rng.random() < 0.5 and width >= height else whole
    jitter = rng.normal(0, 0.006, 2) * min(shape)
    return Frame(height, width, width / 2 + float(jitter[0]), height / 2 + float(jitter[1]), float(radius))


def _fundus(eye: Eye, seed: int, frame: Frame) -> Floats:
    cup = eye.severity if "large-cup" in eye.findings else None
    anatomy = chance_anatomy(
        _stream(seed, "anatomy"), eye.laterality, eye.field, astray=eye.quality == "off-centre", large_cup=cup
    )
    pixels = background(_stream(seed, "background"), frame, anatomy)
    optic_disc(_stream(seed, "disc"), frame, anatomy, pixels)
    present = [name for name in FINDINGS if name in eye.findings]
    for name in present:
        if draw := UNDER_VESSELS.get(name):
            draw(_stream(seed, name), frame, anatomy, pixels, eye.severity)
    vessels(_stream(seed, "vessels"), frame, anatomy, pixels)
    for name in present:
        if draw := OVER_VESSELS.get(name):
            draw(_stream(seed, name), frame, anatomy, pixels, eye.severity)
    if "cataract" in eye.findings:
        pixels = lesions.cataract(_stream(seed, "cataract"), frame, anatomy, pixels, eye.severity)
    return pixels


def _spoil(eye: Eye, rng: np.random.Generator, frame: Frame, pixels: Floats) -> Floats:
    """What a bad exposure does to the picture; a good one is left as it is."""
    if eye.quality == "blur":
        return lesions.soften(frame, pixels, 0.022 + 0.05 * eye.severity + float(rng.uniform(0, 0.01)))
    if eye.quality == "dark":
        return pixels * np.float32(0.30 - 0.20 * eye.severity + float(rng.uniform(0, 0.04)))
    if eye.quality == "off-centre":
        x, y = frame.grid()
        angle, reach = rng.uniform(0, 2 * np.pi), 0.55 - 0.6 * eye.severity
        depth = (x * np.cos(angle) + y * np.sin(angle) - reach) / 0.25
        shadow = frame.upscale(np.asarray(1 / (1 + np.exp(-4 * depth)), np.float32))[..., None]
        flare = rng.uniform(0.2, 1.0)
        return pixels + shadow * (np.array([190, 150, 120], np.float32) * np.float32(flare) - pixels)
    return pixels


def _field_of_view(rng: np.random.Generator, frame: Frame) -> Floats:
    """1 inside the field of view, 0 in the black surround; some cameras add a notch, some cut top and bottom."""
    mask = frame.mask()
    mask.disc((0, 0), 1.0, level=255)
    if rng.random() < 0.25:
        angle = rng.uniform(0, 2 * np.pi)
        mask.disc((float(np.cos(angle)), float(np.sin(angle))), 0.045, level=255)
    inside = mask.alpha()
    if rng.random() < 0.25:
        band = float(rng.uniform(0.72, 0.95)) * frame.radius
        rows = np.arange(frame.height, dtype=np.float32) - frame.cy
        inside = inside * (np.abs(rows) <= band).astype(np.float32)[:, None, None]
    return inside


def _expose(rng: np.random.Generator, pixels: Floats, inside: Floats | None, size: tuple[int, int]) -> Pixels:
    """Enlarge to `size`, add the sensor's noise and black out what lies outside the field of view."""
    height, width = size
    if inside is not None:
        pixels = pixels * inside
    picture = np.clip(pixels, 0, 255).astype(np.uint8)
    if picture.shape[:2] != size:
        picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    strength = rng.uniform(0.8, 4.0)
    grain = np.round(rng.standard_normal((128, 131, 3), dtype=np.float32) * np.float32(strength)).astype(np.int16)
    repeats = (-(-height // 128), -(-width // 131), 1)
    noise = np.tile(grain, repeats)[:height, :width]
    noise += picture
    return np.clip(noise, 0, 255, out=noise).astype(np.uint8)
