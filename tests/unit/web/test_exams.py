from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from eyestream.sinks.audit import Entry
from eyestream.testing.contracts_readings import ADA
from eyestream.testing.messages import png
from eyestream.web.exam_models import ExamView
from eyestream.web.services import File


async def test_an_exam_is_shown_with_everything_behind_its_decision(world):
    metas = await world.screen("exam-1")
    answer = await world.client("viewer").get("/v1/exams/exam-1")
    assert answer.status_code == 200
    view = ExamView.model_validate_json(answer.content)
    exam, screenings = await world.sink.exam("exam-1"), await world.sink.screenings("exam-1")
    assert view.decision.outcome == exam.decision.outcome
    assert [result.image_id for result in view.results] == [one.meta.image_id for one in screenings]
    shown, stored = view.results[0], screenings[0]
    assert {finding.condition: finding.probability for finding in shown.findings} == {
        finding.condition: finding.probability for finding in stored.findings
    }
    assert (shown.digests.encoder, shown.digests.bank) == (stored.identity.encoder, stored.identity.bank)
    assert shown.position.offset == stored.position.offset
    assert shown.times.stored.timestamp() == pytest.approx(stored.timings.stored)
    assert {finding.title for finding in shown.findings} == {
        condition.title for condition in world.line.programme.findings
    }
    assert metas[0].subject_id not in answer.text
    assert view.reading.state == "open"


async def test_an_unreadable_picture_is_shown_without_its_subject(world):
    await world.screen("exam-1")
    meta = world.line.put_broken(9, exam_id="exam-1")
    await world.line.run()
    answer = await world.client("viewer").get("/v1/exams/exam-1")
    [note] = answer.json()["unreadable"]
    assert note["image_id"] == meta.image_id
    assert note["reason"]
    assert meta.subject_id not in answer.text


async def test_a_decision_that_not_all_pictures_are_in_is_not_shown(world):
    """A worker that ends between storing a picture and deciding its exam leaves it so until the picture comes again."""
    await world.screen("exam-1")
    known = await world.readings.dossier("exam-1", Entry(actor=ADA, action="exam.viewed", at=1.0))
    assert ExamView.of(known, world.line.programme).decision is not None
    exam = replace(known.exam, version=known.exam.version + 1)
    view = ExamView.of(replace(known, exam=exam), world.line.programme)
    assert view.decision is None
    assert view.results


@pytest.mark.parametrize("path", ["/v1/exams/exam-9", "/v1/exams/exam-9/fhir"])
async def test_an_unknown_exam_is_a_problem(world, is_problem, path):
    is_problem(await world.client("viewer").get(path), 404, "unknown-exam")


