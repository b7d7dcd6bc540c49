from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from eyestream.decoding.field_of_view import find_field
from eyestream.decoding.geometry import WHOLE
from eyestream.testing.eyes import Eye, render


def disc(height, width, radius, *, inside=(180, 80, 40), outside=(0, 0, 0), noise=2.0, centre=None):
    """A field of view and its true box; some noise, as a sensor has."""
    y0, x0 = centre or (height / 2, width / 2)
    y, x = np.mgrid[:height, :width] + 0.5
    mask = (y - y0) ** 2 + (x - x0) ** 2 <= radius**2
    pixels = np.where(mask[..., None], inside, outside) + np.random.default_rng(2).normal(0, noise, (height, width, 3))
    box = (max(0, y0 - radius), max(0, x0 - radius), min(height, y0 + radius), min(width, x0 + radius))
    return np.clip(pixels, 0, 255).astype(np.uint8), box


def assert_found(pixels, box, *, within=0.012):
    height, width = pixels.shape[:2]
    found = find_field(pixels).scaled(height, width)
    assert np.abs(np.array(found) - box).max() <= within * max(height, width)


def test_a_round_field_is_found():
    assert_found(*disc(600, 800, 250))


def test_a_field_beside_the_middle_is_found():
    assert_found(*disc(600, 800, 180, centre=(250, 560)))


def test_a_field_cut_at_top_and_bottom_is_found():
    assert_found(*disc(600, 900, 360))


@pytest.mark.parametrize("brightness", [12, 20, 40])
def test_a_dark_field_is_found(brightness):
    assert_found(*disc(600, 800, 250, inside=(brightness, brightness // 2, brightness // 4), noise=1.0))


@pytest.mark.parametrize("outside", [(255, 255, 255), (20, 30, 90), (60, 60, 60)])
def test_the_border_may_have_any_colour(outside):
    assert_found(*disc(600, 800, 250, outside=outside))


def test_text_and_a_logo_in_the_corners_are_no_field():
    pixels, box = disc(900, 1200, 400)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    draw.text((10, 10), "2026-05-04 OD\nSite 7", fill=(255, 255, 255), font_size=28)
    draw.rectangle((1130, 850, 1190, 890), fill=(255, 200, 0))
    assert_found(np.asarray(picture), box)


def test_a_thin_frame_around_the_picture_is_no_field():
    pixels, box = disc(900, 1200, 400)
    pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:] = 255, 255, 255, 255
    assert_found(pixels, box)


def test_a_grey_picture_is_looked_at_as_well():
    pixels, box = disc(600, 800, 250)
    assert_found(np.ascontiguousarray(pixels[..., 0]), box)


def test_a_large_picture_is_found_as_well_as_a_small_one():
    assert_found(*disc(2000, 3000, 900), within=0.006)


@pytest.mark.parametrize("seed", range(6))
def test_rendered_eyes_keep_all_of_their_light(seed):
    pixels = render(Eye(), seed, (480, 640))
    top, left, bottom, right = find_field(pixels).scaled(480, 640)
    light = pixels.astype(int).sum()
    inside = pixels[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))].astype(int).sum()
    assert inside >= 0.985 * light
    assert (bottom - top) * (right - left) < 480 * 640


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_flat_picture_is_taken_whole(level):
    assert find_field(np.full((300, 400, 3), level, np.uint8)) == WHOLE


def test_a_picture_without_a_border_is_taken_whole():
    pixels = np.random.default_rng(4).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    filled = np.asarray(Image.fromarray(pixels).resize((800, 600), Image.Resampling.BICUBIC))
    assert find_field(filled) == WHOLE


def test_a_speck_is_not_believed_to_be_the_field():
    assert find_field(disc(600, 800, 40, noise=0.0)[0]) == WHOLE
