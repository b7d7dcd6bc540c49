"""Engines loaded and run: a plan through a stand-in of TensorRT that reads and writes real addresses."""

from __future__ import annotations

import gc
import importlib.util
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from eyestream.errors import Misconfigured
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.runtime import Graph, Plan
from eyestream_engines.gpu.timing import Unfit

_SPEC = importlib.util.spec_from_file_location("faketrt", Path(__file__).with_name("faketrt.py"))
faketrt = importlib.util.module_from_spec(_SPEC)
sys.modules["faketrt"] = faketrt
_SPEC.loader.exec_module(faketrt)


def plan(made, trt):
    return Plan(made.engine, Device("cpu"), trt)


def test_a_plan_answers_what_its_graph_does(made, vectors):
    trt = faketrt.module(profile=6)
    bound = plan(made, trt).bind(made.pictures)
    bound.run(1)
    np.testing.assert_allclose(bound.answer(), vectors, atol=2e-3)


def test_a_run_of_several_calls_runs_it_so_often_on_its_own_stream(made):
    trt = faketrt.module()
    bound = plan(made, trt).bind(made.pictures[:3])
    bound.run(5)
    assert trt.executed == [(3, 0)] * 5


def test_whoever_keeps_no_more_than_the_run_keeps_the_memory_that_it_writes_to(made):
    class Counted(Device):
        laid = 0

        def empty(self, shape, kind):
            tensor = super().empty(shape, kind)
            Counted.laid += 1
            weakref.finalize(tensor, Counted.gone)
            return tensor

        @classmethod
        def gone(cls):
            cls.laid -= 1

    run = Plan(made.engine, Counted("cpu"), faketrt.module()).bind(made.pictures[:2]).run
    gc.collect()
    assert Counted.laid == 1
    run(1)


def test_a_batch_bound_before_another_still_answers_its_own(made, vectors):
    engine = plan(made, faketrt.module())
    first, second = engine.bind(made.pictures[:2]), engine.bind(made.pictures[2:4])
    for bound in (second, first):
        bound.run(1)
    np.testing.assert_allclose(first.answer(), vectors[:2], atol=2e-3)
    np.testing.assert_allclose(second.answer(), vectors[2:4], atol=2e-3)


def test_a_plan_of_another_gpu_says_so_and_what_to_do(tmp_path):
    path = tmp_path / "model.plan"
    path.write_bytes(faketrt.ELSEWHERE)
    with pytest.raises(Misconfigured, match=r"incompatible device.*compile it again here") as raised:
        Plan(path, Device("cpu"), faketrt.module())
    assert "Loaded engine size" not in str(raised.value)


def test_a_batch_beyond_the_profile_is_unfit(made):
    with pytest.raises(Unfit, match=r"does not hold 5 at a time.*beyond the profile"):
        plan(made, faketrt.module(profile=4)).bind(made.pictures[:5])


def test_too_little_memory_for_a_context_is_unfit(made):
    with pytest.raises(Unfit, match="no memory for another execution context: out of memory"):
        plan(made, faketrt.module(contexts=0)).bind(made.pictures[:1])


def test_too_little_memory_at_a_batch_is_unfit_and_the_next_batch_runs(made):
    engine = plan(made, faketrt.module(too_large=[4]))
    with pytest.raises(Unfit, match=r"did not run with 4 at a time.*out of memory"):
        engine.bind(made.pictures[:4]).run(1)
    engine.bind(made.pictures[:2]).run(1)


def test_the_real_library_says_through_our_logger_why_it_loads_nothing(tmp_path):
    import tensorrt_rtx

    path = tmp_path / "model.plan"
    path.write_bytes(b"no plan" * 100)
    with pytest.raises(Misconfigured, match=r"(?i)serialization.*compile it again here"):
        Plan(path, Device("cpu"), tensorrt_rtx)


def test_a_graph_answers_the_same_through_the_same_interface(made, vectors):
    bound = Graph(made.engine).bind(made.pictures[:2])
    bound.run(2)
    np.testing.assert_allclose(bound.answer(), vectors[:2], atol=2e-3)