async def test_who_holds_the_exam_as_it_is_gets_no_second_copy(world):
    await world.screen("exam-1")
    client = world.client("viewer")
    first = await client.get("/v1/exams/exam-1")
    again = await client.get("/v1/exams/exam-1", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    await world.screen("exam-1", seed=50)
    changed = await client.get("/v1/exams/exam-1", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


async def test_a_claim_that_is_renewed_or_ends_is_seen_though_it_is_no_new_version(world):
    await world.screen("exam-1")
    ada, viewer = world.client("ada"), world.client("viewer")
    await ada.put("/v1/exams/exam-1/claim")
    first = await viewer.get("/v1/exams/exam-1")
    held = {"If-None-Match": first.headers["etag"]}
    world.clock.step(600)
    await ada.put("/v1/exams/exam-1/claim")
    renewed = await viewer.get("/v1/exams/exam-1", headers=held)
    assert renewed.headers["etag"] == first.headers["etag"]
    assert renewed.json()["reading"]["until"] > first.json()["reading"]["until"]
    world.clock.step(901)
    ended = await viewer.get("/v1/exams/exam-1", headers=held)
    assert ended.json()["reading"]["state"] == "open"
    version = (await ada.put("/v1/exams/exam-1/claim")).headers["etag"]
    decided = await ada.put("/v1/exams/exam-1/verdict", json={"outcome": "clear"}, headers={"If-Match": version})
    assert (await viewer.get("/v1/exams/exam-1", headers={"If-None-Match": decided.headers["etag"]})).status_code == 304


async def test_whoever_sees_an_exam_is_on_record_with_the_requests_id(world):
    await world.screen("exam-1")
    await world.client("viewer").get("/v1/exams/exam-1", headers={"X-Request-ID": "trace-7"})
    [entry] = await world.entries()
    assert (entry.actor.who, entry.actor.how, entry.actor.request) == ("key:viewer", "api-key", "trace-7")
    assert (entry.action, entry.exam_id, entry.at) == ("exam.viewed", "exam-1", world.clock())


@pytest.mark.parametrize("path", ["/v1/exams/exam-1", "/v1/exams/exam-1/fhir", "/v1/programmes/demo/worklist"])
async def test_what_cannot_be_recorded_is_not_shown(world, is_problem, path):
    await world.screen("exam-1")
    world.readings.unavailable()
    client = world.client("viewer")
    answer = await client.get(path)
    is_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    assert "findings" not in answer.text
    assert (await client.get(path)).status_code == 200


async def test_a_picture_comes_as_the_file_it_is(world):
    [meta, _] = await world.screen("exam-1")
    world.pictures.files[meta.image_id] = File(png(0), "image/png", "png")
    client = world.client("viewer")
    shown = (await client.get("/v1/exams/exam-1")).json()["results"]
    path = next(result["picture"] for result in shown if result["image_id"] == meta.image_id)
    answer = await client.get(path)
    assert answer.content == png(0)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(png(0)))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="{meta.image_id}.png"'
    held = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (held.status_code, held.content) == (304, b"")
    assert await world.recorded() == [("key:viewer", "picture.viewed")] * 2 + [("key:viewer", "exam.viewed")]


async def test_a_picture_that_is_kept_no_longer_is_gone_and_one_that_never_was_is_unknown(world, is_problem):
    meta = (await world.screen("exam-1", "exam-2"))[0]
    client = world.client("viewer")
    is_problem(await client.get(f"/v1/exams/exam-1/pictures/{meta.image_id}"), 410, "picture-gone")
    is_problem(await client.get(f"/v1/exams/exam-2/pictures/{meta.image_id}"), 404, "unknown-picture")


async def claimed(world, role="ada"):
    client = world.client(role)
    seen = (await client.get("/v1/exams/exam-1")).headers["etag"]
    answer = await client.put("/v1/exams/exam-1/claim", headers={"If-Match": seen})
    assert answer.status_code == 200, answer.text
    return client, answer


async def test_a_reader_claims_decides_and_hands_back(world):
    await world.screen("exam-1")
    client, claim = await claimed(world)
    assert claim.json()["reading"] == {
        "state": "claimed",
        "reader": "key:ada",
        "until": "2026-03-01T08:15:00Z",
        "verdict": None,
    }
    verdict = {"outcome": "refer", "urgency": world.line.programme.least_referral, "comment": "see macula"}
    answer = await client.put("/v1/exams/exam-1/verdict", json=verdict, headers={"If-Match": claim.headers["etag"]})
    assert answer.status_code == 200, answer.text
    reading = answer.json()["reading"]
    assert (reading["state"], reading["reader"]) == ("decided", None)
    assert verdict.items() <= reading["verdict"].items()
    assert reading["verdict"]["current"]
    assert (await client.get("/v1/exams/exam-1")).headers["etag"] == answer.headers["etag"]
    reopened = await client.delete("/v1/exams/exam-1/verdict", headers={"If-Match": answer.headers["etag"]})
    assert reopened.json()["reading"]["state"] == "open"
    deeds = [action for _, action in await world.recorded() if action != "exam.viewed"]
    assert deeds == ["exam.reopened", "exam.decided", "exam.claimed"]


async def test_an_exam_that_another_holds_is_refused_with_who_and_until_when(world, is_problem):
    await world.screen("exam-1")
    await claimed(world)
    body = is_problem(await world.client("ben").put("/v1/exams/exam-1/claim"), 409, "taken")
    assert (body["reader"], body["until"]) == ("key:ada", "2026-03-01T08:15:00Z")
    world.clock.step(901)
    assert (await world.client("ben").put("/v1/exams/exam-1/claim")).status_code == 200


async def test_two_readers_who_decide_at_once_end_with_one_verdict(world):
    await world.screen("exam-1")
    client, claim = await claimed(world)
    world.clock.step(901)
    other, later = await claimed(world, "ben")
    answers = await asyncio.gather(
        client.put("/v1/exams/exam-1/verdict", json={"outcome": "clear"}, headers={"If-Match": claim.headers["etag"]}),
        other.put(
            "/v1/exams/exam-1/verdict", json={"outcome": "recapture"}, headers={"If-Match": later.headers["etag"]}
        ),
    )
    assert [answer.status_code for answer in answers] == [412, 200]
    exam = (await other.get("/v1/exams/exam-1")).json()
    assert exam["reading"]["verdict"]["outcome"] == "recapture"


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 428, "no-precondition"),
        ({"If-Match": "*"}, 412, "stale"),
        ({"If-Match": 'W/"1.1.1"'}, 412, "stale"),
        ({"If-Match": '"9.9.9"'}, 412, "stale"),
        ({"If-Match": '"1.1"'}, 412, "stale"),
    ],
)
async def test_nobody_decides_without_saying_what_they_saw(world, is_problem, headers, status, kind):
    await world.screen("exam-1")
    client, _ = await claimed(world)
    answer = await client.put("/v1/exams/exam-1/verdict", json={"outcome": "clear"}, headers=headers)
    is_problem(answer, status, kind)
    assert (await client.get("/v1/exams/exam-1")).json()["reading"]["state"] == "claimed"


