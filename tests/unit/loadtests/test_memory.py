"""What parts hold in memory: looked at while a test runs, growth counted from when they are warm."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from eyestream_load.memory import Memory, held


def test_a_process_holds_what_it_has_and_one_that_ended_nothing():
    mine = held([os.getpid()])
    assert mine > 5
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert held([ended.pid]) == 0


def test_growth_counts_from_when_a_part_is_warm():
    sizes, looked = iter([10, 50, 60, 70, 90, 80]), threading.Event()

    def measure(pids):
        assert pids == [4]
        try:
            return next(sizes)
        except StopIteration:
            looked.set()
            return 80

    with Memory(["line"], {"line": [4]}.get, every_s=0.001, measure=measure) as memory:
        assert looked.wait(30)
    told = memory.told()["line"]
    assert told["end"] == 80
    assert told["most"] == 90
    assert told["warm"] > 10


def test_a_test_that_was_over_at_once_was_looked_at_all_the_same():
    with Memory(["line"], {"line": []}.get, measure=lambda _: 7) as memory:
        pass
    assert memory.told()["line"]["end"] == 7
