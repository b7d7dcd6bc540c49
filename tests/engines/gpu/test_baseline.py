"""The network in FP16 under torch.compile: compiled for one batch, and loudly not compiled where that fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eyestream_engines import gates
from eyestream_engines.gpu import baseline
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.timing import Unfit

CPU = Device("cpu")


@pytest.fixture
def half(made):
    return baseline.Half(made.encoder, made.network)


def test_it_computes_what_the_engine_does(half, made):
    bound = baseline.bind(half, CPU, made.pictures, backend="eager")
    assert not bound.fallback
    assert gates.half("FP16", made.expected, bound.answer, made.encoder).passed
    bound.run(2)


def test_the_network_that_is_held_against_stays_in_fp32(half, made):
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float16}
    assert {parameter.dtype for parameter in made.network.parameters()} == {torch.float32}


def test_a_network_that_normalises_in_fp32_by_itself_goes_on_in_fp16(made):
    class Normalising(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return self.network(pixels.float() * 1)

    half = baseline.Half(made.encoder, Normalising(made.network))
    bound = baseline.bind(half, CPU, made.pictures, backend="eager")
    assert gates.half("FP16", made.expected, bound.answer, made.encoder).passed


def test_torch_compiles_it_for_this_batch_alone(half, made):
    shapes = []

    def backend(graph, inputs):
        shapes.append([tuple(each.shape) for each in inputs if each.dtype is torch.uint8])
        return graph.forward

    for size in (2, 4):
        assert not baseline.bind(half, CPU, made.pictures[:size], backend=backend).fallback
    assert shapes == [[(2, 32, 32, 3)], [(4, 32, 32, 3)]]


def test_where_it_cannot_be_compiled_it_runs_as_it_is_and_says_so(half, made):
    def backend(_graph, _inputs):
        raise ValueError("no compiler here")

    bound = baseline.bind(half, CPU, made.pictures[:2], backend=backend)
    assert "no compiler here" in bound.fallback
    assert np.isfinite(bound.answer).all()
    bound.run(1)


def test_a_network_that_overflows_in_fp16_is_no_measure(made):
    class Overflowing(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(1)[:, :32] * 60_000 * 60_000

    half = baseline.Half(made.encoder, Overflowing())
    with pytest.raises(Unfit, match="not finite"):
        baseline.bind(half, CPU, made.pictures[:2], backend="eager")


def test_too_little_memory_is_not_taken_for_a_fault_of_the_compiler(half, made):
    def backend(_graph, _inputs):
        def run(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return run

    with pytest.raises(torch.OutOfMemoryError):
        baseline.bind(half, CPU, made.pictures[:2], backend=backend)
