"""One row: held before it is timed, and whatever cannot run at its batch leaves the other figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eyestream.errors import Unavailable
from eyestream_engines.gpu import baseline, rows
from eyestream_engines.gpu.ceiling import ceiling
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.rows import Bench, measured
from eyestream_engines.gpu.runtime import Bound, Graph
from eyestream_engines.gpu.timing import Compared, Effort, Rates, Unfit

BRIEF = Effort(warm_s=0.0, rounds=3, spell_s=0.001)
CPU = Device("cpu")
BIND = baseline.bind


class Client:
    """Stands for Triton: it answers by the graph."""

    def __init__(self, made, *, turned=False, away=False):
        self._engine, self._turned, self._away = Graph(made.engine), turned, away

    def answer(self, pixels):
        if self._away:
            raise Unavailable("triton", "the connection was refused")
        bound = self._engine.bind(pixels)
        bound.run(1)
        return -bound.answer() if self._turned else bound.answer()

    def contestant(self, pixels):
        return self._engine.bind(pixels).run


@pytest.fixture
def bench(made, monkeypatch):
    """All on the processor, torch.compile without a compiler of its own."""
    monkeypatch.setattr(rows.baseline, "bind", lambda *given: BIND(*given, backend="eager"))
    return Bench(made, Graph(made.engine), CPU, ceiling(CPU, BRIEF, sides=(16,)), client=Client(made))


def test_a_row_has_every_figure_and_every_ratio(bench):
    row = measured(bench, 2, BRIEF)
    assert row.notes == ()
    assert [reading.gate for reading in row.readings] == ["engine, 2 at a time", "Triton, 2 at a time"]
    assert all(reading.passed for reading in row.readings)
    ratios = (row.of_ceiling, row.of_products, row.of_compiled, row.of_engine)
    assert all(ratio is not None and ratio > 0 for ratio in ratios)
    assert row.pictures == pytest.approx(2 * row.engine.median)


def test_the_ceiling_is_told_in_operations_and_not_in_calls(bench, monkeypatch):
    found = Compared({rows.ENGINE: Rates((10.0,)), rows.CEILING: Rates((5.0,))}, {})
    monkeypatch.setattr(rows.timing, "compare", lambda *_: found)
    row = measured(bench, 2, BRIEF)
    assert bench.roof.flops == 2 * 16**3
    assert row.ceiling.median == 5 * 2 * 16**3
    assert row.of_ceiling == pytest.approx(row.flops * 10 / (5 * 2 * 16**3))


@pytest.mark.parametrize("size", [1, 4])
def test_every_picture_is_held_whatever_the_batch(bench, size):
    bound = []
    whole = bench.engine.bind
    bench.engine.bind = lambda pixels: bound.append(pixels) or whole(pixels)
    measured(bench, size, BRIEF)
    seen = np.concatenate(bound)
    assert {len(pixels) for pixels in bound} == {size}
    np.testing.assert_array_equal(seen[: len(bench.made.pictures)], bench.made.pictures)


def test_an_engine_that_answers_something_else_is_not_timed(bench):
    class Turned(Graph):
        def bind(self, pixels):
            bound = super().bind(pixels)
            return Bound(bound.run, lambda: -bound.answer())

    bench.engine = Turned(bench.made.engine)
    row = measured(bench, 2, BRIEF)
    assert not row.readings[0].passed
    assert (row.engine, row.compiled, row.served) == (None, None, None)
    assert "beyond its bounds and was not timed" in row.notes[0]


def test_a_batch_too_large_for_the_engine_says_so_and_the_others_are_timed(bench):
    class Small(Graph):
        def bind(self, pixels):
            raise Unfit("out of memory")

    bench.engine = Small(bench.made.engine)
    row = measured(bench, 4, BRIEF)
    assert row.engine is None
    assert row.compiled is not None
    assert row.notes == ("the engine: out of memory",)


def test_a_batch_too_large_for_torch_says_so_and_the_engine_is_timed(bench, monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(rows.baseline, "bind", none)
    row = measured(bench, 4, BRIEF)
    assert row.engine is not None
    assert row.of_compiled is None
    assert row.notes == ("torch.compile: CUDA out of memory. Tried to allocate 2 GiB",)


def test_what_torch_did_not_compile_is_timed_and_no_goal_is_held_on_it(bench, monkeypatch):
    def refused(_graph, _inputs):
        raise ValueError("no compiler here")

    monkeypatch.setattr(rows.baseline, "bind", lambda *given: BIND(*given, backend=refused))
    row = measured(bench, 2, BRIEF)
    assert row.eager
    assert row.compiled is not None
    assert row.of_compiled is None
    assert "DID NOT COMPILE" in row.notes[0]


def test_a_server_that_answers_something_else_is_not_timed(bench):
    bench.client = Client(bench.made, turned=True)
    row = measured(bench, 2, BRIEF)
    assert not row.readings[1].passed
    assert row.served is None
    assert row.engine is not None


def test_a_server_that_is_away_is_said(bench):
    bench.client = Client(bench.made, away=True)
    row = measured(bench, 2, BRIEF)
    assert row.served is None
    assert "the connection was refused" in row.notes[0]


def test_without_a_server_the_row_says_why(bench):
    bench.client, bench.absent = None, "no tritonserver was found"
    assert measured(bench, 2, BRIEF).notes == ("Triton: no tritonserver was found",)
