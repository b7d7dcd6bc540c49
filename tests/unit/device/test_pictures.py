"""Files as cameras write them: pixels survive to the last bit, names never do, broken files are refused."""

from __future__ import annotations

import datetime as dt
import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eyestream.device import pictures
from eyestream.errors import Rejected


@pytest.fixture
def read(key):
    return lambda data: pictures.read(data, key, namespace="north")


@pytest.fixture
def reason(read):
    def of(data):
        with pytest.raises(Rejected) as caught:
            read(data)
        assert caught.value.stage == "device"
        return caught.value.reason

    return of


def pixels(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))


def names_in(data, names):
    return [name for name in names if name.lower() in data.lower()]


@pytest.mark.parametrize("kind", ["jpeg_of", "png_of", "tiff_of", "dicom_of", "jpeg_dicom"])
def test_no_planted_name_is_in_what_is_sent(request, read, names, kind, caplog):
    data = request.getfixturevalue(kind)()
    assert len(names_in(data, names)) >= 3, "the test plants nothing"
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (frame,) = read(data)
    assert names_in(frame.data, names) == []
    assert names_in(repr(frame).encode(), names) == []
    assert names_in(caplog.text.encode(), names) == []


@pytest.mark.parametrize("kind", ["jpeg_of", "png_of", "tiff_of", "dicom_of", "jpeg_dicom"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12), cut=st.floats(0, 1)
)
def test_damaged_files_are_read_or_refused_and_name_nobody(request, read, names, kind, damage, cut):
    data = bytearray(request.getfixturevalue(kind)())
    for place, value in damage:
        data[int(place * len(data))] = value
    if cut < 0.5:
        del data[int(cut * 2 * len(data)) :]
    said = b""
    try:
        assert read(bytes(data))
    except Rejected as rejection:
        said = f"{rejection!r} {rejection.reason} {rejection.__cause__!r}".encode()
    assert names_in(said, names) == []


def test_a_jpegs_pixels_are_copied_not_encoded_anew(read, jpeg_of):
    data = jpeg_of(1)
    (frame,) = read(data)
    scan = data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9") + 2]
    assert frame.data.endswith(scan)
    assert frame.content_type == "image/jpeg"
    assert np.array_equal(pixels(frame.data), pixels(data))


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_every_kind_of_jpeg_decodes_as_before(read, jpeg_of, options):
    data = jpeg_of(2, **options)
    assert np.array_equal(pixels(read(data)[0].data), pixels(data))


def test_a_cmyk_jpeg_keeps_the_marker_that_tells_its_colours(read, eye):
    out = io.BytesIO()
    Image.fromarray(eye(3)).convert("CMYK").save(out, "JPEG")
    assert np.array_equal(pixels(read(out.getvalue())[0].data), pixels(out.getvalue()))


def test_orientation_and_time_are_taken_out_of_exif(read, jpeg_of):
    (frame,) = read(jpeg_of(orientation=6))
    assert frame.orientation == 6
    assert frame.captured_at == dt.datetime(2024, 3, 1, 8, 20, 30, tzinfo=dt.UTC)
    assert "orientation" not in frame.data.decode("latin-1").lower()


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "yesterday", ""])
def test_a_time_that_is_none_is_not_believed(read, jpeg_of, taken):
    assert read(jpeg_of(taken=taken))[0].captured_at is None


def test_an_icc_profile_stays_as_it_tells_colours(read, eye):
    profile = b"\0" * 36 + b"acsp" + b"\0" * 88
    out = io.BytesIO()
    Image.fromarray(eye()).save(out, "JPEG", icc_profile=profile)
    with Image.open(io.BytesIO(read(out.getvalue())[0].data)) as image:
        assert image.info["icc_profile"] == profile


def test_a_pngs_pixels_are_copied(read, png_of):
    data = png_of(4)
    (frame,) = read(data)
    assert np.array_equal(pixels(frame.data), pixels(data))
    assert (frame.content_type, frame.orientation) == ("image/png", 8)


