"""What every sink must keep, as tests to subclass. Knows no store.

class TestMySink(SinkContract):
    @pytest.fixture
    async def store(self, judge):
        store = MyStore.empty()
        yield Store(sinks=(MySink(store, judge), MySink(store, judge)), results=MyResults(store))
        await store.close()
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import itertools
import random
from collections import Counter

import pytest

from eyestream.records import (
    Digest,
    Finding,
    Identity,
    Screening,
    Timings,
    Unreadable,
    digest,
    now,
    utc,
)
from eyestream.sinks.base import Results, Sink, WorklistEntry
from eyestream.sinks.codec import picture_of
from eyestream.testing.screenings import IDENTITY, TAKEN, Crashed, Judge, a_note, a_screening


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """One empty store: two sinks that write to it, as two workers do, and its reader."""

    sinks: tuple[Sink, Sink]
    results: Results


class SinkContract:
    """Subclass it with a fixture `store` that makes sinks with the fixture `judge` as their `decide`."""

    @pytest.fixture
    def judge(self) -> Judge:
        return Judge()

    async def counted(self, store: Store, programme: str = "diabetic") -> dict[str, int]:
        """All counters, though midnight may have passed since the test began."""
        total: Counter[str] = Counter()
        for day in {utc(now()).date(), utc(now() - 300).date()}:
            total.update(await store.results.counts(programme, day))
        return dict(total)

    async def test_a_screening_stored_twice_is_there_once(self, store: Store) -> None:
        sink = store.sinks[0]
        assert await sink.store([a_screening("a")]) == ["stored"]
        assert await sink.store([a_screening("a")]) == ["duplicate"]
        assert len(await store.results.screenings("exam-1")) == 1
        assert await self.counted(store) == {"stored": 1, "duplicate": 1, "refer": 1}

    async def test_a_different_result_is_a_conflict_and_the_first_stands(self, store: Store) -> None:
        sink = store.sinks[0]
        await sink.store([a_screening("a", probability=0.9)])
        before = await store.results.exam("exam-1")
        assert await sink.store([a_screening("a", probability=0.1)]) == ["conflict"]
        kept = await store.results.screening("exam-1", "a", IDENTITY)
        assert kept is not None
        assert kept.findings[0].probability == 0.9
        assert await store.results.exam("exam-1") == before
        [contradiction] = await store.results.conflicts("diabetic")
        assert contradiction.findings[0].probability == 0.1
        assert (await self.counted(store))["conflict"] == 1

    async def test_outcomes_come_in_the_order_of_the_call_and_see_its_own_duplicates(self, store: Store) -> None:
        sink = store.sinks[0]
        await sink.store([a_screening("old", "exam-7")])
        outcomes = await sink.store(
            [
                a_screening("new", "exam-2"),
                a_screening("old", "exam-7"),
                a_screening("new", "exam-2"),
                a_screening("other", "exam-3"),
                a_screening("new", "exam-2", probability=0.2),
            ]
        )
        assert outcomes == ["stored", "duplicate", "duplicate", "stored", "conflict"]

    async def test_nothing_to_store_is_no_call_at_all(self, store: Store, judge: Judge) -> None:
        assert await store.sinks[0].store([]) == []
        await store.sinks[0].note_unreadable([])
        assert judge.calls == 0

    async def test_the_noise_of_an_engine_is_no_conflict(self, store: Store) -> None:
        sink = store.sinks[0]
        await sink.store([a_screening("a", probability=0.5004)])
        noisy = a_screening("a", probability=0.4996)
        assert await sink.store([dataclasses.replace(noisy, ungradable="blur")]) == ["duplicate"]
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.decision is not None
        assert exam.decision.outcome == "refer"

    @pytest.mark.parametrize(
        "other",
        [
            a_screening("a", probability=0.87),
            a_screening("a", sha256=digest("another file")),
            a_screening("a", conditions=("referable-dr", "glaucoma")),
            a_screening("a", conditions=("glaucoma",)),
            a_screening("a", conditions=()),
            a_screening("a", laterality="L"),
            a_screening("a", field="disc"),
            a_screening("a", ungradable="blur"),
        ],
        ids=["probability", "file", "more-conditions", "other-condition", "no-condition", "eye", "field", "quality"],
    )
    async def test_what_differs_beyond_noise_is_a_conflict(self, store: Store, other: Screening) -> None:
        await store.sinks[0].store([a_screening("a")])
        assert await store.sinks[0].store([other]) == ["conflict"]

    async def test_another_bank_gives_another_result_and_decides_the_exam_anew(self, store: Store) -> None:
        newer = Identity(encoder=IDENTITY.encoder, bank=digest("a newer bank"))
        await store.sinks[0].store([a_screening("a", probability=0.9)])
        assert await store.sinks[0].store([a_screening("a", probability=0.1, identity=newer)]) == ["stored"]
        assert await store.sinks[0].store([a_screening("a", probability=0.9)]) == ["duplicate"]
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.decision is not None
        assert exam.decision.outcome == "clear"
        assert [result.identity for result in await store.results.screenings("exam-1")] == [IDENTITY, newer]

    async def test_everything_that_explains_a_result_can_be_read_again(self, store: Store) -> None:
        odd = Digest("0" * 63 + "1")
        screening = dataclasses.replace(
            a_screening("a", laterality="L", priority=9, orientation=6, captured_at="2026-03-01T23:59:59.123456+05:30"),
            findings=(
                Finding("referable-dr", 0.1 + 0.2, 1 / 3, "high-sensitivity", 'dots, "blots" and – {haemorrhages}'),
                Finding("glaucoma", 1e-9, 0.5, "balanced", "a large cup"),
            ),
            ungradable="blur",
            preprocessing=odd,
            timings=Timings(1.1, 2.2, 3.3, 4.4, 5.5, 1790000000.123456),
        )
        await store.sinks[0].store([screening])
        again = await store.results.screening("exam-1", "a", IDENTITY)
        assert again is not None
        names = [field.name for field in dataclasses.fields(Screening)]
        assert {name: getattr(again, name) for name in names} == {name: getattr(screening, name) for name in names}

    async def test_the_time_of_storing_is_written_when_nobody_has(self, store: Store) -> None:
        before = now()
        await store.sinks[0].store([a_screening("a")])
        again = await store.results.screening("exam-1", "a", IDENTITY)
        assert again is not None
        assert again.timings.stored is not None
        assert before <= again.timings.stored <= now()

    async def test_what_was_never_stored_is_not_there(self, store: Store) -> None:
        await store.sinks[0].store([a_screening("a")])
        assert await store.results.exam("exam-2") is None
        assert await store.results.screening("exam-2", "a", IDENTITY) is None
        assert await store.results.screenings("exam-2") == []
        assert (await store.results.worklist("glaucoma")).entries == ()
        assert await self.counted(store, "glaucoma") == {}

    async def test_the_decision_is_that_of_all_pictures_in_whatever_order_they_come(
        self, store: Store, judge: Judge
    ) -> None:
        pictures: list[Screening | Unreadable] = [
            a_screening("a", probability=0.2),
            a_screening("b", probability=0.8, laterality="L"),
            a_screening("c", ungradable="blur"),
            a_note("d"),
        ]
        expected = [picture_of(result) for result in pictures]
        for number, order in enumerate(itertools.permutations(pictures)):
            exam_id = f"exam-{number}"
            for turn, result in enumerate(order):
                meta = result.meta.model_copy(update={"exam_id": exam_id})
                writer = store.sinks[turn % 2]
                if isinstance(result, Unreadable):
                    await writer.note_unreadable([dataclasses.replace(result, meta=meta)])
                else:
                    await writer.store([dataclasses.replace(result, meta=meta)])
            exam = await store.results.exam(exam_id)
            assert exam is not None
            assert list(exam.pictures) == expected
            assert exam.decision == judge("diabetic", exam_id, expected)

    async def test_writers_at_the_same_exam_at_once_leave_a_decision_on_all_their_pictures(
        self, store: Store, judge: Judge
    ) -> None:
        pictures = [a_screening(f"image-{number:02d}", probability=number / 50) for number in range(40)]
        outcomes = await asyncio.gather(
            *(store.sinks[number % 2].store([picture]) for number, picture in enumerate(pictures))
        )
        assert outcomes == [["stored"]] * len(pictures)
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.decided == exam.version == len(pictures)
        assert exam.decision == judge("diabetic", "exam-1", [picture_of(picture) for picture in pictures])
        assert await self.counted(store) == {"stored": len(pictures), "refer": 1}

    async def test_a_crash_between_storing_and_deciding_is_mended_when_the_picture_comes_again(
        self, store: Store, judge: Judge
    ) -> None:
        await store.sinks[0].store([a_screening("a", probability=0.1)])
        judge.crash_next()
        with pytest.raises(Crashed):
            await store.sinks[0].store([a_screening("b", probability=0.9)])
        await store.sinks[1].store([a_screening("b", probability=0.9)])
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.decision is not None
        assert exam.decision.outcome == "refer"
        assert exam.decided == exam.version
        assert len(await store.results.screenings("exam-1")) == 2

    async def test_a_crash_between_noting_and_deciding_is_mended_too(self, store: Store, judge: Judge) -> None:
        judge.crash_next()
        with pytest.raises(Crashed):
            await store.sinks[0].note_unreadable([a_note("a")])
        await store.sinks[1].note_unreadable([a_note("a")])
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.decision is not None
        assert exam.decision.notes == ("a: truncated",)

    async def test_redelivery_in_any_shape_ends_in_the_same_results_and_exact_counters(
        self, store: Store, judge: Judge
    ) -> None:
        seeded = random.Random(20260301)
        pictures = [
            a_screening(f"image-{number}", f"exam-{number % 7}", probability=seeded.random()) for number in range(30)
        ]
        deliveries = [*pictures, *(seeded.choice(pictures) for _ in range(60))]
        seeded.shuffle(deliveries)
        while deliveries:
            size = seeded.randint(1, 9)
            await seeded.choice(store.sinks).store(deliveries[:size])
            del deliveries[:size]
        for exam_number in range(7):
            own = [picture for picture in pictures if picture.meta.exam_id == f"exam-{exam_number}"]
            exam = await store.results.exam(f"exam-{exam_number}")
            assert exam is not None
            known = sorted((picture_of(picture) for picture in own), key=lambda picture: picture.image_id)
            assert list(exam.pictures) == known
            assert exam.decision == judge("diabetic", exam.exam_id, known)
        counters = await self.counted(store)
        assert (counters["stored"], counters["duplicate"]) == (30, 60)
        assert sum(counters.get(outcome, 0) for outcome in ("refer", "clear", "recapture")) == 7

    async def test_an_unreadable_picture_shows_in_its_exam_once(self, store: Store) -> None:
        await store.sinks[0].note_unreadable([a_note("a"), a_note("a")])
        await store.sinks[1].note_unreadable([a_note("a")])
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.unreadable == (a_note("a"),)
        assert [picture.unreadable for picture in exam.pictures] == ["truncated"]
        assert exam.decision is not None
        assert exam.decision.outcome == "recapture"
        assert await self.counted(store) == {"unreadable": 1, "recapture": 1}

    async def test_a_result_clears_the_note_and_a_note_never_clears_a_result(self, store: Store) -> None:
        await store.sinks[0].note_unreadable([a_note("a")])
        await store.sinks[0].store([a_screening("a", probability=0.1)])
        await store.sinks[0].note_unreadable([a_note("a")])
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.unreadable == ()
        assert [picture.unreadable for picture in exam.pictures] == [None]
        assert exam.decision is not None
        assert exam.decision.outcome == "clear"

    async def test_the_worklist_has_the_most_urgent_first_and_then_the_longest_waiting(self, store: Store) -> None:
        later = TAKEN + dt.timedelta(minutes=5)
        await store.sinks[0].store(
            [
                a_screening("a", "mild", probability=0.6),
                a_screening("b", "grave-later", probability=0.9, captured_at=later),
                a_screening("c", "grave", probability=0.9),
                a_screening("d", "healthy", probability=0.1),
                a_screening("e", "of-another-programme", programme="glaucoma"),
            ]
        )
        page = await store.results.worklist("diabetic")
        assert page.cursor is None
        assert page.entries == (
            WorklistEntry("grave", 90, TAKEN.timestamp()),
            WorklistEntry("grave-later", 90, later.timestamp()),
            WorklistEntry("mild", 60, TAKEN.timestamp()),
        )

    async def test_an_exam_waits_since_its_earliest_picture_whichever_came_first(self, store: Store) -> None:
        minutes = {"a": 5, "b": 0, "c": 9}
        for image_id, late in minutes.items():
            taken = TAKEN + dt.timedelta(minutes=late)
            await store.sinks[0].store([a_screening(image_id, captured_at=taken)])
        [entry] = (await store.results.worklist("diabetic")).entries
        exam = await store.results.exam("exam-1")
        assert exam is not None
        assert exam.since == entry.since == TAKEN.timestamp()

    async def test_pages_of_the_worklist_together_hold_each_exam_once(self, store: Store) -> None:
        # Many of one rank and one moment: the hardest place for a cursor to stand.
        exams = [a_screening("a", f"exam-{number:03d}", probability=0.9 if number % 3 else 0.6) for number in range(45)]
        await store.sinks[0].store(exams)
        seen: list[str] = []
        cursor = None
        while True:
            page = await store.results.worklist("diabetic", limit=7, cursor=cursor)
            seen += [entry.exam_id for entry in page.entries]
            cursor = page.cursor
            if cursor is None:
                break
        expected = sorted(exams, key=lambda exam: (-exam.findings[0].probability, exam.meta.exam_id))
        assert seen == [exam.meta.exam_id for exam in expected]

    async def test_an_exam_moves_in_the_worklist_and_leaves_it_when_it_is_clear(self, store: Store) -> None:
        newer = Identity(encoder=IDENTITY.encoder, bank=digest("a newer bank"))
        await store.sinks[0].store([a_screening("a", probability=0.6)])
        await store.sinks[1].store([a_screening("b", probability=0.7)])
        assert [entry.rank for entry in (await store.results.worklist("diabetic")).entries] == [70]
        await store.sinks[0].store([a_screening(image, probability=0.1, identity=newer) for image in ("a", "b")])
        assert (await store.results.worklist("diabetic")).entries == ()
        assert await self.counted(store) == {"stored": 4, "clear": 1}

    async def test_decisions_are_told_as_they_are_made(self, store: Store) -> None:
        await store.sinks[0].store([a_screening("a", "exam-1", probability=0.1)])
        await store.sinks[1].store([a_screening("b", "exam-1", probability=0.8)])
        events = store.results.tail(from_start=True)
        told = [await anext(events) for _ in range(2)]
        assert [(event.exam_id, event.outcome, event.rank, event.version) for event in told] == [
            ("exam-1", "clear", 0, 1),
            ("exam-1", "refer", 80, 2),
        ]

    async def test_a_healthy_store_passes_its_check_and_closes_twice(self, store: Store) -> None:
        for sink in store.sinks:
            await sink.check()
            await sink.close()
            await sink.close()
