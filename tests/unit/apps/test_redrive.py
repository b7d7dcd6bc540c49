from __future__ import annotations

import datetime as dt

import pytest
import typer
from rich.console import Console

from eyestream.apps.redrive import counts, facts, moment, size, table
from eyestream.brokers.deadletters import DeadLetter
from eyestream.records import ImageMeta, Position

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
SUBJECT = "SUBJECT-PSEUDONYM-0001"
LETTER = DeadLetter(
    position=Position("screening.images.dlq", 0, 7),
    original=Position("screening.images", 3, 17),
    reason="truncated",
    stage="decoding",
    explanation="The file ends early [send it again].",
    attempts=1,
    produced=1_000_000.0,
    failed=1_000_001.0,
    key=b"exam-1",
    headers=(("eyestream-meta", b"{}"),),
    nbytes=3_500_000,
    carried=True,
    meta=ImageMeta(
        image_id="image-1",
        exam_id="exam-1",
        subject_id=SUBJECT,
        site_id="north",
        device_id="camera-1",
        captured_at=NOW,
        programme="diabetic",
        sha256="0" * 64,
    ),
    redrives=0,
)


def printed(renderable: object) -> str:
    console = Console(width=250)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3_500_000, "3.3 MiB"), (2**31, "2.0 GiB")]
)
def test_sizes_read_as_people_write_them(nbytes: int, text: str) -> None:
    assert size(nbytes) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", NOW - dt.timedelta(minutes=30)),
        ("2h", NOW - dt.timedelta(hours=2)),
        ("7d", NOW - dt.timedelta(days=7)),
        ("2026-04-30", dt.datetime(2026, 4, 30, tzinfo=dt.UTC)),
        ("2026-04-30T10:00+02:00", dt.datetime(2026, 4, 30, 8, tzinfo=dt.UTC)),
    ],
)
def test_a_moment_is_an_age_or_a_time(text: str, expected: dt.datetime) -> None:
    assert moment(text, now=NOW) == expected.timestamp()


def test_no_moment_is_none_and_nonsense_is_refused() -> None:
    assert moment(None) is None
    with pytest.raises(typer.BadParameter, match="neither an age"):
        moment("yesterday")


def test_the_table_says_what_and_why_and_never_who() -> None:
    text = printed(table([LETTER]))
    for part in ("screening.images.dlq/0/7", "truncated", "decoding", "north", "image-1", "3.3 MiB", "[send it again]"):
        assert part in text
    assert SUBJECT not in text


def test_facts_never_say_who() -> None:
    assert SUBJECT not in str(facts(LETTER))
    assert facts(LETTER)["original"] == "screening.images/3/17"


def test_reasons_are_counted() -> None:
    (row,) = [line for line in printed(counts([LETTER, LETTER])).splitlines() if "truncated" in line]
    assert "2" in row
