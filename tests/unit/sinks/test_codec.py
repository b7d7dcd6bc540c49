from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.records import Decision, Finding, Picture, Position, Reason, Screening, Timings
from eyestream.sinks import codec
from eyestream.testing.screenings import a_note, a_screening

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=40)
findings = st.builds(Finding, texts, numbers, numbers, texts, texts)
pictures = st.builds(
    Picture,
    st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True),
    st.sampled_from(["R", "L", "U"]),
    st.sampled_from(["macula", "disc", "other"]),
    st.lists(findings, max_size=4).map(tuple),
    st.none() | texts,
    st.none() | texts,
)
decisions = st.builds(
    Decision,
    texts,
    st.sampled_from(["refer", "clear", "recapture", "incomplete"]),
    texts,
    st.integers(0, 99),
    st.dictionaries(st.sampled_from(["R", "L", "U"]), texts),
    st.lists(st.builds(Reason, st.sampled_from(["R", "L", "U"]), texts, findings, texts), max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
)
positions = st.builds(Position, texts, st.integers(0), st.integers(0), st.integers(0))
maybe = st.none() | numbers
timings = st.builds(Timings, numbers, numbers, numbers, maybe, maybe, maybe)


@given(pictures)
def test_a_picture_comes_back_as_it_went(picture):
    assert codec.load_picture(codec.dump_picture(picture)) == picture


@given(decisions)
def test_a_decision_comes_back_as_it_went(decision):
    assert codec.load_decision(codec.dump_decision(decision)) == decision


several = st.lists(findings, max_size=4).map(tuple)


@given(several, several, positions, timings, st.none() | texts, texts)
def test_a_screening_comes_back_as_it_went(found, quality, position, times, ungradable, traceparent):
    screening = dataclasses.replace(
        a_screening("a"),
        findings=found,
        position=position,
        timings=times,
        ungradable=ungradable,
        quality=quality,
        traceparent=traceparent,
    )
    again = codec.load_screening(codec.dump_screening(screening))
    names = [field.name for field in dataclasses.fields(Screening)]
    assert [getattr(again, name) for name in names] == [getattr(screening, name) for name in names]


def test_a_note_comes_back_as_it_went():
    assert codec.load_unreadable(codec.dump_unreadable(a_note("a"))) == a_note("a")


def test_every_field_of_a_screening_is_written():
    raw = json.loads(codec.dump_screening(a_screening("a")))
    expected = {field.name for field in dataclasses.fields(Screening)} - {"identity"} | {"encoder", "bank"}
    assert set(raw) == expected


def test_a_number_that_is_none_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="JSON"):
        codec.dump_screening(a_screening("a", probability=math.nan))


def test_what_is_unknown_of_a_picture_takes_no_room():
    picture = codec.picture_of(a_note("a"))
    assert set(json.loads(codec.dump_picture(picture))) == {"image_id", "laterality", "field", "unreadable", "subject"}
