from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyestream.encoders.fake import FakeEncoder
from eyestream.pipeline import Pace
from eyestream.records import ImageMeta
from eyestream.scoring import score
from eyestream.testing.clock import settle
from eyestream.testing.line import MemoryLine
from eyestream.testing.messages import meta_for, png


async def assert_each_picture_has_its_own_result(line: MemoryLine, sent: list[ImageMeta]) -> None:
    """Every stored finding is what this very picture's pixels give alone, with no batch and no line around it."""
    exams = {meta.exam_id for meta in sent}
    stored = [screening for exam in exams for screening in await line.sink.screenings(exam)]
    assert sorted(screening.meta.image_id for screening in stored) == sorted({meta.image_id for meta in sent})
    for screening in stored:
        message = line.topic.messages[screening.position.partition][screening.position.offset]
        pixels = line.intake.capture(message, line.banks).pixels
        (alone,) = score(line.banks["demo"].head, line.fake.embedding(pixels)[None])
        assert screening.meta.sha256 == meta_for(message.value).sha256
        assert [finding.condition for finding in screening.findings] == [
            finding.condition for finding in alone.findings
        ]
        np.testing.assert_allclose(
            [finding.probability for finding in screening.findings],
            [finding.probability for finding in alone.findings],
            atol=1e-5,
        )


async def test_pictures_are_stored_and_acknowledged():
    line = MemoryLine(partitions=2)
    sent = [line.put(seed, exam_id=f"exam-{seed % 3}", partition=seed % 2) for seed in range(11)]
    await line.run()
    assert line.unacknowledged() == 0
    assert line.counted("stored") == 11
    await assert_each_picture_has_its_own_result(line, sent)


async def test_a_result_carries_all_that_explains_it():
    line = MemoryLine()
    meta = line.put(1)
    await line.run()
    (screening,) = await line.sink.screenings(meta.exam_id)
    assert screening.meta == meta
    assert screening.identity.encoder == line.encoder.spec.digest
    assert screening.identity.bank == line.banks["demo"].head.digest
    assert screening.programme == line.programme.digest
    assert screening.preprocessing == line.intake.preprocessing.digest
    times = screening.timings
    assert times.captured == meta.captured_at.timestamp()
    assert times.fetched <= times.decoded <= times.encoded <= times.stored


async def test_each_stored_picture_counts_once_in_how_long_storing_and_all_took():
    line = MemoryLine()
    for seed in range(5):
        line.put(seed)
    await line.run()
    told = line.metrics.registry.get_sample_value
    for stage in ("store", "total"):
        assert told("eyestream_stage_seconds_count", {"stage": stage}) == 5
    assert told("eyestream_stage_seconds_sum", {"stage": "store"}) < 5 * 60


async def test_a_broken_picture_goes_to_the_dead_letters_and_its_batch_mates_go_on():
    line = MemoryLine()
    good = [line.put(seed) for seed in range(3)]
    broken = line.put_broken(99)
    good += [line.put(seed) for seed in range(3, 6)]
    await line.run()
    (dead,) = line.topic.dead_letters
    assert (dead.rejection.reason, dead.attempts) == ("truncated", 1)
    assert dead.message.value == png(99)[:-40]
    await assert_each_picture_has_its_own_result(line, good)
    exam = await line.sink.exam("exam-1")
    assert [note.meta.image_id for note in exam.unreadable] == [broken.image_id]
    assert (line.counted("stored"), line.counted("dead-lettered")) == (6, 1)


async def test_a_picture_of_an_unknown_programme_is_refused_without_touching_an_exam():
    line = MemoryLine()
    line.put(1, programme="no-such-programme")
    await line.run()
    assert [dead.rejection.reason for dead in line.topic.dead_letters] == ["unknown-programme"]
    assert await line.sink.exam("exam-1") is None


