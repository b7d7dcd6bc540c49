from __future__ import annotations

import threading

import pytest

from eyestream.brokers.inbox import Inbox
from eyestream.records import Message, Position

T0, T1 = ("t", 0), ("t", 1)


def message(partition: int, offset: int, *, epoch: int = 1, nbytes: int = 10) -> Message:
    return Message(
        value=bytes(nbytes), headers={}, position=Position("t", partition, offset, epoch), produced=0.0, fetched=0.0
    )


def inbox(*partitions: tuple[str, int], max_messages: int = 100, max_bytes: int = 10_000) -> Inbox:
    made = Inbox(max_messages=max_messages, max_bytes=max_bytes)
    made.assign(partitions)
    return made


def taken(box: Inbox) -> list[tuple[int, int]]:
    found = []
    while (one := box.take()) is not None:
        found.append((one.position.partition, one.position.offset))
    return found


def test_messages_leave_in_the_order_they_came() -> None:
    box = inbox(T0, T1)
    box.put([message(0, 0), message(1, 7), message(0, 1)])
    assert taken(box) == [(0, 0), (1, 7), (0, 1)]


def test_an_empty_inbox_gives_nothing() -> None:
    assert inbox(T0).take() is None


def test_messages_of_a_partition_that_is_not_ours_are_dropped() -> None:
    box = inbox(T0)
    box.put([message(1, 0)])
    assert box.waiting == 0


def test_it_is_full_by_count_until_one_is_read() -> None:
    box = inbox(T0, max_messages=4)
    box.put([message(0, offset) for offset in range(3)])
    assert not box.full
    box.put([message(0, 3)])
    assert box.full
    box.take()
    assert not box.full


def test_it_is_full_by_bytes() -> None:
    box = inbox(T0, max_bytes=100)
    box.put([message(0, 0, nbytes=60)])
    assert not box.full
    box.put([message(0, 1, nbytes=60)])
    assert box.full
    assert box.nbytes == 120


def test_a_partition_taken_away_takes_its_messages_along() -> None:
    box = inbox(T0, T1, max_messages=4)
    box.put([message(0, 0), message(0, 1), message(0, 2), message(1, 0)])
    assert box.full
    box.assign([T1])
    assert not box.full
    assert taken(box) == [(1, 0)]
    assert box.epoch(T0) is None


def test_a_partition_kept_keeps_its_epoch_its_messages_and_its_acknowledgements() -> None:
    box = inbox(T0)
    box.put([message(0, 0), message(0, 1)])
    first = box.take()
    assert first is not None
    box.assign([T0, T1])
    assert box.epoch(T0) == 1
    box.acknowledge(first.position)
    assert box.unwritten() == {T0: 1}
    assert taken(box) == [(0, 1)]


def test_a_partition_that_comes_back_begins_its_next_epoch() -> None:
    box = inbox(T0)
    box.put([message(0, 0)])
    before = box.take()
    assert before is not None
    box.assign([])
    box.assign([T0])
    assert box.epoch(T0) == 2
    box.acknowledge(before.position)
    assert box.unwritten() == {}
    box.put([message(0, 0, epoch=1), message(0, 0, epoch=2)])
    assert box.waiting == 1


def test_acknowledgements_only_move_forward() -> None:
    box = inbox(T0)
    box.put([message(0, offset) for offset in range(5)])
    taken(box)
    for offset in (3, 1, 3):
        box.acknowledge(Position("t", 0, offset, 1))
    assert box.unwritten() == {T0: 4}


def test_what_was_not_handed_out_cannot_be_acknowledged() -> None:
    box = inbox(T0)
    box.put([message(0, 0), message(0, 1)])
    box.take()
    with pytest.raises(ValueError, match="not handed out"):
        box.acknowledge(Position("t", 0, 1, 1))


def test_what_is_written_down_is_not_written_again() -> None:
    box = inbox(T0)
    box.put([message(0, 0), message(0, 1)])
    taken(box)
    box.acknowledge(Position("t", 0, 0, 1))
    offsets = box.unwritten()
    box.acknowledge(Position("t", 0, 1, 1))
    box.written(offsets)
    assert box.unwritten() == {T0: 2}
    box.written({T0: 2})
    assert box.unwritten() == {}


def test_writing_down_a_partition_that_was_lost_meanwhile_is_harmless() -> None:
    box = inbox(T0)
    box.assign([])
    box.written({T0: 5})
    assert box.unwritten() == {}


def test_nothing_more_is_handed_out_of_a_partition_that_is_about_to_leave() -> None:
    box = inbox(T0, T1)
    box.put([message(0, 0), message(0, 1), message(1, 0)])
    first = box.take()
    assert first is not None
    box.retire({T0})
    assert taken(box) == [(1, 0)]
    box.acknowledge(first.position)
    assert box.unwritten() == {T0: 1}


def test_a_partition_is_settled_when_all_of_it_that_was_handed_out_is_acknowledged() -> None:
    box = inbox(T0, T1)
    box.put([message(0, 0), message(0, 1), message(0, 2), message(1, 0)])
    assert box.settled([T0, T1])
    for _ in range(4):
        box.take()
    box.acknowledge(Position("t", 0, 1, 1))
    assert not box.settled([T0])
    box.acknowledge(Position("t", 0, 2, 1))
    assert box.settled([T0])
    assert not box.settled([T0, T1])
    assert box.settled([("another", 0)])


def test_bytes_that_left_with_their_partition_take_no_room_any_more() -> None:
    box = inbox(T0, T1, max_bytes=100)
    box.put([message(0, 0, nbytes=60), message(1, 0, nbytes=50)])
    box.assign([T0])
    assert (box.nbytes, box.full) == (60, False)
    box.put([message(0, 1, nbytes=40)])
    box.retire({T0})
    assert (box.nbytes, box.full) == (0, False)


def test_waiting_for_room_ends_when_there_is_some() -> None:
    box = inbox(T0, max_messages=1)
    box.wait_for_room(60)
    box.put([message(0, 0)])
    box.wait_for_room(0)
    assert box.full
    filler = threading.Thread(target=box.wait_for_room, args=(60,))
    filler.start()
    filler.join(0.05)
    assert filler.is_alive()
    box.take()
    filler.join(30)
    assert not filler.is_alive()


def test_closing_gives_back_what_was_not_handed_out_and_keeps_acknowledgements() -> None:
    box = inbox(T0)
    box.put([message(0, offset) for offset in range(3)])
    box.take()
    assert not box.closed
    assert box.close() == 2
    assert box.close() == 0
    assert (box.closed, box.nbytes, box.waiting) == (True, 0, 0)
    box.put([message(0, 3)])
    assert box.take() is None
    box.acknowledge(Position("t", 0, 0, 1))
    assert box.unwritten() == {T0: 1}


def test_half_empty_counts_messages_and_bytes() -> None:
    box = inbox(T0, max_messages=4, max_bytes=100)
    box.put([message(0, offset, nbytes=20) for offset in range(4)])
    assert box.full
    assert not box.half_empty
    box.take()
    assert not box.full
    assert not box.half_empty  # three messages of four, 60 bytes of 100
    box.take()
    assert box.half_empty
