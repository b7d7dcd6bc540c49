"""One message to one capture; what the decoder makes of each kind of file is tested with the decoder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from eyestream import objects
from eyestream.brokers.deadletters import REDRIVE_COUNT
from eyestream.decoding import Limits, Preprocessing
from eyestream.errors import Rejected
from eyestream.intake import Intake, attempts_of, meta_of
from eyestream.records import (
    HEADER_CONTENT_TYPE,
    HEADER_META,
    HEADER_REF,
    HEADER_TRACEPARENT,
    Message,
    Position,
    now,
)
from eyestream.testing.messages import meta_for, png

EYE = png(1)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def intake(*references, **limits):
    return Intake(
        preprocessing=Preprocessing(crop="none"),
        height=48,
        width=48,
        limits=Limits(**{"min_side": 1, **limits}),
        references=references,
    )


def message(value=EYE, *, meta=None, **headers):
    named = {
        HEADER_META: (meta or meta_for(value)).to_header(),
        **{name: text.encode() for name, text in headers.items()},
    }
    return Message(value, named, Position("images", 2, 7, 3), produced=1.5, fetched=2.5, key=b"exam-1")


def refusal(taker, sent, programmes=("demo",)):
    with pytest.raises(Rejected) as caught:
        taker.capture(sent, programmes)
    return caught.value.stage, caught.value.reason


def pixels_of(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def test_a_capture_has_its_messages_picture_and_all_that_was_said_of_it():
    sent = message(**{HEADER_TRACEPARENT: TRACE, HEADER_CONTENT_TYPE: "image/png"})
    began = now()
    capture = intake().capture(sent, {"demo"})
    np.testing.assert_array_equal(capture.pixels, pixels_of(EYE))
    assert (capture.meta, capture.message) == (meta_for(EYE), sent)
    times = capture.timings
    assert (times.captured, times.produced, times.fetched) == (meta_for(EYE).captured_at.timestamp(), 1.5, 2.5)
    assert began <= times.decoded <= now()
    assert (times.encoded, times.stored) == (None, None)


def test_a_capture_goes_on_with_its_messages_trace_in_a_span_of_its_own():
    first, second = (intake().capture(message(**{HEADER_TRACEPARENT: TRACE}), {"demo"}).traceparent for _ in range(2))
    assert first[:36] == second[:36] == TRACE[:36]
    assert len({first, second, TRACE}) == 3


@pytest.mark.parametrize("headers", [{}, {HEADER_TRACEPARENT: "not a trace"}])
def test_a_capture_of_no_trace_begins_one(headers):
    first, second = (intake().capture(message(**headers), {"demo"}).traceparent for _ in range(2))
    assert len({first[:36], second[:36], TRACE[:36]}) == 3


def test_the_orientation_that_the_device_took_out_of_the_file_is_honoured():
    turned = meta_for(EYE).model_copy(update={"orientation": 3})
    capture = intake().capture(message(meta=turned), {"demo"})
    np.testing.assert_array_equal(capture.pixels, pixels_of(EYE)[::-1, ::-1])


@pytest.mark.parametrize(
    ("sent", "programmes", "refused"),
    [
        (Message(EYE, {}, Position("images", 0, 0), 0.0, 0.0), ["demo"], ("meta", "missing-meta")),
        (message(b"no picture", meta=meta_for(EYE)), ["another"], ("meta", "unknown-programme")),
        (message(png(2), meta=meta_for(EYE)), ["demo"], ("meta", "checksum-mismatch")),
        (message(**{HEADER_CONTENT_TYPE: "image/jpeg"}), ["demo"], ("decoding", "content-type-mismatch")),
        (message(EYE[:-40]), ["demo"], ("decoding", "truncated")),
    ],
)
def test_what_is_wrong_with_a_message_is_told_by_where_it_was_found(sent, programmes, refused):
    assert refusal(intake(), sent, programmes) == refused


def test_a_picture_by_reference_is_screened_as_one_that_came_along(tmp_path):
    name = objects.put(str(tmp_path), EYE, sha256=meta_for(EYE).sha256)
    sent = message(b"", meta=meta_for(EYE), **{HEADER_REF: name})
    capture = intake(str(tmp_path)).capture(sent, {"demo"})
    np.testing.assert_array_equal(capture.pixels, pixels_of(EYE))


def test_a_reference_is_followed_only_where_the_line_may_read_and_no_further_than_its_limit(tmp_path):
    name = objects.put(str(tmp_path), EYE, sha256=meta_for(EYE).sha256)
    sent = message(EYE, **{HEADER_REF: name})
    assert refusal(intake(), sent) == ("reference", "reference-not-allowed")
    assert refusal(intake(str(tmp_path / "other")), sent) == ("reference", "reference-not-allowed")
    assert refusal(intake(str(tmp_path), max_bytes=len(EYE) - 1), sent) == ("reference", "too-many-bytes")
    assert refusal(intake(str(tmp_path)), message(b"", meta=meta_for(png(2)), **{HEADER_REF: name})) == (
        "reference",
        "checksum-mismatch",
    )
    assert refusal(
        intake(str(tmp_path)), Message(b"", sent.headers | {HEADER_REF: b"\xff"}, sent.position, 0.0, 0.0)
    ) == (
        "reference",
        "reference-not-allowed",
    )


def test_metadata_is_told_where_it_can_be_read():
    assert meta_of(message()) == meta_for(EYE)
    assert meta_of(Message(EYE, {HEADER_META: b"{"}, Position("images", 0, 0), 0.0, 0.0)) is None


def test_a_picture_was_tried_once_more_than_it_was_put_back():
    assert attempts_of(message()) == 1
    assert attempts_of(message(**{REDRIVE_COUNT: "2"})) == 3