async def test_a_picture_without_a_finite_embedding_is_refused_alone():
    line = MemoryLine()
    good = [line.put(1), line.put(2)]
    poisoned = line.put(3)
    line.fake.poison(line.intake.capture(line.topic.messages[0][2], line.banks).pixels)
    await line.run()
    assert [dead.rejection.reason for dead in line.topic.dead_letters] == ["embedding-not-finite"]
    await assert_each_picture_has_its_own_result(line, good)
    exam = await line.sink.exam("exam-1")
    assert [note.meta.image_id for note in exam.unreadable] == [poisoned.image_id]


async def test_a_picture_whose_embedding_has_no_direction_is_refused_alone():
    class Silent(FakeEncoder):
        """Gives nothing but zeros for one picture, as an engine does whose last layer none of it excites."""

        def embedding(self, pixels):
            vector = super().embedding(pixels)
            return np.zeros_like(vector) if np.isnan(vector).any() else vector

    line = MemoryLine(encoder=(encoder := Silent()))
    line.fake = encoder
    good = [line.put(1), line.put(2)]
    line.put(3)
    encoder.poison(line.intake.capture(line.topic.messages[0][2], line.banks).pixels)
    await line.run()
    assert [dead.rejection.reason for dead in line.topic.dead_letters] == ["embedding-without-direction"]
    await assert_each_picture_has_its_own_result(line, good)


async def test_parts_that_are_away_cost_time_and_nothing_else():
    line = MemoryLine()
    sent = [line.put(seed) for seed in range(9)]
    line.put_broken(77)
    line.fake.unavailable(3)
    line.sink.unavailable(2)
    line.sink.fail_after_store(2)
    await line.run()
    await assert_each_picture_has_its_own_result(line, sent)
    assert line.unacknowledged() == 0
    assert line.counted("conflict") == 0


async def test_a_dead_letter_that_cannot_be_written_keeps_its_picture_unacknowledged():
    line = MemoryLine()
    line.put_broken(1)
    running = asyncio.create_task(line.line.run())
    await line.step()
    line.topic.unavailable(1)
    await line.until_acknowledged()
    assert len(line.topic.dead_letters) == 1
    await line.drain(running)


async def test_a_crash_before_the_acknowledgement_gives_duplicates_and_no_conflict():
    line = MemoryLine()
    sent = [line.put(seed) for seed in range(8)]
    line.sink.fail_after_store(1)
    running = asyncio.create_task(line.line.run())
    await line.step()
    running.cancel()
    line.broker.crash()
    await asyncio.gather(running, return_exceptions=True)
    line.start()
    await line.run()
    await assert_each_picture_has_its_own_result(line, sent)
    assert line.counted("duplicate") > 0
    assert line.counted("conflict") == 0


async def test_the_same_picture_sent_twice_is_one_picture():
    line = MemoryLine()
    first, second = line.put(5), line.put(5)
    assert first == second
    await line.run()
    assert (line.counted("stored"), line.counted("duplicate")) == (1, 1)


async def test_a_bank_is_exchanged_between_two_batches():
    line = MemoryLine()
    line.put(1)
    running = asyncio.create_task(line.line.run())
    await line.until_acknowledged()
    old = line.banks["demo"].head.digest
    line.banks = {"demo": line.bank(seed=1)}
    line.put(2)
    await line.until_acknowledged()
    await line.drain(running)
    first, second = await line.sink.screenings("exam-1")
    assert first.identity.bank == old
    assert second.identity.bank == line.banks["demo"].head.digest != old


async def test_a_drain_finishes_what_is_in_flight_and_takes_no_more():
    line = MemoryLine(pace=Pace(max_batch=2, max_wait_s=0.01, depth=1, decoders=1, max_in_flight=4))
    for seed in range(20):
        line.put(seed)
    line.fake.gate.clear()
    running = asyncio.create_task(line.line.run())
    await line.step()
    taken = line.line.in_flight
    assert 0 < taken <= 4
    await line.broker.drain()
    line.fake.gate.set()
    while not running.done():
        await line.step()
    assert line.topic.acknowledged[0] == line.counted("stored")
    assert taken <= line.counted("stored") <= taken + 1


