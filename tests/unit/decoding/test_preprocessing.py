from __future__ import annotations

import pytest
from pydantic import ValidationError

from eyestream.decoding import Preprocessing
from eyestream.errors import Misconfigured


def test_it_is_read_back_as_it_was_written():
    flair = Preprocessing(crop="field-of-view", shape="longest-side-pad", interpolation="bilinear", fill=(1, 2, 3))
    assert Preprocessing.from_json(flair.to_json()) == flair


def test_what_is_left_out_has_the_plainest_value():
    assert Preprocessing.from_json("{}") == Preprocessing()


def test_its_text_is_one_sorted_line_with_every_field():
    assert Preprocessing().to_json() == (
        '{"antialias":true,"colour":"rgb","crop":"none","crop_ratio":1.0,'
        '"fill":[0,0,0],"interpolation":"bicubic","shape":"squash"}'
    )


def test_the_digest_does_not_depend_on_spelling_but_on_every_value():
    spelt = Preprocessing.from_json('{ "shape": "squash",\n "interpolation": "bicubic" }')
    assert spelt.digest == Preprocessing().digest
    others = [
        Preprocessing(crop="field-of-view"),
        Preprocessing(shape="pad-square"),
        Preprocessing(interpolation="area"),
        Preprocessing(antialias=False),
        Preprocessing(colour="grey"),
        Preprocessing(fill=(0, 0, 1)),
        Preprocessing(shape="shortest-side-crop"),
        Preprocessing(shape="shortest-side-crop", crop_ratio=0.875),
    ]
    assert len({other.digest for other in [*others, Preprocessing()]}) == 9


@pytest.mark.parametrize(
    "text",
    [
        '{"sharpen": true}',
        '{"shape": "stretch"}',
        '{"antialias": "yes"}',
        '{"fill": [0, 0]}',
        '{"fill": [0, 0, 256]}',
        '{"crop_ratio": 0.875}',
        '{"shape": "shortest-side-crop", "crop_ratio": NaN}',
        '{"interpolation": "lanczos", "antialias": false}',
        "not json",
        "[]",
        "",
    ],
)
def test_what_cannot_be_done_is_misconfigured(text):
    with pytest.raises(Misconfigured, match="preprocessing cannot be read"):
        Preprocessing.from_json(text)


def test_it_cannot_be_changed():
    with pytest.raises(ValidationError):
        Preprocessing().crop = "none"
