from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyestream.decoding import Preprocessing
from eyestream.decoding.geometry import Layout, lay_out, place, upright, upright_size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_turns_as_pillow_does(orientation, pattern):
    picture = Image.fromarray(pattern)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(upright(pattern, orientation), expected)
    assert upright_size(pattern.shape[:2], orientation) == expected.shape[:2]


def test_squash_fills_the_input():
    assert lay_out((100, 300), (224, 224), Preprocessing()) == Layout((224, 224), 0, 0)


def test_the_shorter_side_is_resized_and_the_middle_cut_out_as_torchvision_does():
    retfound = Preprocessing(shape="shortest-side-crop", crop_ratio=0.875)
    assert lay_out((1200, 900), (224, 224), retfound) == Layout((341, 256), -58, -16)
    assert lay_out((900, 1200), (224, 224), retfound) == Layout((256, 341), -16, -58)


def test_the_longer_side_is_fitted_and_the_rest_truncated_as_flair_does():
    flair = Preprocessing(shape="longest-side-pad")
    assert lay_out((1200, 900), (512, 512), flair) == Layout((512, 384), 0, 0)
    assert lay_out((2336, 3504), (512, 512), flair) == Layout((341, 512), 0, 0)
    assert lay_out((700, 700), (512, 512), flair) == Layout((512, 512), 0, 0)


def test_a_padded_picture_lies_in_the_middle():
    assert lay_out((100, 200), (224, 224), Preprocessing(shape="pad-square")) == Layout((112, 224), 56, 0)


@pytest.mark.parametrize("shape", ["squash", "shortest-side-crop", "longest-side-pad", "pad-square"])
@pytest.mark.parametrize("size", [(32, 20000), (20000, 32), (33, 33), (224, 224), (225, 223)])
@pytest.mark.parametrize("into", [(224, 224), (512, 384)])
def test_every_layout_gives_the_input_size(shape, size, into):
    layout = lay_out(size, into, Preprocessing(shape=shape))
    resized = np.full((*layout.resized, 3), 9, np.uint8)
    out = place(resized, layout, into, (0, 0, 0))
    assert out.shape == (*into, 3)
    assert out.flags.c_contiguous
    assert out.flags.writeable
    assert (out == 9).any()
    if shape in {"squash", "shortest-side-crop"}:
        assert (out == 9).all()


def test_grey_becomes_three_equal_channels_and_the_rest_is_filled():
    out = place(np.full((2, 3), 7, np.uint8), Layout((2, 3), 1, 0), (4, 3), (1, 2, 3))
    assert out[0, 0].tolist() == [1, 2, 3]
    assert out[1, 0].tolist() == [7, 7, 7]
    assert out[3, 2].tolist() == [1, 2, 3]
