"""Serves an ONNX model inside Triton: the `onnxruntime` backend for a Triton that ships without the compiled one.

Installed as `<backends>/onnxruntime/model.py`, it makes Triton load the very repository that production loads
(`backend: "onnxruntime"`, `<version>/model.onnx`). It runs in Triton's own interpreter and
imports nothing of eyestream.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb

_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(double)": "TYPE_FP64",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(bool)": "TYPE_BOOL",
}

_PICTURE = 3
"""Dimensions of one: height, width, channels."""


class TritonPythonModel:
    """One instance of the model: one session, one thread, so that instances share a machine without spinning."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model. Raises when it and its config.pbtxt do not agree, which Triton logs and refuses."""
        if int(np.__version__.split(".")[0]) >= 2:  # noqa: PLR2004
            # Triton's stub was compiled against NumPy 1: with 2 it answers with wrong values and no error.
            raise pb.TritonModelException(f"Triton's Python needs numpy<2, this one has {np.__version__}")
        config = json.loads(args["model_config"])
        file = (
            Path(args["model_repository"]) / args["model_version"] / (config["default_model_filename"] or "model.onnx")
        )
        self._batches = int(config["max_batch_size"]) > 0
        self._volumes = self._batches and any(len(entry["dims"]) > _PICTURE for entry in config["input"])
        options = _options(config, volumes=self._volumes)
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]
        _check("input", self._session.get_inputs(), config["input"])
        _check("output", self._session.get_outputs(), config["output"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request: those of one shape in a single run, and one by one where that run fails."""
        feeds = [self._feed(request) for request in requests]
        responses: list[Any] = [None] * len(requests)
        for members in self._groups(feeds):
            try:
                answers = self._run([feeds[member] for member in members])
            except Exception as error:  # noqa: BLE001 - whatever it was belongs to a request, not to the server
                answers = [self._alone(feeds[member]) for member in members] if len(members) > 1 else [_refusal(error)]
            for member, answer in zip(members, answers, strict=True):
                responses[member] = answer
        return responses

    def _feed(self, request: Any) -> dict[str, np.ndarray[Any, Any]]:
        return {name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _groups(self, feeds: Sequence[dict[str, np.ndarray[Any, Any]]]) -> list[list[int]]:
        if not self._batches:
            return [[member] for member in range(len(feeds))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for member, feed in enumerate(feeds):
            groups.setdefault(tuple(feed[name].shape[1:] for name in self._inputs), []).append(member)
        return list(groups.values())

    def _run(self, feeds: Sequence[dict[str, np.ndarray[Any, Any]]]) -> list[Any]:
        if len(feeds) == 1:
            return [_response(self._outputs, self._infer(feeds[0]))]
        merged = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
        values = self._infer(merged)
        ends = np.cumsum([len(feed[self._inputs[0]]) for feed in feeds])
        if any(len(value) != ends[-1] for value in values):
            raise ValueError(f"{ends[-1]} rows went into the model and {[len(value) for value in values]} came out")
        parts = zip(*(np.split(value, ends[:-1]) for value in values), strict=True)
        return [_response(self._outputs, part) for part in parts]

    def _infer(self, feed: dict[str, np.ndarray[Any, Any]]) -> list[Any]:
        """The session's answers; volumes go one by one, for its buffers have gigabytes and are planned for one."""
        if not self._volumes:
            return list(self._session.run(self._outputs, feed))
        count = len(feed[self._inputs[0]])
        single = [{name: value[row : row + 1] for name, value in feed.items()} for row in range(count)]
        rows = [self._session.run(self._outputs, one) for one in single]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def _alone(self, feed: dict[str, np.ndarray[Any, Any]]) -> Any:
        try:
            return self._run([feed])[0]
        except Exception as error:  # noqa: BLE001 - the others of its batch have their answers
            return _refusal(error)


def _options(config: dict[str, Any], *, volumes: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    threads = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "1")
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if volumes:
        # An arena grows by doubling, and where every size is known a volume takes half the time.
        options.enable_cpu_mem_arena = False
        options.add_free_dimension_override_by_name("batch", 1)
    return options


def _check(side: str, have: Sequence[Any], configured: Sequence[dict[str, Any]]) -> None:
    types = {tensor.name: _TYPES.get(tensor.type, tensor.type) for tensor in have}
    for entry in configured:
        if types.get(entry["name"]) != entry["data_type"]:
            raise pb.TritonModelException(
                f"config.pbtxt declares {side} {entry['name']} as {entry['data_type']}; the model has {types}"
            )


def _response(names: Sequence[str], values: Sequence[np.ndarray[Any, Any]]) -> Any:
    return pb.InferenceResponse([pb.Tensor(name, value) for name, value in zip(names, values, strict=True)])


def _refusal(error: Exception) -> Any:
    return pb.InferenceResponse([], pb.TritonError(f"ONNX Runtime: {error}"))
