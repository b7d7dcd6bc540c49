"""Every bad message ends in the reason it was made for, through the line's own intake."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from eyestream.decoding import Limits, Preprocessing
from eyestream.errors import Rejected
from eyestream.intake import Intake
from eyestream.records import ImageMeta, Message, Position
from eyestream.testing.badpictures import PLANTED, BadPicture, bad_pictures, good_headers

INTAKE = Intake(
    preprocessing=Preprocessing(crop="field-of-view"),
    height=224,
    width=224,
    limits=Limits(),
    references=("s3://eyes",),
)


@cache
def good_jpeg() -> bytes:
    coarse = np.random.default_rng(3).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=95)
    return out.getvalue()


def meta() -> ImageMeta:
    return ImageMeta(
        image_id="image-1",
        exam_id="exam-1",
        subject_id="0123456789abcdef",
        laterality="R",
        site_id="clinic-7",
        device_id="camera-2",
        captured_at=dt.datetime(2026, 5, 4, 10, tzinfo=dt.UTC),
        programme="diabetic-eye",
        sha256=hashlib.sha256(good_jpeg()).hexdigest(),
    )


@cache
def corpus() -> list[BadPicture]:
    return bad_pictures(good_jpeg(), meta())


def capture(value: bytes, headers):
    message = Message(value=value, headers=headers, position=Position("t", 0, 0), produced=0.0, fetched=0.0)
    return INTAKE.capture(message, {"diabetic-eye"})


def test_the_good_picture_that_all_are_made_from_is_taken():
    assert capture(good_jpeg(), good_headers(meta())).pixels.shape == (224, 224, 3)


@pytest.mark.parametrize("bad", corpus(), ids=lambda bad: bad.name)
def test_it_is_refused_for_its_reason_in_a_sentence_without_a_patient(bad: BadPicture):
    with pytest.raises(Rejected) as caught:
        capture(bad.value, bad.headers)
    rejection = caught.value
    assert rejection.reason == bad.expected_reason
    assert rejection.stage in {"meta", "decoding", "reference"}
    text = rejection.explanation
    assert text[0].isupper()
    assert text.endswith(".")
    assert text.isprintable()
    assert ". " not in text
    assert 40 < len(text) < 250
    for secret in (PLANTED, "Jane", "script", "passwd", "169.254"):
        assert secret not in text


def test_the_corpus_is_wide_and_every_kind_has_its_own_name():
    names = [bad.name for bad in corpus()]
    assert len(names) == len(set(names)) > 100
    assert len({bad.expected_reason for bad in corpus()}) > 25


def test_the_corpus_is_the_same_each_time():
    assert bad_pictures(good_jpeg(), meta()) == corpus()


def test_bad_files_have_good_headers_of_their_own():
    images = [bad.headers["eyestream-meta"] for bad in corpus() if bad.value != good_jpeg()]
    assert len(images) == len(set(images))
