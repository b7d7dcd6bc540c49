from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from eyestream.decoding import Limits
from eyestream.decoding.tiff import open_tiff
from eyestream.errors import Rejected
from eyestream.testing.badpictures import forge


def read(value):
    return open_tiff(value, Limits()).read(8)


def reason_of(value):
    with pytest.raises(Rejected) as caught:
        read(value)
    return caught.value.reason


def written(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_the_pixels_are_those_of_the_file(compression, mode, pattern, saved):
    picture = Image.fromarray(pattern).convert(mode)
    expected = np.asarray(picture.convert("RGB") if mode == "RGBA" else picture)
    assert np.array_equal(read(saved(picture, "TIFF", compression=compression)), expected)


@pytest.mark.parametrize(
    "options", [{"byteorder": ">"}, {"tile": (32, 48)}, {"rowsperstrip": 7}, {"byteorder": ">", "rowsperstrip": 50}]
)
def test_strips_tiles_and_both_byte_orders_are_read(options, pattern):
    assert np.array_equal(read(written(pattern, photometric="rgb", **options)), pattern)


def test_white_as_zero_is_turned_round(pattern):
    grey = np.ascontiguousarray(pattern[..., 0])
    assert np.array_equal(read(written(grey, photometric="miniswhite")), 255 - grey)


def test_palette_colour_becomes_rgb(pattern, saved):
    picture = Image.fromarray(pattern).quantize(64)
    assert np.array_equal(read(saved(picture, "TIFF")), np.asarray(picture.convert("RGB")))


def test_its_orientation_is_read_and_not_applied_twice(pattern, saved):
    value = saved(pattern, "TIFF", tiffinfo={274: 6})
    source = open_tiff(value, Limits())
    assert source.orientation == 6
    assert np.array_equal(source.read(8), pattern)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_cut_off_tiff_is_never_decoded(compression, pattern, saved):
    value = saved(pattern, "TIFF", compression=compression)
    assert {reason_of(value[:cut]) for cut in (9, len(value) // 2, len(value) - 1)} <= {"truncated", "damaged"}


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_strip_that_ends_early_is_never_decoded(compression, pattern, saved):
    value = saved(pattern, "TIFF", compression=compression)
    with Image.open(io.BytesIO(value)) as picture:
        (at, *_), (length, *_) = picture.tag_v2[273], picture.tag_v2[279]
    assert reason_of(value.replace(struct.pack("<I", length), struct.pack("<I", length // 2))) in {
        "truncated",
        "damaged",
    }
    assert at + length <= len(value)


def test_several_pages_are_refused(pattern, saved):
    page = Image.fromarray(pattern)
    assert reason_of(saved(page, "TIFF", save_all=True, append_images=[page])) == "too-many-frames"


@pytest.mark.parametrize(
    "tags",
    [
        {262: 3, 320: [70_000] * 768},
        {320: [0] * 767 + [65_536]},
        {259: [1, 70_000]},
        {262: [1, 70_000]},
        {277: [1, 70_000]},
        {317: [1, 70_000]},
    ],
)
def test_a_number_that_its_tag_cannot_hold_is_damage_and_no_fault_of_ours(tags):
    assert reason_of(forge.tiff(64, 64, bytes(64 * 64), tags=tags)) == "damaged"


@pytest.mark.parametrize("tag", [256, 258, 279, 320, 322, 325])
def test_a_number_below_nothing_is_damage_and_no_fault_of_ours(tag):
    """As a signed integer, which a directory may hold and none of these tags means."""
    value = forge.tiff(64, 64, bytes(64 * 64), tags={322: 64, 325: 1, 320: 1})
    unsigned = struct.pack("<HHI", tag, 4, 1)
    assert value.count(unsigned) == 1
    at = value.index(unsigned)
    signed = value[:at] + struct.pack("<HHIi", tag, 9, 1, -1) + value[at + 12 :]
    assert reason_of(signed) == "damaged"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: 8}, "unsupported-tiff"),
        ({262: 5}, "cmyk"),
        ({258: 16}, "bit-depth"),
        ({258: [8, 16], 277: 2, 338: 2}, "bit-depth"),
        ({277: 2}, "damaged"),
        ({262: 2}, "damaged"),
        ({258: [8, 8]}, "damaged"),
        ({258: [8, 8], 277: 2, 338: 0}, "unsupported-tiff"),
        ({278: 0}, "damaged"),
        ({278: 32}, "damaged"),
        ({273: [8, 8]}, "damaged"),
        ({273: 7}, "truncated"),
        ({273: 4096}, "truncated"),
        ({279: 64 * 64 - 1}, "truncated"),
        ({322: 0, 323: 64, 324: 8, 325: 4096}, "damaged"),
        ({322: 64, 323: 0, 324: 8, 325: 4096}, "damaged"),
        ({322: 321, 323: 64, 324: 8, 325: 4096}, "damaged"),
        ({322: 64, 323: 321, 324: 8, 325: 4096}, "damaged"),
        ({322: 64, 323: 64, 324: 8, 325: 4095}, "truncated"),
    ],
)
def test_a_directory_that_does_not_describe_its_samples_is_refused_by_what_is_wrong(tags, reason):
    assert reason_of(forge.tiff(64, 64, bytes(64 * 64), tags=tags)) == reason


@pytest.mark.parametrize("tags", [{}, {278: 2**32 - 1}, {278: 64, 258: [8]}, {322: 64, 323: 64, 324: 8, 325: 4096}])
def test_a_directory_that_describes_its_samples_is_read(tags):
    grey = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    assert np.array_equal(read(forge.tiff(64, 64, grey.tobytes(), tags=tags)), grey)


@pytest.mark.parametrize("colours", [1, 3, 767, 769])
def test_a_palette_that_lacks_colours_is_refused(colours):
    assert reason_of(forge.tiff(64, 64, bytes(64 * 64), tags={262: 3, 320: [9] * colours})) == "damaged"
    assert reason_of(forge.tiff(64, 64, bytes(64 * 64), tags={262: 3})) == "damaged"


@pytest.mark.parametrize("tags", [{266: 2}, {284: 2}, {339: 2}, {339: 3}, {317: 3}])
def test_samples_in_a_rare_layout_are_refused_and_never_read_as_if_in_the_usual_one(tags):
    assert reason_of(forge.tiff(64, 64, bytes(64 * 64), tags=tags)) == "unsupported-tiff"


def test_thousands_of_tags_that_each_claim_the_whole_file_cost_nothing():
    grey = bytes(64 * 64)
    lies = {40000 + number: [1] * 1000 for number in range(500)}
    assert read(forge.tiff(64, 64, grey, tags=lies)).shape == (64, 64)


def test_two_samples_in_planes_are_refused(pattern):
    assert (
        reason_of(written(np.moveaxis(pattern, 2, 0), photometric="rgb", planarconfig="separate")) == "unsupported-tiff"
    )