@pytest.mark.parametrize(
    "verdict",
    [
        {"outcome": "refer"},
        {"outcome": "refer", "urgency": "whenever"},
        {"outcome": "clear", "urgency": "routine"},
        {"outcome": "incomplete"},
        {"outcome": "clear", "patient": "Ada Example"},
        {"outcome": "clear", "comment": "x" * 1001},
    ],
)
async def test_a_verdict_that_the_programme_does_not_know_is_refused_and_not_repeated(world, is_problem, verdict):
    await world.screen("exam-1")
    client, claim = await claimed(world)
    answer = await client.put("/v1/exams/exam-1/verdict", json=verdict, headers={"If-Match": claim.headers["etag"]})
    is_problem(answer, 422, "invalid-request")
    assert "Ada Example" not in answer.text


async def test_handing_back_undecided_leaves_the_exam_to_others(world):
    await world.screen("exam-1")
    client, _ = await claimed(world)
    assert (await client.delete("/v1/exams/exam-1/claim")).json()["reading"]["state"] == "open"
    await claimed(world, "ben")


@pytest.mark.parametrize("call", [("put", "claim"), ("delete", "claim"), ("delete", "verdict")])
async def test_what_is_not_there_cannot_be_read(world, is_problem, call):
    method, what = call
    headers = {"If-Match": '"1.1.1"'}
    answer = await world.client("ada").request(method, f"/v1/exams/exam-9/{what}", headers=headers)
    is_problem(answer, 404, "unknown-exam")


async def test_whoever_sends_a_weak_etag_is_told_what_to_send(world, is_problem):
    await world.screen("exam-1")
    client = world.client("ada")
    version = (await client.get("/v1/exams/exam-1")).json()["version"]
    weak = await client.put("/v1/exams/exam-1/claim", headers={"If-Match": f'W/"{version}"'})
    assert "`version` in quotes" in is_problem(weak, 412, "stale")["detail"]
    assert (await client.put("/v1/exams/exam-1/claim", headers={"If-Match": f'"{version}"'})).status_code == 200
