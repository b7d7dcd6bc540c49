"""What every keeper of people's readings must keep, as tests to subclass. Knows no store.

class TestMyReadings(ReadingsContract):
    @pytest.fixture
    async def desk(self, judge, clock):
        yield Desk(sink=..., readings=..., dossiers=..., audit=...)
"""

from __future__ import annotations

import dataclasses

import pytest

from eyestream.sinks.audit import Actor, Audit, Entry
from eyestream.sinks.base import Sink
from eyestream.sinks.readings import Answer, Dossiers, Reading, Readings, Version
from eyestream.testing.screenings import Judge, a_note, a_screening

MORNING = 1_772_352_000.0
QUARTER = 900.0


class WallClock:
    """Seconds since 1970 that pass only in `step`."""

    def __init__(self, at: float = MORNING) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def step(self, seconds: float) -> None:
        self.at += seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """One empty store: the line's sink, its readers and their record."""

    sink: Sink
    readings: Readings
    dossiers: Dossiers
    audit: Audit

    async def standing(self, exam_id: str = "exam-1") -> Reading:
        """How the exam stands; it must be known."""
        [reading] = await self.readings.readings([exam_id])
        assert reading is not None
        return reading

    async def decide(self, actor: Actor, seen: Version, *, outcome: str = "clear") -> Answer:
        return await self.readings.decide("exam-1", actor, outcome=outcome, urgency="none", comment="", seen=seen)


def an_actor(who: str) -> Actor:
    """A reader of this name."""
    return Actor(who=who, how="api-key", request="r-1")


ADA, BEN = an_actor("ada"), an_actor("ben")