async def test_no_more_is_taken_than_the_window_holds():
    line = MemoryLine(pace=Pace(max_batch=2, max_wait_s=0.01, depth=2, decoders=2, max_in_flight=6))
    for seed in range(30):
        line.put(seed)
    line.fake.gate.clear()
    running = asyncio.create_task(line.line.run())
    for _ in range(10):
        await line.step()
    assert line.line.in_flight == 6
    line.fake.gate.set()
    await line.until_acknowledged()
    await line.drain(running)


async def test_no_more_batches_are_with_the_encoder_together_than_the_depth_says():
    class Counting(FakeEncoder):
        """Knows how many calls were under way together."""

        together = most = 0

        async def encode(self, pixels):
            self.together += 1
            self.most = max(self.most, self.together)
            try:
                return await super().encode(pixels)
            finally:
                self.together -= 1

    encoder = Counting()
    line = MemoryLine(pace=Pace(max_batch=1, max_wait_s=0.01, depth=2, decoders=2, max_in_flight=16), encoder=encoder)
    for seed in range(10):
        line.put(seed)
    encoder.gate.clear()
    running = asyncio.create_task(line.line.run())
    for _ in range(10):
        await line.step()
    assert encoder.most == 2
    encoder.gate.set()
    await line.until_acknowledged()
    await line.drain(running)
    assert encoder.most == 2


async def test_a_fault_of_ours_ends_the_line_and_acknowledges_nothing():
    line = MemoryLine()
    line.put(1)

    async def broken(_pixels):
        raise RuntimeError("a bug")

    line.fake.encode = broken
    with pytest.raises(ExceptionGroup) as caught:
        await line.run()
    assert caught.group_contains(RuntimeError, match="a bug")
    assert line.unacknowledged() == 1


async def test_a_line_that_stands_still_says_so_unless_a_part_is_away():
    line = MemoryLine()
    line.put(1)
    line.fake.gate.clear()
    running = asyncio.create_task(line.line.run())
    while not line.metrics.registry.get_sample_value("eyestream_stage_seconds_count", {"stage": "decode"}):
        await line.step(0)
    await line.step(60)
    assert line.line.stalled_s() >= 60
    line.fake.unavailable(1)
    line.fake.gate.set()
    await settle()
    assert line.line.stalled_s() == 0
    await line.until_acknowledged()
    await line.drain(running)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    pictures=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), min_size=1, max_size=24),
    max_batch=st.integers(1, 5),
    depth=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_result_ever_reaches_another_picture(pictures, max_batch, depth, seed):
    """Through reordering, retries, rebalances, crashes, broken batch-mates and part-full batches."""

    async def run() -> None:
        rng = random.Random(seed)
        pace = Pace(max_batch=max_batch, max_wait_s=0.01, depth=depth, decoders=2, max_in_flight=16)
        line = MemoryLine(partitions=3, pace=pace)
        sent = []
        for number, (exam, partition, broken) in enumerate(pictures):
            put = line.put_broken if broken else line.put
            meta = put(number, exam_id=f"exam-{exam}-{partition}", partition=partition)
            if not broken:
                sent.append(meta)
        running = asyncio.create_task(line.line.run())
        for _ in range(12):
            match rng.randrange(6):
                case 0:
                    line.fake.unavailable(1)
                case 1:
                    line.sink.fail_after_store(1)
                case 2:
                    line.topic.rebalance()
                case 3:
                    line.fake.gate.clear()
                case 4:
                    running.cancel()
                    line.broker.crash()
                    await asyncio.gather(running, return_exceptions=True)
                    line.start()
                    running = asyncio.create_task(line.line.run())
            await line.step(0.02)
            line.fake.gate.set()
        await line.until_acknowledged()
        await line.drain(running)
        assert line.counted("conflict") == 0
        await assert_each_picture_has_its_own_result(line, sent)
        assert {dead.message.position.offset for dead in line.topic.dead_letters} <= set(range(len(pictures)))

    asyncio.run(run())