def test_of_an_animation_the_first_picture_stays(read, eye):
    out = io.BytesIO()
    Image.fromarray(eye(5)).save(out, "PNG", save_all=True, append_images=[Image.fromarray(eye(6))])
    (frame,) = read(out.getvalue())
    assert np.array_equal(pixels(frame.data), eye(5))
    assert b"fdAT" not in frame.data


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiffs_pixels_are_copied(read, tiff_of, compression):
    data = tiff_of(7, compression=compression)
    (frame,) = read(data)
    with Image.open(io.BytesIO(data)) as before:
        before.getexif()[274] = 1
        expected = np.asarray(before.convert("RGB"))
    assert frame.orientation == 3
    assert frame.content_type == "image/tiff"
    assert np.array_equal(np.rot90(pixels(frame.data), 2), expected) or np.array_equal(pixels(frame.data), expected)


def test_each_page_of_a_tiff_is_a_picture(read, tiff_of, eye):
    frames = read(tiff_of(8, 9, 10))
    assert [frame.index for frame in frames] == [0, 1, 2]
    for frame, seed in zip(frames, (8, 9, 10), strict=True):
        assert np.array_equal(pixels(frame.data), eye(seed))


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}, {"compression": "zlib"}]
)
def test_every_layout_of_tiff_is_read(read, eye, options):
    out = io.BytesIO()
    tifffile.imwrite(out, eye(11), photometric="rgb", description="Annika Lindqvist", **options)
    (frame,) = read(out.getvalue())
    assert np.array_equal(tifffile.imread(io.BytesIO(frame.data)), eye(11))
    assert b"Annika" not in frame.data


def test_sixteen_bits_stay_sixteen(read):
    deep = np.random.default_rng(12).integers(0, 65535, (20, 30, 3), dtype=np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, deep, photometric="rgb")
    assert np.array_equal(tifffile.imread(io.BytesIO(read(out.getvalue())[0].data)), deep)


def test_what_a_file_is_called_does_not_matter_only_what_it_holds(read, png_of, jpeg_of):
    assert read(png_of())[0].content_type == "image/png"
    assert read(jpeg_of())[0].content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not-a-picture"),
        (b"%PDF-1.7 Annika", "not-a-picture"),
        (b"GIF89a", "not-a-picture"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "no-pixels"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "broken-tiff"),
        (b"II*\0\xff\xff\xff\x7f", "broken-tiff"),
        (b"\0" * 128 + b"DICM", "no-pixels"),
    ],
)
def test_what_is_no_picture_is_refused(reason, data, expected):
    assert reason(data) == expected


@pytest.mark.parametrize("kind", ["jpeg_of", "png_of"])
def test_a_picture_cut_anywhere_is_refused(request, reason, kind):
    data = request.getfixturevalue(kind)()
    end = data.rindex(b"\xff\xd9") + 2 if kind == "jpeg_of" else data.rindex(b"IEND") + 8
    for cut in range(8, end, 97):
        assert reason(data[:cut]) in {"truncated", "broken-jpeg", "not-a-picture"}


def test_a_png_with_a_flipped_bit_is_refused(reason, png_of):
    data = bytearray(png_of())
    data[data.index(b"IDAT") + 20] ^= 1
    assert reason(bytes(data)) == "broken-png"


def test_a_png_bomb_is_refused_before_it_is_unpacked(reason, png_of):
    data = bytearray(png_of())
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + bytes(data[24:29])
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    assert reason(bytes(data)) == "too-many-pixels"


def test_a_tiff_whose_pages_go_in_circles_is_refused(reason, tiff_of):
    data = bytearray(tiff_of(1))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert reason(bytes(data)) == "too-many-frames"


def test_a_tiff_of_an_unknown_compression_is_refused(reason, eye):
    out = io.BytesIO()
    Image.fromarray(eye()).convert("1").save(out, "TIFF", compression="group4")
    assert reason(out.getvalue()) == "compression-not-supported"
