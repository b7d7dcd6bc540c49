from __future__ import annotations

import asyncio

import pytest

from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import uncalibrated
from eyestream.sinks.base import WorklistEntry, WorklistPage
from eyestream.sinks.memory import MemorySink
from eyestream.sinks.memory_readings import MemoryReadings
from eyestream.testing.screenings import Judge, a_note, a_screening
from eyestream.triage import decide


@pytest.fixture
async def busy(world):
    """Nine exams to refer, one to take again and one clear; the judge's ranks follow the probabilities."""
    world.sink = MemorySink(Judge(), clock=world.clock)
    world.readings = MemoryReadings(world.sink, clock=world.clock)
    world.change(results=world.sink, dossiers=world.readings, readings=world.readings, audit=world.readings)
    await world.sink.store(
        [a_screening(f"img-{number}", f"exam-{number}", probability=number / 10) for number in range(4, 10)]
    )
    await world.sink.note_unreadable([a_note("img-1", "exam-1")])
    return world


async def pages(client, **params):
    """Exams of each page, by following the cursor."""
    found, cursor = [], None
    while True:
        answer = await client.get(
            "/v1/programmes/diabetic/worklist", params={**params, **({"cursor": cursor} if cursor else {})}
        )
        assert answer.status_code == 200, answer.text
        found.append([exam["exam_id"] for exam in answer.json()["exams"]])
        if (cursor := answer.json()["cursor"]) is None:
            return found


async def test_the_most_urgent_comes_first_page_by_page(busy):
    assert await pages(busy.client("viewer"), limit=4) == [
        ["exam-9", "exam-8", "exam-7", "exam-6"],
        ["exam-5", "exam-1"],
    ]


async def test_filters_narrow_it_down_and_pages_stay_full(busy):
    client = busy.client("ada")
    await client.put("/v1/exams/exam-8/claim")
    assert await pages(client, outcome="recapture") == [["exam-1"]]
    assert await pages(client, urgency="soon", limit=2) == [["exam-9", "exam-8"], ["exam-7", "exam-6"], ["exam-5"]]
    assert await pages(client, which="claimed") == [["exam-8"]]
    assert await pages(client, which="mine") == [["exam-8"]]
    assert await pages(busy.client("ben"), which="mine") == [[]]
    assert await pages(client, which="open", limit=2) == [["exam-9", "exam-7"], ["exam-6", "exam-5"], ["exam-1"]]


async def test_what_a_reader_decided_waits_no_longer(busy):
    client = busy.client("ada")
    claim = await client.put("/v1/exams/exam-9/claim")
    await client.put("/v1/exams/exam-9/verdict", json={"outcome": "clear"}, headers={"If-Match": claim.headers["etag"]})
    assert (await pages(client))[0][0] == "exam-8"


async def test_an_entry_whose_exam_is_now_of_another_programme_is_not_listed(busy):
    """An id may be given anew once its exam is kept no longer, and the entry of the first one be there still."""

    class Outlived:
        async def worklist(self, programme, *, limit, cursor):
            return WorklistPage((WorklistEntry("exam-9", 90, 0.0), WorklistEntry("exam-0", 90, 0.0)), None)

    busy.change(results=Outlived())
    answer = await busy.client("viewer").get("/v1/programmes/glaucoma/worklist")
    assert answer.json() == {"programme": "glaucoma", "exams": [], "cursor": None}


async def test_a_row_says_who_holds_the_exam_and_nothing_of_the_patient(busy):
    await busy.client("ada").put("/v1/exams/exam-9/claim")
    answer = await busy.client("viewer").get("/v1/programmes/diabetic/worklist", params={"limit": 1})
    [row] = answer.json()["exams"]
    assert (row["outcome"], row["urgency"], row["rank"]) == ("refer", "soon", 90)
    assert (row["reading"]["state"], row["reading"]["reader"]) == ("claimed", "key:ada")
    assert "planted" not in answer.text


@pytest.mark.parametrize("cursor", ["x", "nan:exam-1", "1e999:x", "'; DROP", "-", "0x10"])
async def test_a_cursor_that_is_none_of_ours_is_refused(busy, is_problem, cursor):
    answer = await busy.client("viewer").get("/v1/programmes/diabetic/worklist", params={"cursor": cursor})
    is_problem(answer, 400, "invalid-cursor")


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"which": "none"}, {"urgency": "A b"}, {"cursor": "x" * 201}],
)
async def test_a_question_that_makes_no_sense_is_refused(busy, is_problem, params):
    answer = await busy.client("viewer").get("/v1/programmes/diabetic/worklist", params=params)
    body = is_problem(answer, 422, "invalid-request")
    assert body["faults"][0]["at"] == f"query/{next(iter(params))}"


async def test_a_programme_that_nobody_knows_has_an_empty_worklist(world):
    answer = await world.client("viewer").get("/v1/programmes/nothing/worklist")
    assert answer.json() == {"programme": "nothing", "exams": [], "cursor": None}


async def test_a_day_is_counted(busy):
    answer = await busy.client("viewer").get("/v1/programmes/diabetic/counts", params={"day": "2026-03-01"})
    counts = {"stored": 6, "unreadable": 1, "refer": 5, "clear": 1, "recapture": 1}
    assert answer.json() == {"programme": "diabetic", "day": "2026-03-01", "counts": counts}
    assert (await busy.client("viewer").get("/v1/programmes/diabetic/counts")).json() == answer.json()


async def test_the_programmes_in_service_tell_what_is_looked_for_and_with_what(world):
    answer = await world.client("viewer").get("/v1/programmes")
    [view] = answer.json()["programmes"]
    programme, bank = world.line.programme, world.line.banks["demo"]
    assert (view["name"], view["digest"], view["bank"]) == ("demo", programme.digest, bank.head.digest)
    assert {step["name"] for step in view["urgencies"]} == {step.name for step in programme.urgencies}
    assert len(view["conditions"]) == len(programme.conditions)


async def test_many_readers_taking_from_the_top_never_share_an_exam(busy):
    async def work(role):
        client, taken = busy.client(role), []
        while True:
            rows = (await client.get("/v1/programmes/diabetic/worklist", params={"which": "open"})).json()["exams"]
            if not rows:
                return taken
            answer = await client.put(
                f"/v1/exams/{rows[0]['exam_id']}/claim", headers={"If-Match": f'"{rows[0]["version"]}"'}
            )
            if answer.status_code == 200:
                taken.append(rows[0]["exam_id"])

    ada, ben = await asyncio.gather(work("ada"), work("ben"))
    assert sorted(ada + ben) == ["exam-1", "exam-5", "exam-6", "exam-7", "exam-8", "exam-9"]


async def test_an_exam_that_is_scored_alone_says_which_eyes_are(world):
    undecided = uncalibrated(Programme.builtin("demo"))
    world.sink = MemorySink(lambda _, *exam: decide(undecided, *exam), clock=world.clock)
    world.readings = MemoryReadings(world.sink, clock=world.clock)
    world.change(results=world.sink, dossiers=world.readings, readings=world.readings, audit=world.readings)
    await world.sink.store([a_screening("img-1", "exam-1")])
    client = world.client("viewer")
    [listed] = (await client.get("/v1/programmes/diabetic/worklist")).json()["exams"]
    for told in (listed, (await client.get("/v1/exams/exam-1")).json()["decision"]):
        assert told["outcome"] == "incomplete"
        assert told["eyes"] == {"R": "missing", "L": "missing"}
        assert told["scored_only"] == ["R"]
