from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.sinks.feed import Cursor, Happening
from eyestream.sinks.readings import Read, Version

PLACES = st.lists(st.tuples(st.integers(0, 2**45), st.integers(0, 2**20)), min_size=1, max_size=40)


@given(PLACES)
def test_a_cursor_is_read_as_it_was_written(places):
    cursor = Cursor(tuple(places))
    assert Cursor.parse(str(cursor), sources=len(places)) == cursor


@pytest.mark.parametrize(
    "hostile", ["", "1", "1.2.3.4", "1..3", "a.b.!", "1.2.3\n", "1.2.-3", "٣.1.2", "1.2." + "z" * 99]
)
def test_what_is_no_place_in_the_feed_is_refused(hostile):
    with pytest.raises(ValueError, match="not a place"):
        Cursor.parse(hostile, sources=3)


def test_a_cursor_covers_what_lies_before_it_in_the_same_source():
    event = Read("exam-1", "demo", "claimed", "ada", 1.0)
    cursor = Cursor(((5, 1), (0, 0))).past(Happening(0, (7, 2), event))
    assert cursor == Cursor(((7, 2), (0, 0)))
    assert cursor.covers(Happening(0, (7, 2), event))
    assert not cursor.covers(Happening(0, (7, 3), event))
    assert not cursor.covers(Happening(1, (1, 0), event))


def test_a_version_is_read_as_it_was_written():
    assert Version.parse(str(Version(3, 2, 1))) == Version(3, 2, 1)


@pytest.mark.parametrize("hostile", ["", "1.2", "1.2.3.4", "-1.2.3", "1.2.3 ", "1.2.x", "1.2.3\n"])
def test_what_is_no_version_is_refused(hostile):
    with pytest.raises(ValueError, match="not a version"):
        Version.parse(hostile)
