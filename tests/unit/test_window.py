from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.records import Position
from eyestream.testing.clock import settle
from eyestream.window import Window


def at(offset: int, *, partition: int = 0, epoch: int = 0) -> Position:
    return Position("images", partition, offset, epoch)


def wide() -> Window:
    return Window(max_pictures=1000, max_bytes=2**30)


async def test_nothing_is_acknowledged_before_an_earlier_picture():
    window = wide()
    for offset in range(3):
        await window.open(at(offset), nbytes=1)
    assert await window.done(at(2)) is None
    assert await window.done(at(1)) is None
    assert await window.done(at(0)) == at(2)
    assert window.pictures == 0
    assert window.nbytes == 0


async def test_partitions_do_not_wait_for_each_other():
    window = wide()
    await window.open(at(0, partition=0), nbytes=1)
    await window.open(at(7, partition=1), nbytes=1)
    assert await window.done(at(7, partition=1)) == at(7, partition=1)


async def test_an_earlier_assignment_does_not_hold_back_a_later_one():
    window = wide()
    await window.open(at(5, epoch=1), nbytes=1)
    await window.open(at(5, epoch=2), nbytes=1)
    assert await window.done(at(5, epoch=2)) == at(5, epoch=2)


async def test_offsets_with_gaps_are_fine():
    window = wide()
    for offset in (3, 9, 11):
        await window.open(at(offset), nbytes=1)
    assert await window.done(at(3)) == at(3)
    assert await window.done(at(9)) == at(9)


async def test_finishing_a_picture_twice_is_an_error():
    window = wide()
    await window.open(at(0), nbytes=1)
    await window.open(at(1), nbytes=1)
    await window.done(at(1))
    with pytest.raises(KeyError):
        await window.done(at(1))


@pytest.mark.parametrize(("max_pictures", "max_bytes"), [(2, 1000), (100, 20)])
async def test_a_full_window_waits_for_room(max_pictures, max_bytes):
    window = Window(max_pictures=max_pictures, max_bytes=max_bytes)
    await window.open(at(0), nbytes=10)
    await window.open(at(1), nbytes=10)
    third = asyncio.create_task(window.open(at(2), nbytes=10))
    await settle()
    assert not third.done()
    await window.done(at(0))
    await third


async def test_a_picture_larger_than_the_window_is_let_in_alone():
    window = Window(max_pictures=10, max_bytes=5)
    await window.open(at(0), nbytes=50)
    second = asyncio.create_task(window.open(at(1), nbytes=1))
    await settle()
    assert not second.done()
    await window.done(at(0))
    await second


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60), st.integers(0, 2**32))
def test_watermarks_are_exactly_the_longest_done_prefix(script, seed):
    """Whatever order pictures finish in, a watermark is preceded by finished ones only, and the last is the end."""

    async def run() -> None:
        window, rng = wide(), random.Random(seed)
        opened: dict[int, list[int]] = {0: [], 1: [], 2: []}
        flying: list[tuple[int, int]] = []
        done: set[tuple[int, int]] = set()
        marks = {0: -1, 1: -1, 2: -1}

        async def finish(partition: int, offset: int) -> None:
            mark = await window.done(at(offset, partition=partition))
            done.add((partition, offset))
            if mark is not None:
                assert mark.offset > marks[mark.partition]
                marks[mark.partition] = mark.offset
            prefix = -1
            for earlier in opened[partition]:
                if (partition, earlier) not in done:
                    break
                prefix = earlier
            assert marks[partition] == prefix

        for partition, finishes in script:
            offset = len(opened[partition])
            opened[partition].append(offset)
            await window.open(at(offset, partition=partition), nbytes=1)
            flying.append((partition, offset))
            if finishes:
                await finish(*flying.pop(rng.randrange(len(flying))))
        while flying:
            await finish(*flying.pop(rng.randrange(len(flying))))
        assert window.pictures == 0

    asyncio.run(run())
