"""Scopes for one programme alone: every route keeps to them, and one that is new must be put into this list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from fastapi import APIRouter

from eyestream.brokers.deadletters import DeadLetter
from eyestream.records import Position
from eyestream.sinks.audit import Actor, Entry
from eyestream.sinks.base import Decided
from eyestream.sinks.feed import Cursor
from eyestream.sinks.readings import Read
from eyestream.testing.messages import png
from eyestream.testing.screenings import a_meta, a_screening
from eyestream.web.explainer import Explanation
from eyestream.web.guard import Reader
from eyestream.web.services import File

EXAM, PICTURE = "/v1/exams/exam-1", "/v1/exams/exam-1/pictures/{image}"
LETTER = "screening.images.dlq/0/0"


@dataclass(frozen=True)
class Case:
    """What is asked of a route, and how whoever may not is answered: by a refusal, or with nothing to see."""

    path: str
    refusal: tuple[int, str] | None
    ask: dict = field(default_factory=dict)


HIDDEN, FORBIDDEN = (404, "unknown-exam"), (403, "not-allowed")
CASES = {
    "GET /v1/programmes": Case("/v1/programmes", None),
    "GET /v1/programmes/{programme}/worklist": Case("/v1/programmes/demo/worklist", FORBIDDEN),
    "GET /v1/programmes/{programme}/counts": Case("/v1/programmes/demo/counts", FORBIDDEN),
    "GET /v1/programmes/{programme}/line": Case("/v1/programmes/demo/line", FORBIDDEN),
    "GET /v1/exams/{exam_id}": Case(EXAM, HIDDEN),
    "GET /v1/exams/{exam_id}/fhir": Case(f"{EXAM}/fhir", HIDDEN),
    "GET /v1/exams/{exam_id}/pictures/{image_id}": Case(PICTURE, HIDDEN),
    "GET /v1/exams/{exam_id}/pictures/{image_id}/seen": Case(f"{PICTURE}/seen", HIDDEN),
    "GET /v1/exams/{exam_id}/pictures/{image_id}/heatmap": Case(f"{PICTURE}/heatmap", HIDDEN),
    "PUT /v1/exams/{exam_id}/claim": Case(f"{EXAM}/claim", HIDDEN),
    "DELETE /v1/exams/{exam_id}/claim": Case(f"{EXAM}/claim", HIDDEN),
    "PUT /v1/exams/{exam_id}/verdict": Case(f"{EXAM}/verdict", HIDDEN, {"json": {"outcome": "clear"}}),
    "DELETE /v1/exams/{exam_id}/verdict": Case(f"{EXAM}/verdict", HIDDEN),
    "GET /v1/events": Case("/v1/events", None, {"headers": {"Last-Event-ID": "0"}}),
    "POST /v1/scores": Case("/v1/scores?programme=demo", FORBIDDEN, {"content": png(0)}),
    "GET /v1/dead-letters": Case("/v1/dead-letters", None),
    "POST /v1/dead-letters/redrives": Case(
        "/v1/dead-letters/redrives", (404, "unknown-letter"), {"json": {"addresses": [LETTER]}}
    ),
    "GET /v1/audit": Case("/v1/audit", None),
    "GET /v1/me": Case("/v1/me", None),
}


class Judged:
    """A `Scorer` and `Explainer` that answers whatever it is asked."""

    def __init__(self, bank):
        self.bank = bank

    async def score(self, value, meta, *, content_type):
        return replace(a_screening(meta.image_id), meta=meta)

    async def seen(self, value, meta, *, side, content_type):
        return b"a view of exam-1"

    async def explain(self, value, meta, *, content_type):
        names = tuple(condition.id for condition in self.bank.programme.conditions)
        numbers, lost = (0.5,) * len(names), np.zeros((2, 2, len(names)))
        return Explanation(self.bank.head.provenance.encoder, self.bank.head.digest, names, numbers, numbers, lost)


def letter(number, *, programme="demo", readable=True):
    return DeadLetter(
        position=Position("screening.images.dlq", 0, number),
        original=Position("screening.images", 1, 10 + number),
        reason="truncated",
        stage="decoding",
        explanation="The file ends early: send it again.",
        attempts=1,
        produced=1.0,
        failed=1_772_352_000.0 + number,
        key=b"exam-1",
        headers=(),
        nbytes=1000,
        carried=True,
        meta=a_meta(f"img-{number}", f"exam-{number + 1}", programme=programme) if readable else None,
        redrives=0,
        redriven=False,
    )


@pytest.fixture
async def stocked(world):
    """Something of the programme demo behind every route; streams end after their first event."""
    metas = await world.screen("exam-1")
    for seed, meta in enumerate(metas):
        world.pictures.files[meta.image_id] = File(png(seed), "image/png", "png")
    world.image = metas[0].image_id
    judged = Judged(world.line.banks["demo"])
    world.change(scorer=judged, explainer=judged, house=replace(world.services.house, stream_s=0.0, heartbeat_s=0.01))
    world.feed.add(Decided("exam-1", "demo", "refer", "soon", 1, 1, 0.0))
    world.letters.letters = [letter(0)]
    looked = Actor(who="key:somebody", how="api-key", request="r-1")
    await world.readings.record([Entry(actor=looked, action="exam.viewed", at=world.clock(), exam_id="exam-1")])
    return world


async def ask(world, role, name):
    """Ask the route as somebody who has done all that must come before: claimed, decided, seen the exam's version."""
    case, (method, _, path) = CASES[name], name.partition(" ")
    actor = Actor(who=f"key:{role}", how="api-key", request="r-2")
    headers = dict(case.ask.get("headers", {}))
    if path.endswith(("/claim", "/verdict")) and name != "PUT /v1/exams/{exam_id}/claim":
        claimed = await world.readings.claim("exam-1", actor, for_s=900)
        version = claimed.reading.version
        if method == "DELETE" and path.endswith("/verdict"):
            decided = await world.readings.decide(
                "exam-1", actor, outcome="clear", urgency="none", comment="", seen=version
            )
            version = decided.reading.version
        headers["If-Match"] = f'"{version}"'
    rest = {key: value for key, value in case.ask.items() if key != "headers"}
    return await world.client(role).request(method, case.path.format(image=world.image), headers=headers, **rest)


