"""Engines loaded and run: a plan by TensorRT on a GPU, a graph by ONNX Runtime where a processor rehearses.

What is timed is what is held against its original: both go through `Bound`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eyestream.encoders.triton import INPUT, OUTPUT
from eyestream.errors import Misconfigured
from eyestream.records import Pixels, Vectors
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.timing import Contestant, Unfit
from eyestream_engines.inference import open_graph


@dataclass(frozen=True, slots=True)
class Bound:
    """An engine with a batch before it: `run` does it so many times, `answer` gives what the last time gave."""

    run: Contestant
    answer: Callable[[], Vectors]


class Engine(Protocol):
    """A loaded engine."""

    def bind(self, pixels: Pixels) -> Bound:
        """Lay the pictures where the engine reads them. Raises Unfit, or RuntimeError, when the batch is too large."""
        ...


class Graph:
    """An ONNX graph on the processor."""

    def __init__(self, path: Path) -> None:
        self._session = open_graph(path)

    def bind(self, pixels: Pixels) -> Bound:
        """Nothing is to be laid anywhere."""
        given = {INPUT: np.ascontiguousarray(pixels)}
        last: list[Any] = []

        def run(times: int) -> None:
            for _ in range(times):
                last[:] = self._session.run([OUTPUT], given)

        return Bound(run, lambda: np.asarray(last[0], np.float32))


class Plan:
    """A TensorRT plan; `trt` is the module `tensorrt`, of version 10 or 11.

    Raises Misconfigured when this GPU and this TensorRT cannot load it.
    """

    def __init__(self, path: Path, device: Device, trt: Any) -> None:
        self._device = device
        self._logger, self._said = _logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise Misconfigured(
                f"TensorRT {trt.__version__} cannot load {path.name} on this GPU: {self._faults()}. A plan runs on the "
                "kind of GPU and the version of TensorRT that compiled it: compile it again here"
            )

    def bind(self, pixels: Pixels) -> Bound:
        """An execution context of its own, so that batches bound before stay as they are.

        A context holds what the largest batch needs; it goes with what is returned.
        """
        import torch

        context = self._engine.create_execution_context()
        if context is None:
            raise Unfit(f"there is no memory for another execution context: {self._faults()}")
        given = self._device.tensor(pixels)
        if not context.set_input_shape(INPUT, tuple(given.shape)):
            raise Unfit(f"the plan's profile does not hold {len(pixels)} at a time: {self._faults()}")
        answer = self._device.empty(tuple(context.get_tensor_shape(OUTPUT)), torch.float16)
        laid = {INPUT: given, OUTPUT: answer}
        for name, tensor in laid.items():
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise Unfit(f"the plan has no tensor {name!r} to lay memory under: {self._faults()}")
        stream = self._device.stream()

        def run(times: int) -> None:
            # The names keep both alive: TensorRT knows addresses, and would write where something else lies by then.
            size = len(laid[INPUT])
            for _ in range(times):
                if not context.execute_async_v3(stream.handle):
                    raise Unfit(f"the plan did not run with {size} at a time: {self._faults()}")
            stream.wait()

        return Bound(run, lambda: answer.float().cpu().numpy())

    def _faults(self) -> str:
        """What TensorRT said since it was last asked; it answers a call with no more than yes or no."""
        told = "; ".join(self._said) or "it gave no reason"
        self._said.clear()
        return told


def _logger(trt: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    grave = {trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR}

    class Logger(trt.ILogger):
        """Keeps what went wrong, for whoever then gets no answer."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in grave:
                said.append(msg.strip())

    return Logger(), said
