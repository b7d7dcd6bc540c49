from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from eyestream.decoding.geometry import Box
from eyestream.decoding.resampling import luma, resample, stretched_hsv


def whole(pixels):
    return Box(0, 0, *pixels.shape[:2])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
def test_with_antialias_it_is_pillows_resize(interpolation, pattern):
    expected = Image.fromarray(pattern).resize((50, 40), Image.Resampling[interpolation.upper()])
    out = resample(pattern, whole(pattern), (40, 50), interpolation=interpolation, antialias=True)
    assert np.array_equal(out, np.asarray(expected))


def test_area_is_the_mean_of_whole_blocks(pattern):
    out = resample(pattern, whole(pattern), (48, 80), interpolation="area", antialias=True)
    means = pattern.reshape(48, 2, 80, 2, 3).mean(axis=(1, 3))
    assert np.abs(out - means).max() <= 1  # each of its two passes rounds


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(40, 50), (48, 80), (200, 300)])
def test_without_antialias_it_samples_as_opencv_and_torch_do(interpolation, size, pattern):
    kernel = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}[interpolation]
    expected = cv2.resize(pattern.astype(np.float32), (size[1], size[0]), interpolation=kernel)
    out = resample(pattern, whole(pattern), size, interpolation=interpolation, antialias=False)
    assert np.abs(out - np.clip(expected, 0, 255)).max() <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_without_antialias_hard_edges_are_sampled_as_well_up_to_the_border(interpolation):
    noise = np.random.default_rng(8).choice([0, 255], (12, 16)).astype(np.uint8)
    kernel = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}[interpolation]
    expected = np.clip(cv2.resize(noise.astype(np.float32), (80, 60), interpolation=kernel), 0, 255)
    out = resample(noise, whole(noise), (60, 80), interpolation=interpolation, antialias=False)
    assert np.abs(out - expected).max() <= 1
    assert (out.min(), out.max()) == (0, 255)


def test_without_antialias_a_box_is_widened_to_whole_pixels(pattern):
    boxed = resample(pattern, Box(10.6, 20.2, 69.1, 139.3), (60, 120), interpolation="bilinear", antialias=False)
    assert np.array_equal(boxed, pattern[10:70, 20:140])


@pytest.mark.parametrize("antialias", [True, False])
def test_a_box_of_whole_pixels_sees_what_cutting_first_sees(antialias, pattern):
    inside = pattern[10:70, 20:140]
    cut = resample(inside, whole(inside), (60, 120), interpolation="bilinear", antialias=antialias)
    boxed = resample(pattern, Box(10, 20, 70, 140), (60, 120), interpolation="bilinear", antialias=antialias)
    assert np.array_equal(boxed, cut)


def test_grey_stays_two_dimensional(pattern):
    grey = pattern[:, :, 0]
    assert resample(grey, whole(grey), (30, 40), interpolation="bicubic", antialias=True).shape == (30, 40)
    assert resample(grey, whole(grey), (30, 40), interpolation="bicubic", antialias=False).shape == (30, 40)


def test_luma_weighs_green_most():
    assert luma(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [[76, 150, 29]]


def test_a_stretched_channel_starts_at_one_and_wraps_where_it_was_full():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = 255
    hsv = stretched_hsv(pixels)
    assert np.array_equal(hsv[..., 2], np.where(pixels[..., 0] == 255, 0, 1))


def test_hue_is_that_of_the_picture_after_its_contrast_was_raised_and_its_channels_were_stretched(pattern):
    mean = int(np.asarray(Image.fromarray(pattern).convert("L")).mean() + 0.5)
    raised = np.clip(mean + 1.3 * (pattern.astype(np.float64) - mean), 0, 255).astype(np.uint8).astype(int)
    stretched = (raised - raised.min((0, 1)) + 1) % 256
    red, green, blue = np.moveaxis(stretched, -1, 0)
    top, low = stretched.max(-1), stretched.min(-1)
    value = stretched_hsv(pattern)[..., 2].astype(int)
    assert np.abs(value - top).max() <= 1
    saturation = stretched_hsv(pattern)[..., 1].astype(int)
    shown = (top > 60) & ((red - blue != 0) | (green - blue != 0))
    assert np.abs(saturation - 255 * (top - low) / np.maximum(top, 1))[shown].max() <= 6


def test_a_grey_picture_has_no_saturation_when_stretched(pattern):
    hsv = stretched_hsv(luma(pattern))
    assert hsv.shape == (*pattern.shape[:2], 3)
    assert hsv[..., 1].max() == 0
