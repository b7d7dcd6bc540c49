from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from eyestream.decoding import Limits
from eyestream.decoding.jpeg import open_jpeg, read_frame, read_with_pillow
from eyestream.decoding.source import EIGHTHS
from eyestream.errors import Rejected
from eyestream.testing.badpictures import forge


def reason_of(value, limits=None):
    with pytest.raises(Rejected) as caught:
        open_jpeg(value, limits or Limits()).read(8)
    return caught.value.reason


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
@pytest.mark.parametrize("eighths", EIGHTHS)
def test_every_scale_of_every_kind_has_the_size_it_promises(options, eighths, photograph, saved):
    source = open_jpeg(saved(photograph[:1221, :1631], "JPEG", **options), Limits())
    assert (source.height, source.width, source.scales) == (1221, 1631, True)
    assert source.read(eighths).shape == (-(-1221 * eighths // 8), -(-1631 * eighths // 8), 3)


@pytest.mark.parametrize("eighths", EIGHTHS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pillow_stands_in_with_nearly_the_same_pixels(eighths, mode, photograph, saved):
    value = saved(Image.fromarray(photograph).convert(mode), "JPEG", quality=92)
    ours = open_jpeg(value, Limits()).read(eighths).astype(int)
    theirs = read_with_pillow(value, read_frame(value), eighths)
    assert theirs.shape == ours.shape
    assert np.abs(ours - theirs).mean() < 0.25


def test_a_grey_jpeg_stays_grey(photograph, saved):
    grey = Image.fromarray(photograph).convert("L")
    assert open_jpeg(saved(grey, "JPEG"), Limits()).read(8).shape == photograph.shape[:2]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_off_jpeg_is_never_decoded(share, progressive, photograph, saved):
    value = saved(photograph, "JPEG", progressive=progressive)
    cut = value[: int(len(value) * share)]
    assert reason_of(cut) == "truncated"
    with pytest.raises(Rejected):
        read_with_pillow(cut, read_frame(cut), 2)


def test_a_thumbnail_in_the_header_does_not_hide_that_the_picture_is_cut_off(photograph, saved):
    thumbnail = saved(Image.fromarray(photograph).resize((96, 72)), "JPEG")
    exif = b"Exif\x00\x00" + thumbnail
    value = saved(photograph, "JPEG", exif=exif)
    open_jpeg(value, Limits()).read(8)
    assert reason_of(value[: len(value) // 2]) == "truncated"
    assert reason_of(value[: len(thumbnail) // 2]) == "truncated"


def test_what_follows_the_end_is_ignored(photograph, saved):
    value = saved(photograph, "JPEG")
    with_more = open_jpeg(value + b"maker's notes" * 99, Limits()).read(1)
    assert np.array_equal(with_more, open_jpeg(value, Limits()).read(1))


def test_fill_bytes_before_a_marker_are_allowed(pattern, saved):
    value = saved(pattern, "JPEG")
    padded = value[:2] + b"\xff\xff" + value[2:]
    assert np.array_equal(open_jpeg(padded, Limits()).read(8), open_jpeg(value, Limits()).read(8))


def test_limits_are_checked_before_the_scan_is_looked_at(pattern, saved):
    value = saved(pattern, "JPEG")[:700]
    assert reason_of(value, Limits(max_pixels=1000)) == "too-many-pixels"


def test_the_memory_of_a_progressive_jpeg_counts_its_coefficients(pattern, saved):
    plain, progressive = (open_jpeg(saved(pattern, "JPEG", progressive=p), Limits()) for p in (False, True))
    assert plain.overhead == 0
    assert progressive.overhead == 2 * pattern.shape[0] * pattern.shape[1] * 3 // 2
    assert plain.memory(1) < plain.memory(8)


def test_a_baseline_jpeg_in_several_scans_counts_its_coefficients_and_its_scans():
    apart = bytearray(forge.jpeg(480, 640, scans=3))
    apart[apart.index(b"\xff\xda") + 4] = 1  # the first scan holds one component of the three
    assert open_jpeg(bytes(apart), Limits()).overhead == 2 * 480 * 640 * 3
    assert open_jpeg(forge.jpeg(480, 640), Limits()).overhead == 0
    assert reason_of(bytes(apart), Limits(max_scans=2)) == "too-many-scans"


def test_an_exif_orientation_is_read(pattern, saved):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_jpeg(saved(pattern, "JPEG", exif=exif), Limits()).orientation == 6


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00MM\x00*" + b"\xff" * 40]
)
def test_broken_exif_is_as_good_as_none(exif, pattern, saved):
    assert open_jpeg(saved(pattern, "JPEG", exif=exif), Limits()).orientation == 1