def test_every_route_is_in_this_list(world):
    described = world.app.openapi()["paths"]
    asked = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert asked - CASES.keys() == {"GET /healthz", "GET /readyz"}
    assert CASES.keys() <= asked


@pytest.mark.parametrize("name", CASES)
async def test_whoever_may_in_this_programme_alone_is_answered_as_whoever_may_in_all(stocked, name):
    for role in ("here", "all"):
        answer = await ask(stocked, role, name)
        assert answer.status_code == 200, answer.text
        if CASES[name].refusal is None:
            assert "exam-1" in answer.text or "demo" in answer.text or role == "all"
        await stocked.readings.release("exam-1", Actor(who=f"key:{role}", how="api-key", request="r-3"))
        if name.startswith("PUT") and name.endswith("verdict"):
            break  # it is decided now


@pytest.mark.parametrize("name", CASES)
async def test_whoever_may_in_another_programme_sees_nothing_and_changes_nothing_of_this_one(stocked, is_problem, name):
    before = len(await stocked.entries())
    answer = await ask(stocked, "elsewhere", name)
    if CASES[name].refusal is None:
        assert answer.status_code == 200, answer.text
        assert "key:somebody" not in answer.text
    else:
        is_problem(answer, *CASES[name].refusal)
    for word in ("exam-1", "demo", stocked.image):
        assert word not in answer.text.replace("read@demo", "").replace("score@demo", ""), word
    assert stocked.letters.asked == []
    deeds = [entry.action for entry in (await stocked.entries())[: len(await stocked.entries()) - before]]
    prepared = {"exam.claimed", "exam.decided"} if name.endswith(("/claim", "/verdict")) else set()
    assert set(deeds) - prepared <= {"worklist.viewed", "dead-letters.viewed", "audit.viewed"}