class ReadingsContract:
    """Subclass it with a fixture `desk` that makes a sink with `judge`, and readings with `clock`."""

    @pytest.fixture
    def judge(self) -> Judge:
        return Judge()

    @pytest.fixture
    def clock(self) -> WallClock:
        return WallClock()

    @pytest.fixture(autouse=True)
    async def known(self, desk: Desk) -> Reading:
        """An exam to refer, unread."""
        await desk.sink.store([a_screening("img-1")])
        return await desk.standing()

    async def test_an_unread_exam_is_open_and_tells_how_the_line_decided(self, known: Reading) -> None:
        assert (known.state, known.reader, known.verdict) == ("open", None, None)
        assert known.decision is not None
        assert known.decision.outcome == "refer"
        assert known.version == Version(1, 1, 0)

    async def test_what_nobody_screened_cannot_be_read(self, desk: Desk, known: Reading) -> None:
        assert await desk.readings.readings(["exam-9", "exam-1"]) == [None, known]
        seen = known.version
        answers = [
            await desk.readings.claim("exam-9", ADA, for_s=QUARTER),
            await desk.readings.release("exam-9", ADA),
            await desk.readings.decide("exam-9", ADA, outcome="clear", urgency="none", comment="", seen=seen),
            await desk.readings.reopen("exam-9", ADA, seen=seen),
        ]
        assert answers == [Answer("unknown", None)] * 4

    async def test_one_reader_at_a_time_holds_an_exam(self, desk: Desk) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.fate == "done"
        assert claimed.reading is not None
        assert (claimed.reading.state, claimed.reading.reader) == ("claimed", "ada")
        assert claimed.reading.until == pytest.approx(MORNING + QUARTER)
        refused = await desk.readings.claim("exam-1", BEN, for_s=QUARTER)
        assert (refused.fate, refused.reading) == ("taken", claimed.reading)
        assert (await desk.readings.release("exam-1", BEN)).fate == "taken"

    async def test_a_claim_of_another_state_than_was_seen_is_stale(self, desk: Desk, known: Reading) -> None:
        await desk.sink.store([a_screening("img-2")])
        stale = await desk.readings.claim("exam-1", ADA, for_s=QUARTER, seen=known.version)
        assert stale.fate == "stale"
        assert stale.reading == await desk.standing()
        assert stale.reading.state == "open"

    async def test_renewing_a_claim_prolongs_it_and_changes_no_version(self, desk: Desk, clock: WallClock) -> None:
        first = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        clock.step(600)
        again = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert first.reading is not None
        assert again.reading is not None
        assert again.reading.version == first.reading.version
        assert again.reading.until == pytest.approx(MORNING + 600 + QUARTER)
        assert again.reading.since == pytest.approx(MORNING)

    async def test_an_abandoned_claim_is_nobodys_and_the_next_reader_takes_it(
        self, desk: Desk, clock: WallClock
    ) -> None:
        first = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        clock.step(QUARTER + 1)
        assert (await desk.standing()).state == "open"
        assert (await desk.readings.claim("exam-1", BEN, for_s=QUARTER)).fate == "done"
        assert first.reading is not None
        assert (await desk.decide(ADA, first.reading.version)).fate == "stale"
        assert (await desk.decide(ADA, (await desk.standing()).version)).fate == "taken"

    async def test_being_late_does_no_harm_while_nobody_else_claimed(self, desk: Desk, clock: WallClock) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        clock.step(QUARTER + 1)
        assert claimed.reading is not None
        assert (await desk.decide(ADA, claimed.reading.version)).fate == "done"

    async def test_nobody_decides_what_they_did_not_claim(self, desk: Desk, known: Reading) -> None:
        assert (await desk.decide(ADA, known.version)).fate == "not-claimed"
        await desk.readings.claim("exam-1", BEN, for_s=QUARTER)
        assert (await desk.decide(ADA, (await desk.standing()).version)).fate == "taken"
        assert (await desk.standing()).verdict is None

    async def test_a_decided_exam_keeps_its_verdict_and_its_claim_ends(self, desk: Desk, clock: WallClock) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        done = await desk.readings.decide(
            "exam-1", ADA, outcome="refer", urgency="soon", comment="both eyes", seen=claimed.reading.version
        )
        assert done.reading is not None
        assert (done.fate, done.reading.state, done.reading.reader) == ("done", "decided", None)
        verdict = done.reading.verdict
        assert verdict is not None
        assert (verdict.outcome, verdict.urgency, verdict.comment, verdict.by) == ("refer", "soon", "both eyes", "ada")
        assert verdict.at == pytest.approx(clock())
        assert (await desk.readings.claim("exam-1", BEN, for_s=QUARTER)).fate == "decided"

    async def test_a_verdict_on_an_exam_that_got_a_picture_meanwhile_is_stale(self, desk: Desk) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        await desk.sink.store([a_screening("img-2")])
        assert claimed.reading is not None
        assert (await desk.decide(ADA, claimed.reading.version)).fate == "stale"
        assert (await desk.decide(ADA, (await desk.standing()).version)).fate == "done"

    async def test_a_new_picture_opens_a_decided_exam_again(self, desk: Desk) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        await desk.decide(ADA, claimed.reading.version)
        await desk.sink.store([a_screening("img-2")])
        reading = await desk.standing()
        assert reading.state == "open"
        assert reading.verdict is not None
        assert (await desk.readings.claim("exam-1", BEN, for_s=QUARTER)).fate == "done"

    async def test_a_reader_hands_back_undecided_and_may_do_so_twice(self, desk: Desk) -> None:
        await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert (await desk.readings.release("exam-1", ADA)).fate == "done"
        assert (await desk.standing()).state == "open"
        assert (await desk.readings.release("exam-1", ADA)).fate == "done"
        assert (await desk.readings.claim("exam-1", BEN, for_s=QUARTER)).fate == "done"

    async def test_a_verdict_can_be_taken_back_once(self, desk: Desk) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        done = await desk.decide(ADA, claimed.reading.version)
        assert done.reading is not None
        assert (await desk.readings.reopen("exam-1", BEN, seen=claimed.reading.version)).fate == "stale"
        opened = await desk.readings.reopen("exam-1", BEN, seen=done.reading.version)
        assert opened.reading is not None
        assert (opened.fate, opened.reading.state, opened.reading.verdict) == ("done", "open", None)
        assert (await desk.readings.reopen("exam-1", BEN, seen=opened.reading.version)).fate == "not-decided"

    async def test_every_deed_is_on_record_once_with_who_did_it(self, desk: Desk) -> None:
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        await desk.readings.claim("exam-1", BEN, for_s=QUARTER)
        assert claimed.reading is not None
        done = await desk.decide(ADA, claimed.reading.version, outcome="recapture")
        assert done.reading is not None
        await desk.readings.reopen("exam-1", BEN, seen=done.reading.version)
        entries = await self.all_entries(desk)
        assert [(entry.actor, entry.action, entry.detail) for entry in entries] == [
            (BEN, "exam.reopened", ""),
            (ADA, "exam.decided", "recapture none"),
            (ADA, "exam.claimed", ""),
        ]
        assert {(entry.exam_id, entry.programme) for entry in entries} == {("exam-1", "diabetic")}

    async def test_the_record_is_read_page_by_page_without_loss(self, desk: Desk) -> None:
        given = [
            Entry(actor=an_actor(f"reader-{number % 5}"), action="exam.viewed", at=MORNING, exam_id=f"exam-{number}")
            for number in range(23)
        ]
        await desk.audit.record(given)
        read: list[Entry] = []
        cursor = None
        while True:
            page = await desk.audit.entries(since=0, until=1e11, limit=5, cursor=cursor)
            assert len(page.entries) <= 5
            read += page.entries
            if (cursor := page.cursor) is None:
                break
        assert sorted(read, key=str) == sorted(given, key=str)

    async def test_of_a_time_before_all_clocks_there_is_no_record(self, desk: Desk) -> None:
        await desk.audit.record([Entry(actor=ADA, action="exam.viewed", at=MORNING, exam_id="exam-1")])
        assert (await desk.audit.entries(since=-2e9, until=-1e9)).entries == ()

    async def test_a_dossier_is_the_whole_exam_and_the_look_at_it_is_on_record(self, desk: Desk) -> None:
        await desk.sink.store([a_screening("img-2"), a_screening("img-3", ungradable="blur")])
        await desk.sink.note_unreadable([a_note("img-4")])
        look = Entry(actor=ADA, action="exam.viewed", at=MORNING, exam_id="exam-1")
        dossier = await desk.dossiers.dossier("exam-1", look)
        assert dossier is not None
        assert dossier.reading == await desk.standing()
        assert dossier.exam.decision == dossier.reading.decision
        assert [picture.image_id for picture in dossier.exam.pictures] == ["img-1", "img-2", "img-3", "img-4"]
        assert [note.reason for note in dossier.exam.unreadable] == ["truncated"]
        assert {result.meta.image_id: result.findings for result in dossier.results} == {
            name: a_screening(name).findings for name in ("img-1", "img-2", "img-3")
        }
        assert await desk.dossiers.dossier("exam-9", dataclasses.replace(look, exam_id="exam-9")) is None
        assert {entry.exam_id for entry in await self.all_entries(desk)} == {"exam-1", "exam-9"}

    async def all_entries(self, desk: Desk) -> list[Entry]:
        """All that is on record, newest first."""
        return list((await desk.audit.entries(since=0, until=1e11, limit=1000)).entries)
