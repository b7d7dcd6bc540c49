"""Comparing speeds: warm first, in turns, by ratios within rounds; whatever fails leaves the others' figures."""

from __future__ import annotations

import pytest

from eyestream_engines.gpu.timing import Effort, Rates, Unfit, compare, warmed

EFFORT = Effort(warm_s=2.0, rounds=5, spell_s=0.5)


class Machine:
    """A clock that only work moves, and that works slower from one moment on, as a GPU that is hot does."""

    def __init__(self, *, hot_from=float("inf"), hot=3.0):
        self.now, self.done = 0.0, []
        self._hot_from, self._hot = hot_from, hot

    def clock(self):
        return self.now

    def contestant(self, name, seconds, *, failing_after=float("inf")):
        calls = 0

        def run(times):
            nonlocal calls
            self.done.append(name)
            for _ in range(times):
                calls += 1
                if calls > failing_after:
                    raise Unfit("out of memory\nmore of it")
                self.now += seconds * (self._hot if self.now >= self._hot_from else 1)

        return run


def test_a_contestant_is_warmed_for_long_enough_and_its_spells_are_long_enough():
    machine = Machine()
    calls = warmed(machine.contestant("one", 0.01), EFFORT, clock=machine.clock)
    assert machine.now >= EFFORT.warm_s
    assert calls * 0.01 >= EFFORT.spell_s


def test_one_that_takes_longer_than_a_spell_is_called_once_at_a_time():
    machine = Machine()
    assert warmed(machine.contestant("slow", 1.5), EFFORT, clock=machine.clock) == 1


def test_rates_are_calls_a_second():
    machine = Machine()
    found = compare({"one": machine.contestant("one", 0.125)}, EFFORT, clock=machine.clock)
    assert found.rates["one"].rounds == pytest.approx((8.0,) * 5)
    assert found.rates["one"].spread == pytest.approx(0)


def test_they_take_turns_and_each_round_begins_with_another():
    machine = Machine()
    contestants = {name: machine.contestant(name, 1.0) for name in "abc"}
    compare(contestants, EFFORT, clock=machine.clock)
    assert "".join(machine.done[-15:]) == "abcbcacababcbca"


def test_a_machine_that_grows_hot_changes_the_figures_and_not_their_ratio():
    machine = Machine(hot_from=9.0)
    found = compare(
        {"fast": machine.contestant("fast", 0.1), "slow": machine.contestant("slow", 0.2)}, EFFORT, clock=machine.clock
    )
    assert found.rates["fast"].spread > 0.5
    assert found.rates["fast"].over(found.rates["slow"]) == pytest.approx(2.0, rel=0.01)


def test_one_that_fails_while_it_is_warmed_is_told_and_the_others_are_timed():
    machine = Machine()
    found = compare(
        {"good": machine.contestant("good", 0.1), "bad": machine.contestant("bad", 0.1, failing_after=0)},
        EFFORT,
        clock=machine.clock,
    )
    assert found.rates.keys() == {"good"}
    assert found.faults == {"bad": "out of memory more of it"}


def test_one_that_fails_in_a_later_round_has_no_figure():
    machine = Machine()
    bad = machine.contestant("bad", 1.0, failing_after=4)
    found = compare({"bad": bad, "good": machine.contestant("good", 1.0)}, EFFORT, clock=machine.clock)
    assert found.rates.keys() == {"good"}
    assert len(found.rates["good"].rounds) == EFFORT.rounds
    assert found.faults.keys() == {"bad"}


def test_a_ratio_is_the_middle_of_the_ratios_and_not_the_ratio_of_the_middles():
    assert Rates((1.0, 10.0, 4.0)).over(Rates((2.0, 10.0, 1.0))) == 1.0


def test_a_fault_of_ours_is_not_taken_for_too_little_memory():
    def wrong(_times):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        compare({"wrong": wrong}, EFFORT)
