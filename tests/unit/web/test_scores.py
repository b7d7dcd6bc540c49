from __future__ import annotations

import asyncio

import pytest

from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured, Unavailable
from eyestream.testing.messages import png
from eyestream.web.engine import EngineRoom
from eyestream.web.scorer import LineScorer


@pytest.fixture
async def scoring(world, tmp_path):
    """The service with a scorer over the very encoder of the line and a shelf that holds its bank."""
    bank = world.line.banks["demo"]
    shelf = Shelf(tmp_path / "shelf")
    shelf.publish(bank.programme, bank.head)
    shelf.activate("demo", bank.head.digest)
    world.connects = 0

    async def connect():
        world.connects += 1
        return world.line.encoder

    world.shelf = shelf
    room = EngineRoom(connect, tmp_path / "shelf", limits=world.line.intake.limits)
    world.change(scorer=LineScorer(room, at_once=2))
    yield world
    await room.close()


def ask(world, value, **params):
    headers = {"Content-Type": params.pop("content_type", "image/png")}
    client = world.client("camera")
    return client.post("/v1/scores", params={"programme": "demo", **params}, content=value, headers=headers)


async def test_the_same_picture_has_the_lines_own_digests_and_numbers(scoring):
    await scoring.screen("exam-1")
    stored = {result["sha256"]: result for result in (await scoring.client().get("/v1/exams/exam-1")).json()["results"]}
    for seed in (0, 1):
        answer = await ask(scoring, png(seed), laterality="R", field="macula")
        assert answer.status_code == 200, answer.text
        scored = answer.json()
        line = stored[scored["sha256"]]
        for part in ("findings", "quality", "ungradable", "digests", "laterality", "field"):
            assert scored[part] == line[part], part
        assert scored["picture"] is None
        assert scored["position"] is None


async def test_scoring_stores_nothing_but_that_it_was_asked(scoring):
    await ask(scoring, png(7))
    assert await scoring.sink.exam("on-demand-scoring") is None
    [entry] = await scoring.entries()
    assert (entry.actor.who, entry.action, entry.programme) == ("key:camera", "picture.scored", "demo")


@pytest.mark.parametrize(
    ("value", "content_type", "reason"),
    [
        (b"", "image/png", "empty"),
        (b"GIF89a" + b"\0" * 64, "application/octet-stream", "unsupported-kind"),
        (png(1)[:-40], "image/png", "truncated"),
        (png(1), "image/jpeg", "content-type-mismatch"),
        (b"<svg onload=alert(1)>", "image/svg+xml", "unknown-content-type"),
    ],
)
async def test_a_picture_the_line_would_refuse_has_the_lines_reason(scoring, is_problem, value, content_type, reason):
    problem = is_problem(await ask(scoring, value, content_type=content_type), 422, "picture-rejected")
    assert problem["reason"] == reason
    assert (
        scoring.services.metrics.registry.get_sample_value("eyestream_web_scores_total", {"outcome": "rejected"}) == 1
    )


async def test_a_programme_without_a_bank_cannot_be_scored(scoring, is_problem):
    is_problem(await ask(scoring, png(1), programme="glaucoma"), 404, "unknown-programme")


async def test_a_picture_beyond_the_lines_limit_is_refused_before_it_is_read(scoring, is_problem):
    import dataclasses

    scoring.change(house=dataclasses.replace(scoring.services.house, max_picture_bytes=1000))
    is_problem(await ask(scoring, b"x" * 1001), 413, "too-large")


async def test_while_the_encoder_is_away_a_caller_is_told_to_come_again(scoring, is_problem):
    scoring.line.fake.unavailable(1)
    answer = await ask(scoring, png(1))
    is_problem(answer, 503, "unavailable")
    assert (await ask(scoring, png(1))).status_code == 200
    assert scoring.connects == 1


async def test_an_engine_that_was_exchanged_is_taken_by_the_next_who_asks(scoring, is_problem, monkeypatch):
    async def exchanged(_pixels):
        raise Misconfigured("Triton now serves another engine")

    with monkeypatch.context() as patched:
        patched.setattr(scoring.line.encoder, "encode", exchanged)
        is_problem(await ask(scoring, png(1)), 503, "misconfigured")
    metrics = scoring.services.metrics.registry
    assert metrics.get_sample_value("eyestream_web_scores_total", {"outcome": "failed"}) == 1
    assert metrics.get_sample_value("eyestream_web_scores_total", {"outcome": "scored"}) is None
    assert (await ask(scoring, png(1))).status_code == 200
    assert scoring.connects == 2


async def test_more_pictures_than_there_is_room_for_are_sent_away_and_the_others_served(scoring):
    scoring.line.fake.gate.clear()
    waiting = [asyncio.create_task(ask(scoring, png(seed))) for seed in range(7)]
    done, rest = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 3:
        more, rest = await asyncio.wait(rest, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert more
        done |= more
    scoring.line.fake.gate.set()
    answers = await asyncio.gather(*waiting)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [503] * 3


async def test_a_bank_put_into_service_meanwhile_scores_the_next_picture(scoring):
    before = (await ask(scoring, png(1))).json()
    other = scoring.line.bank(seed=5)
    scoring.shelf.publish(other.programme, other.head)
    scoring.shelf.activate("demo", other.head.digest)
    after = (await ask(scoring, png(1))).json()
    assert before["digests"]["bank"] != after["digests"]["bank"] == other.head.digest


async def test_an_encoder_that_cannot_be_reached_is_tried_anew_by_the_next_caller(scoring, tmp_path, is_problem):
    tries = []

    async def connect():
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("triton", "told to be away")
        return scoring.line.encoder

    room = EngineRoom(connect, tmp_path / "shelf", limits=scoring.line.intake.limits)
    scoring.change(scorer=LineScorer(room))
    client = scoring.client("camera")
    params = {"programme": "demo"}
    is_problem(await client.post("/v1/scores", params=params, content=png(1)), 503, "unavailable")
    assert (await client.post("/v1/scores", params=params, content=png(1))).status_code == 200
