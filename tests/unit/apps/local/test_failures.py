"""A failure names the part, its log, the last lines of this start and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from eyestream.apps.local import failures


def test_only_the_lines_of_this_start_are_shown(tmp_path: Path):
    log = tmp_path / "logs" / "kafka.log"
    failures.mark_start(log)
    with log.open("a") as out:
        out.write("yesterday's trouble\n")
    failures.mark_start(log)
    with log.open("a") as out:
        out.write("\n".join(f"line {number}" for number in range(40)) + "\n\n")
    text = str(failures.describe("kafka", "it ended while starting", log=log))
    assert text.startswith("kafka is unavailable: it ended while starting")
    assert str(log) in text
    assert "line 39" in text
    assert "line 27" not in text
    assert "yesterday" not in text


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("bind: Address already in use", "run `eyestream local up` again"),
        ("write: No space left on device", "free some disk space"),
        ("java.lang.OutOfMemoryError: Java heap space", "free some memory"),
        ("failed to load 'tiny' version 1", "correct it in the model repository"),
        ("Bad file format: AOF is corrupted", "--fresh"),
        ("something nobody foresaw", "read the log"),
    ],
)
def test_what_to_do_follows_from_what_was_logged(tmp_path: Path, line: str, advice: str):
    log = tmp_path / "part.log"
    failures.mark_start(log)
    with log.open("a") as out:
        out.write(line + "\n")
    assert advice in str(failures.describe("redis", "it ended", log=log)).split("what to do: ")[1]


def test_a_part_that_logged_nothing_is_described_all_the_same(tmp_path: Path):
    assert "what to do" in str(failures.describe("redis", "it ended", log=tmp_path / "none.log"))


def test_a_large_log_is_put_aside_at_the_next_start(tmp_path: Path):
    log = tmp_path / "kafka.log"
    with log.open("wb") as out:
        out.truncate(33 * 2**20)
    failures.mark_start(log)
    assert log.stat().st_size < 100
    assert log.with_name("kafka.log.1").stat().st_size == 33 * 2**20
