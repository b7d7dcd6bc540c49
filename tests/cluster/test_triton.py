"""The arguments that the chart gives to Triton, given to a real one: how it ends while it has work.

No API server has a part in that; the kubelet's is played: SIGTERM, and SIGKILL once the grace has passed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as client
from chartkit import render
from chartkit.manifests import pods
from sites import Object, owned_state, wait_until
from tritonclient.utils import InferenceServerException

from eyestream.apps.local import Stack
from eyestream.apps.local.base import Command, Place
from eyestream.apps.local.triton import Triton

WORK_S = 6.0
"""How long the model takes over what it is given; its readiness is asked with nothing to do."""

MODEL = """\
name: "slow"
backend: "python"
max_batch_size: 0
input [{ name: "seconds" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "slept" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
CODE = """\
import pathlib
import time

import triton_python_backend_utils as utils


class TritonPythonModel:
    def execute(self, requests):
        seconds = [utils.get_input_tensor_by_name(request, "seconds") for request in requests]
        if seconds[0].as_numpy()[0] > 0:
            (pathlib.Path(__file__).parent / "began").touch()
            time.sleep(float(seconds[0].as_numpy()[0]))
        return [utils.InferenceResponse([utils.Tensor("slept", tensor.as_numpy())]) for tensor in seconds]
"""


class PodsTriton(Triton):
    """The local stack's own, started with a pod's arguments; where its files and ports are is this machine's."""

    def __init__(self, repository: Path, pod: Object) -> None:
        super().__init__(repository)
        (container,) = pod["containers"]
        self._arguments = container["args"]
        self.stops_within_s = float(pod["terminationGracePeriodSeconds"])

    def command(self, place: Place) -> Command:
        own = super().command(place)
        ours = (
            "--model-repository",
            "--backend-",
            "--http-",
            "--metrics-",
            "--allow-gpu-",
            "--grpc-address",
            "--grpc-port",
        )
        pods = [argument for argument in self._arguments if not argument.startswith(ours)]
        here = [argument for argument in own.argv[1:] if argument.startswith(ours)]
        return Command([own.argv[0], *here, *pods], own.environment)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "slow"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(MODEL)
    (folder / "1" / "model.py").write_text(CODE)
    return folder.parent


@pytest.fixture
def pod() -> Object:
    """Triton's, as the chart renders it."""
    text = render.manifests(render.SHAPES / "minimal-values.yaml")
    (found,) = [pod.spec for pod in pods(render.objects(text)) if "-triton-" in pod.owner]
    return found


@pytest.fixture
def state() -> Iterator[Path]:
    with owned_state() as state:
        yield state


def test_pain_6_triton_answers_what_it_has_begun_before_it_ends(repository: Path, pod: Object, state: Path):
    answered, took_s = ended_at_work(repository, pod, state)
    assert answered.result(timeout=60) == WORK_S
    assert took_s < float(pod["terminationGracePeriodSeconds"])


def test_pain_6_with_less_grace_than_its_work_takes_the_same_answer_is_lost(repository: Path, pod: Object, state: Path):
    """Else the test above could not fail."""
    answered, _ = ended_at_work(repository, {**pod, "terminationGracePeriodSeconds": WORK_S / 4}, state)
    with pytest.raises(InferenceServerException):
        answered.result(timeout=60)


def ended_at_work(repository: Path, pod: Object, state: Path) -> tuple[Future[float], float]:
    """The answer of a Triton that was told to end while it worked on it, and how long it took to end."""
    with Stack(state, model_repository=repository, parts=[PodsTriton(repository, pod)]) as stack:
        stack.up()
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(ask, stack.endpoints.triton_grpc)
            wait_until((repository / "slow" / "1" / "began").exists, "the model is at work")
            asked = time.monotonic()
            stack.stop("triton")
            return answered, time.monotonic() - asked


def ask(address: str) -> float:
    seconds = client.InferInput("seconds", [1], "FP32")
    seconds.set_data_from_numpy(np.array([WORK_S], np.float32))
    with client.InferenceServerClient(address) as triton:
        found = triton.infer("slow", [seconds], client_timeout=60).as_numpy("slept")
    return float(found[0])
