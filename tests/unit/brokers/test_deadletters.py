from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.brokers.deadletters import (
    OURS,
    REDRIVE_COUNT,
    REDRIVEN,
    REDRIVEN_FROM,
    UNREADABLE,
    DeadLetter,
    Selection,
    address,
    as_mapping,
    count_by_reason,
    dead_letter_headers,
    marked,
    marker_headers,
    original_headers,
    parse,
)
from eyestream.errors import Rejected
from eyestream.records import LATEST_CAPTURE, ImageMeta, Message, Position, utc

HERE = Position("screening.images.dlq", 1, 42)
THERE = Position("screening.images", 3, 17, 2)
REJECTION = Rejected("truncated", "The file ends early: send it again.", stage="decoding")
META = ImageMeta(
    image_id="image-1",
    exam_id="exam-1",
    subject_id="SUBJECT-PSEUDONYM-0001",
    site_id="north",
    device_id="camera-1",
    captured_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    programme="diabetic",
    sha256="0" * 64,
)


def letter(
    headers: dict[str, bytes] | None = None, *, rejection: Rejected = REJECTION, carried: bool = True
) -> DeadLetter:
    own = {"eyestream-meta": META.to_header()} if headers is None else headers
    message = Message(value=b"picture", headers=own, position=THERE, produced=100.5, fetched=101.0, key=b"exam-1")
    written = dead_letter_headers(message, rejection, attempts=2, failed=102.25, carried=carried)
    read = parse(HERE, key=b"exam-1", headers=written, nbytes=7 if carried else 0)
    assert read is not None
    return read


def test_a_dead_letter_reads_as_it_was_written() -> None:
    read = letter()
    assert read.position == HERE
    assert (read.original.topic, read.original.partition, read.original.offset) == ("screening.images", 3, 17)
    assert (read.reason, read.stage, read.explanation) == (REJECTION.reason, "decoding", REJECTION.explanation)
    assert (read.attempts, read.produced, read.failed, read.nbytes) == (2, 100.5, 102.25, 7)
    assert read.meta == META
    assert read.headers == (("eyestream-meta", META.to_header()),)
    assert not read.redriven


def test_a_picture_left_behind_is_known_by_its_size() -> None:
    read = letter(carried=False)
    assert not read.carried
    assert read.nbytes == len(b"picture")


def test_headers_that_imitate_ours_travel_but_do_not_count() -> None:
    hostile = dict.fromkeys(OURS, b"forged")
    read = letter(hostile)
    assert read.reason == "truncated"
    assert read.original.offset == 17
    assert dict(read.headers) == hostile


def test_metadata_that_cannot_be_read_is_none() -> None:
    assert letter({"eyestream-meta": b"\xff{"}).meta is None
    assert letter({}).meta is None


def test_text_that_would_drive_a_terminal_is_made_harmless() -> None:
    read = letter(rejection=Rejected("trun\x1b[2Jcated", "wipe \x1b[2J\u202e\x07", stage="DROP TABLE"))
    assert read.reason == "unknown"
    assert read.stage == "unknown"
    assert read.explanation.isprintable()


@pytest.mark.parametrize("headers", [[], [("a", b"b")], [(name, b"x") for name in OURS], [(OURS[0], b"x")] * 10])
def test_records_that_are_no_dead_letters_are_passed_over(headers: list[tuple[str, bytes]]) -> None:
    assert parse(HERE, key=None, headers=headers, nbytes=0) is None


def forged(**ours: bytes) -> list[tuple[str, bytes]]:
    """Headers of a dead letter that somebody else wrote; `ours` are named as in the header, with underscores."""
    good = dict(
        zip(OURS, (b"bomb", b"decoding", b"", b"1", b"images", b"3", b"17", b"1.0", b"2.0", b"left 7"), strict=True)
    )
    return list((good | {f"eyestream-{name.replace('_', '-')}": value for name, value in ours.items()}).items())


@pytest.mark.parametrize("time", [b"inf", b"nan", b"-1", b"1e300", b"4102444800", b"soon"])
@pytest.mark.parametrize("name", ["failed_at", "produced_at"])
def test_a_letter_of_no_time_that_a_calendar_has_is_none_of_ours(name: str, time: bytes) -> None:
    """Shown, it would keep every other letter from being shown."""
    assert parse(HERE, key=None, headers=forged(**{name: time}), nbytes=0) is None


@pytest.mark.parametrize("name", ["original_partition", "original_offset", "attempts"])
def test_a_letter_from_before_the_first_record_is_none_of_ours(name: str) -> None:
    assert parse(HERE, key=None, headers=forged(), nbytes=0) is not None
    assert parse(HERE, key=None, headers=forged(**{name: b"-1"}), nbytes=0) is None


some_bytes = st.one_of(
    st.binary(max_size=40), st.text(max_size=20).map(str.encode), st.floats().map(lambda f: f"{f}".encode())
)


@given(
    st.lists(st.tuples(st.sampled_from([*OURS, "eyestream-meta", REDRIVE_COUNT]), some_bytes), max_size=5),
    st.dictionaries(st.sampled_from([name.removeprefix("eyestream-") for name in OURS]), some_bytes),
)
def test_reading_any_headers_never_fails(own: list[tuple[str, bytes]], ours: dict[str, bytes]) -> None:
    read = parse(HERE, key=None, headers=[*own, *forged(**ours)], nbytes=0)
    if read is not None:
        assert (read.reason + read.stage + read.explanation).isprintable()
        assert utc(read.failed) < LATEST_CAPTURE
        assert utc(read.produced) < LATEST_CAPTURE


