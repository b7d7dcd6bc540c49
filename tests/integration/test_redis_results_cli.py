"""`eyestream results` against a real server, as a person types it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest
from typer.testing import CliRunner

from eyestream.apps.results import commands
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import uncalibrated
from eyestream.sinks.redis import RedisSink
from eyestream.testing import redis_server
from eyestream.testing.screenings import Judge, a_note, a_screening
from eyestream.testing.texts import FakeTextEncoder

pytestmark = pytest.mark.stack
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with redis_server.running(redis_server.binaries()["valkey"], tmp_path_factory.mktemp("redis")) as server:
        asyncio.run(fill(server.url))
        yield server.url


async def fill(url):
    sink = RedisSink(url, Judge(), clock=NOON.timestamp)
    await sink.store(
        [
            a_screening("img-1", "exam-urgent", probability=0.95),
            a_screening("img-2", "exam-later", probability=0.6),
            a_screening("img-3", "exam-clear", probability=0.1),
            a_screening("img-3", "exam-clear", probability=0.1),
        ]
    )
    await sink.note_unreadable([a_note("img-4", "exam-broken")])
    await sink.close()


@pytest.fixture
def results(url, monkeypatch):
    monkeypatch.setenv("EYESTREAM_REDIS__URL", url)
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *words: CliRunner().invoke(commands, list(words), catch_exceptions=False)


def test_an_exam_is_shown_with_its_reason_and_pictures(results):
    answer = results("exam", "exam-urgent")
    assert answer.exit_code == 0
    assert "referable-dr, right: 95.0% ≥ 50.0% (high-sensitivity)" in answer.output
    assert "img-1" in answer.output


def test_an_unknown_exam_is_an_error_beside_those_that_are_known(results):
    answer = results("exam", "exam-clear", "exam-nobody")
    assert answer.exit_code == 1
    assert "exam-clear" in answer.stdout
    assert "Nothing is known of exam-nobody." in answer.stderr


def test_a_worklist_is_read_page_by_page(results):
    first = results("worklist", "diabetic", "--limit", "1", "--json")
    assert [json.loads(line)["exam_id"] for line in first.stdout.splitlines()] == ["exam-urgent"]
    cursor = first.stderr.split("--cursor ")[1].strip()
    rest = results("worklist", "diabetic", "--cursor", cursor, "--json")
    assert [json.loads(line)["exam_id"] for line in rest.stdout.splitlines()] == ["exam-later", "exam-broken"]
    assert rest.stderr == ""


def test_a_worklist_is_a_table_for_people(results):
    assert "exam-later" in results("worklist", "diabetic").output
    assert "Nobody is waiting." in results("worklist", "glaucoma").output


def test_a_day_is_counted(results):
    found = json.loads(results("counts", "diabetic", "--day", "2026-03-01", "--json").stdout)
    assert found == {
        "programme": "diabetic",
        "day": "2026-03-01",
        "stored": 3,
        "duplicate": 1,
        "unreadable": 1,
        "refer": 2,
        "recapture": 1,
        "clear": 1,
    }
    assert "pictures that came again" in results("counts", "diabetic").output


def test_a_tail_shows_what_was_decided(results):
    answer = results("tail", "--from-start", "--limit", "4", "--json")
    told = {event["exam_id"]: event["outcome"] for event in map(json.loads, answer.stdout.splitlines())}
    assert told == {
        "exam-urgent": "refer",
        "exam-later": "refer",
        "exam-clear": "clear",
        "exam-broken": "recapture",
    }


def test_words_come_from_the_shelf_and_a_bank_that_cannot_be_read_stops_nobody(results, tmp_path, monkeypatch):
    monkeypatch.setenv("EYESTREAM_BANKS__SHELF", str(tmp_path))
    tower, programme = FakeTextEncoder(), uncalibrated(Programme.builtin("demo"))
    head = build(programme, tower, encoder_digest=tower.digest, preprocessing_digest=tower.digest)
    shelf = Shelf(tmp_path)
    shelf.publish(programme, head)
    shelf.activate(programme.name, head.digest)
    answer = results("counts", programme.name)
    assert "(scores only" in answer.output
    assert "exams scored, not decided" in answer.output
    for file in (tmp_path / "heads").iterdir():
        file.write_bytes(b"altered")
    answer = results("counts", programme.name)
    assert answer.exit_code == 0
    assert "exams waiting for pictures" in answer.output


def test_a_server_without_results_is_said_to_be_one(tmp_path, monkeypatch):
    with redis_server.running(redis_server.binaries()["valkey"], tmp_path) as empty:
        monkeypatch.setenv("EYESTREAM_REDIS__URL", empty.url)
        with pytest.raises(Misconfigured, match="no results"):
            CliRunner().invoke(commands, ["worklist", "diabetic"], catch_exceptions=False)
