from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.decoding.resampling import stretched_hsv
from eyestream.errors import Rejected
from eyestream.testing.eyes import Eye, render

BICUBIC = Image.Resampling.BICUBIC


def to_input(value, *, size=(224, 224), orientation=1, content_type=None, **steps):
    return decode(
        value,
        preprocessing=Preprocessing(**steps),
        height=size[0],
        width=size[1],
        limits=Limits(),
        orientation=orientation,
        content_type=content_type,
    )


def in_full(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), BICUBIC))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(224, 224), (512, 512), (300, 400)])
def test_every_kind_gives_the_encoders_input(kind, size, photograph, saved):
    pixels = to_input(saved(photograph, kind), size=size)
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert pixels.flags.owndata


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [224, 256, 512])
@pytest.mark.parametrize("quality", [80, 95])
def test_a_scaled_decode_is_within_half_a_level_of_the_full_one(seed, size, quality, saved):
    value = saved(render(Eye(findings=frozenset({"exudates"})), seed, (1536, 2048)), "JPEG", quality=quality)
    full = np.asarray(Image.open(io.BytesIO(value)).resize((size, size), BICUBIC))
    difference = np.abs(to_input(value, size=(size, size)).astype(int) - full)
    assert difference.mean() < 0.6
    assert np.percentile(difference, 99.9) <= 8


def test_a_picture_that_needs_no_change_comes_through_untouched(pattern, saved):
    assert np.array_equal(to_input(saved(pattern, "PNG"), size=(96, 160)), pattern)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "steps", [{}, {"crop": "field-of-view"}, {"shape": "shortest-side-crop"}, {"antialias": False}]
)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_gives_the_upright_picture(orientation, steps, kind, photograph, saved):
    upright = in_full(photograph, (612, 816))
    options = {"quality": 97} if kind == "JPEG" else {}
    expected = to_input(saved(upright, kind, **options), **steps).astype(int)
    turned = saved(_as_a_camera_stores_it(upright, orientation), kind, **options)
    out = to_input(turned, orientation=orientation, **steps)
    assert np.abs(out - expected).mean() < (0.8 if steps.get("antialias", True) else 1.5)
    assert np.abs(out[:, ::-1] - expected).mean() > 3


def _as_a_camera_stores_it(upright, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    return np.asarray(Image.fromarray(upright).transpose(Image.Transpose(undo[orientation])))


def test_the_files_own_orientation_counts_only_when_the_device_gives_none(pattern, saved):
    exif = Image.Exif()
    exif[0x0112] = 3
    value = saved(pattern, "PNG", exif=exif)
    assert np.array_equal(to_input(value, size=(96, 160)), pattern[::-1, ::-1])
    assert np.array_equal(to_input(value, size=(96, 160), orientation=2), pattern[:, ::-1])


@pytest.mark.parametrize(
    "steps", [{}, {"crop": "field-of-view"}, {"shape": "pad-square"}, {"shape": "longest-side-pad"}]
)
def test_a_right_eye_stays_a_right_eye(steps, saved):
    right = render(Eye(laterality="R", field="macula"), 3, (600, 800))
    out = to_input(saved(right, "JPEG"), size=(300, 400), **steps).astype(int)
    small = in_full(right, (300, 400)).astype(int)
    assert np.abs(out - small).mean() < np.abs(out[:, ::-1] - small).mean()


def test_the_field_of_view_is_cut_out_at_a_scale_that_still_covers_the_input(saved):
    far = np.zeros((2000, 3000, 3), np.uint8)
    far[500:1400, 1200:2100] = render(Eye(), 5, (900, 900))
    value = saved(far, "JPEG", quality=95)
    out = to_input(value, size=(512, 512), crop="field-of-view").astype(int)
    sharp = to_input(saved(far, "PNG"), size=(512, 512), crop="field-of-view")
    assert np.abs(out - sharp).mean() < 2
    assert out[256, 4:20].sum() > 0


def test_grey_pictures_have_three_equal_channels(photograph, saved):
    grey = Image.fromarray(photograph).convert("L")
    out = to_input(saved(grey, "JPEG"))
    assert np.array_equal(out[..., 0], out[..., 1])
    assert np.array_equal(out[..., 1], out[..., 2])


def test_colour_can_be_taken_as_grey(pattern, saved):
    out = to_input(saved(pattern, "PNG"), size=(96, 160), colour="grey")
    assert np.array_equal(out[..., 0], np.asarray(Image.fromarray(pattern).convert("L")))
    assert np.array_equal(out[..., 0], out[..., 2])


def test_padding_has_the_colour_that_was_asked_for(pattern, saved):
    out = to_input(saved(pattern, "PNG"), size=(160, 160), shape="longest-side-pad", fill=(9, 8, 7))
    assert np.array_equal(out[:96], pattern)
    assert (out[96:] == (9, 8, 7)).all()


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_flat_picture_is_no_error(level, saved):
    out = to_input(saved(np.full((300, 400, 3), level, np.uint8), "JPEG"), crop="field-of-view")
    assert np.abs(out.astype(int) - level).max() <= 1


def test_a_content_type_must_be_true(pattern, saved):
    value = saved(pattern, "PNG")
    to_input(value, content_type="image/png")
    to_input(value, content_type="Image/PNG; charset=binary")
    to_input(value, content_type="application/octet-stream")
    with pytest.raises(Rejected) as caught:
        to_input(value, content_type="image/jpeg")
    assert caught.value.reason == "content-type-mismatch"


def test_many_threads_get_what_one_gets(saved):
    values = [saved(render(Eye(), seed, (480, 640)), kind) for seed in range(2) for kind in ("JPEG", "PNG", "TIFF")]
    alone = [to_input(value, crop="field-of-view") for value in values]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda value: to_input(value, crop="field-of-view"), values * 5))
    assert all(np.array_equal(out, alone[number % len(values)]) for number, out in enumerate(together))


def test_importing_it_loads_no_optional_decoder():
    code = (
        "import sys, eyestream.decoding; print({'simplejpeg', 'cv2', 'openjpeg', 'libjpeg'}.intersection(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_colours_are_stretched_over_the_whole_picture_before_it_is_cut_and_resized():
    eye = render(Eye(), 1, (300, 300))
    buffer = io.BytesIO()
    Image.fromarray(eye).save(buffer, "PNG")
    out = to_input(buffer.getvalue(), size=(64, 64), shape="shortest-side-crop", colour="stretched-hsv")
    expected = Image.fromarray(stretched_hsv(eye)).resize((64, 64), BICUBIC)
    assert np.array_equal(out, np.asarray(expected))


def test_a_jpeg_is_read_at_full_size_where_its_colours_are_stretched():
    eye = render(Eye(), 1)
    buffer = io.BytesIO()
    Image.fromarray(eye).save(buffer, "JPEG", quality=95)
    out = to_input(buffer.getvalue(), size=(64, 64), colour="stretched-hsv")
    whole = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
    expected = np.asarray(Image.fromarray(stretched_hsv(whole)).resize((64, 64), BICUBIC)).astype(int)
    assert np.abs(out[..., 2].astype(int) - expected[..., 2]).max() <= 3


def test_a_picture_too_large_to_change_its_colours_is_refused():
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(buffer, "PNG")
    small = Limits(max_memory=14_000_000)
    steps = {"height": 64, "width": 64, "limits": small}
    decode(buffer.getvalue(), preprocessing=Preprocessing(), **steps)
    with pytest.raises(Rejected, match="export it smaller"):
        decode(buffer.getvalue(), preprocessing=Preprocessing(colour="stretched-hsv"), **steps)