async def test_a_refusal_says_which_scope_is_missing(stocked, is_problem):
    answer = await stocked.client("elsewhere").get("/v1/programmes/demo/worklist")
    assert "the scope read@demo:" in is_problem(answer, 403, "not-allowed")["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="read@demo"'


async def test_who_may_read_all_and_decide_elsewhere_is_told_that_deciding_is_what_is_missing(stocked, is_problem):
    guest = stocked.client("guest")
    assert (await guest.get(EXAM)).status_code == 200
    answer = await guest.put(f"{EXAM}/claim")
    assert "the scope decide@demo:" in is_problem(answer, 403, "not-allowed")["detail"]
    answer = await guest.get(PICTURE.format(image=stocked.image) + "/heatmap")
    assert "the scope score@demo:" in is_problem(answer, 403, "not-allowed")["detail"]


async def test_an_exam_of_another_programme_and_one_that_is_not_there_cannot_be_told_apart(stocked):
    client = stocked.client("elsewhere")
    there, nowhere = [(await client.get(f"/v1/exams/{name}")).json() for name in ("exam-1", "exam-nobody")]
    assert {**there, "request": ""} == {**nowhere, "request": ""}


async def test_a_route_whose_path_names_no_programme_is_closed_until_it_leaves_out_what_is_of_others(
    stocked, is_problem
):
    """So that a new route which forgets it refuses too much, and never too little."""
    router = APIRouter()

    @router.get("/v1/new")
    async def new(_visit: Reader):
        return "something of every programme"

    stocked.app.include_router(router)
    assert (await stocked.client("viewer").get("/v1/new")).status_code == 200
    answer = await stocked.client("here").get("/v1/new")
    assert "the scope read for every programme:" in is_problem(answer, 403, "not-allowed")["detail"]


async def test_programmes_that_may_not_be_read_are_not_listed(stocked):
    bank = stocked.line.banks["demo"]
    stocked.line.banks = {"demo": bank, "glaucoma": bank}
    for role, names in {"here": ["demo"], "elsewhere": ["glaucoma"], "all": ["demo", "glaucoma"]}.items():
        body = (await stocked.client(role).get("/v1/programmes")).json()
        assert [one["name"] for one in body["programmes"]] == names


async def test_events_of_others_are_left_out_and_their_places_passed(stocked):
    stocked.feed.add(Read("exam-2", "glaucoma", "claimed", "key:ada", 0.0))
    resume = {"Last-Event-ID": "0"}
    told = (await stocked.client("elsewhere").get("/v1/events", headers=resume)).text
    assert "exam-2" in told
    assert "exam-1" not in told
    [place] = [line.removeprefix("id: ") for line in told.splitlines() if line.startswith("id: ") and line != "id: 0"]
    assert Cursor.parse(place, sources=1).places == ((2, 0),)


async def test_events_of_a_programme_that_may_not_be_read_are_refused(stocked, is_problem):
    is_problem(await stocked.client("elsewhere").get("/v1/events?programme=demo"), 403, "not-allowed")
    assert (await stocked.client("elsewhere").get("/v1/events?programme=glaucoma")).status_code == 200


async def test_dead_letters_are_those_of_ones_programmes_and_one_of_none_is_for_who_operates_all(stocked, is_problem):
    stocked.letters.letters = [letter(0), letter(1, programme="glaucoma"), letter(2, readable=False)]
    for role, numbers in {"here": [0], "elsewhere": [1], "boss": [2, 1, 0]}.items():
        body = (await stocked.client(role).get("/v1/dead-letters")).json()
        assert [one["address"] for one in body["letters"]] == [f"screening.images.dlq/0/{n}" for n in numbers]
        assert body["total"] == body["reasons"][0]["count"] == len(numbers)
    client = stocked.client("here")
    is_problem(await client.get("/v1/dead-letters?programme=glaucoma"), 403, "not-allowed")
    body = {"addresses": [LETTER, "screening.images.dlq/0/1", "screening.images.dlq/0/2"]}
    refused = is_problem(await client.post("/v1/dead-letters/redrives", json=body), 404, "unknown-letter")
    assert refused["missing"] == body["addresses"][1:]
    assert stocked.letters.asked == []
    cursor = await client.get("/v1/dead-letters?cursor=screening.images.dlq/0/1")
    is_problem(cursor, 400, "invalid-cursor")


async def test_the_record_shows_looks_at_exams_of_ones_programme_though_they_do_not_name_it(stocked):
    await stocked.client("here").get("/v1/programmes/demo/worklist")
    await stocked.client("boss").get("/v1/dead-letters")
    seen = {}
    for role in ("here", "elsewhere", "boss"):
        entries = (await stocked.client(role).get("/v1/audit?since=2020-01-01T00:00:00Z")).json()["entries"]
        seen[role] = {one["action"] for one in entries}
    assert seen["here"] == {"exam.viewed", "worklist.viewed"}
    assert seen["elsewhere"] == set()
    assert seen["boss"] >= {"exam.viewed", "worklist.viewed", "dead-letters.viewed", "audit.viewed"}


async def test_one_is_told_for_which_programmes_ones_scopes_hold(stocked):
    body = (await stocked.client("guest").get("/v1/me")).json()
    assert body["scopes"] == ["read", "decide", "score"]
    assert body["narrowed"] == {"decide": ["glaucoma"], "score": ["glaucoma"]}