def test_the_names_of_the_headers_are_those_that_earlier_releases_wrote() -> None:
    assert OURS == (
        "eyestream-reason",
        "eyestream-stage",
        "eyestream-explanation",
        "eyestream-attempts",
        "eyestream-original-topic",
        "eyestream-original-partition",
        "eyestream-original-offset",
        "eyestream-produced-at",
        "eyestream-failed-at",
        "eyestream-value",
    )
    told = (REDRIVE_COUNT, REDRIVEN_FROM, REDRIVEN, UNREADABLE)
    assert told == ("eyestream-redrive-count", "eyestream-redriven-from", "eyestream-redriven", "eyestream-unreadable")


def test_headers_without_a_value_or_of_no_text_are_read_all_the_same() -> None:
    headers = [("mine", None), *forged(explanation=b"spott\xe9")]
    read = parse(HERE, key=None, headers=headers, nbytes=0)  # type: ignore[arg-type]
    assert read is not None
    assert (read.headers, read.explanation) == ((("mine", b""),), "spott\N{REPLACEMENT CHARACTER}")


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=40), max_size=6))
def test_the_original_headers_survive_whatever_they_are(headers: dict[str, bytes]) -> None:
    assert dict(letter(headers).headers) == headers


def test_going_back_a_message_keeps_its_headers_and_counts() -> None:
    once = original_headers(letter())
    assert once[0] == ("eyestream-meta", META.to_header())
    assert dict(once)[REDRIVE_COUNT] == b"1"
    assert dict(once)[REDRIVEN_FROM] == b"screening.images.dlq/1/42"
    again = letter(dict(once))
    assert again.redrives == 1
    twice = original_headers(again)
    assert [value for name, value in twice if name == REDRIVE_COUNT] == [b"2"]
    assert [value for name, value in twice if name == REDRIVEN_FROM] == [b"screening.images.dlq/1/42"]


@pytest.mark.parametrize("count", [b"", b"-1", b"many", b"99999999", b"\xff", "\u0661".encode()])
def test_a_forged_redrive_count_reads_as_none(count: bytes) -> None:
    assert letter({REDRIVE_COUNT: count}).redrives == 0


def test_a_mark_names_its_letter_and_is_no_letter() -> None:
    mark = marker_headers(letter())
    assert marked(mark) == address(HERE)
    assert parse(HERE, key=None, headers=mark, nbytes=0) is None
    assert marked([("eyestream-meta", b"")]) is None
    assert marked([]) is None


def test_a_letter_whose_own_headers_imitate_a_mark_is_a_letter() -> None:
    read = letter({REDRIVEN: b"screening.images.dlq/1/42"})
    assert marked([*read.headers, *forged()]) is None
    assert marked([(REDRIVEN, None)]) == ""  # type: ignore[list-item]
    assert marked([(REDRIVEN, b"\xff")]) == "\N{REPLACEMENT CHARACTER}"


def test_a_stand_in_for_an_unreadable_record_says_why() -> None:
    read = letter({UNREADABLE: b"CorruptRecordError: bad"}, rejection=Rejected("no-meta", "None.", stage="meta"))
    assert (read.reason, read.stage, read.explanation) == ("unreadable-record", "kafka", "CorruptRecordError: bad")
    assert read.headers == ()


def test_the_last_header_of_a_name_counts_and_none_is_empty() -> None:
    assert as_mapping([("a", b"1"), ("a", b"2"), ("b", None)]) == {"a": b"2", "b": b""}  # type: ignore[list-item]
    assert as_mapping(None) == {}


def test_reasons_are_counted_most_frequent_first() -> None:
    other = dataclasses.replace(letter(), reason="bomb")
    assert count_by_reason([other, letter(), letter()]) == {("truncated", "decoding"): 2, ("bomb", "decoding"): 1}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), True),
        (Selection(reason="truncated", stage="decoding", site="north", programme="diabetic"), True),
        (Selection(exam="exam-1", image="image-1"), True),
        (Selection(reason="bomb"), False),
        (Selection(site="south"), False),
        (Selection(since=102.25), True),
        (Selection(since=102.26), False),
        (Selection(until=102.25), False),
        (Selection(until=103.0), True),
        (Selection(addresses=frozenset({address(HERE)})), True),
        (Selection(addresses=frozenset({"screening.images.dlq/1/43"})), False),
    ],
)
def test_a_selection_holds_what_it_says(selection: Selection, expected: bool) -> None:
    assert (letter() in selection) is expected


def test_a_letter_without_metadata_is_in_no_selection_by_site() -> None:
    assert letter({}) not in Selection(site="north")
    assert letter({}) in Selection(reason="truncated")


def test_letters_put_back_can_be_left_out() -> None:
    done = dataclasses.replace(letter(), redriven=True)
    assert done in Selection()
    assert done not in Selection(redriven=False)


def test_only_an_empty_selection_means_everything() -> None:
    assert Selection().everything
    assert Selection(redriven=False).everything
    assert not Selection(reason="truncated").everything
