"""Which models Triton is given, and what its ONNX Runtime backend refuses before it could answer wrongly."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from eyestream.apps import local
from eyestream.apps.local.triton import Triton, models, patience_s
from eyestream.errors import Misconfigured


def add_model(repository: Path, name: str, backend: str) -> None:
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\n  backend : "{backend}"\n')


def test_only_models_that_need_no_gpu_are_loaded(tmp_path: Path):
    for name, backend in (("demo", "onnxruntime"), ("flair", "tensorrt"), ("plain", "python")):
        add_model(tmp_path, name, backend)
    (tmp_path / "notes").mkdir()
    assert models(tmp_path) == ["demo", "plain"]


def test_a_repository_without_such_a_model_is_refused_before_anything_is_downloaded(tmp_path: Path):
    add_model(tmp_path, "flair", "tensorrt")
    stack = local.Stack(tmp_path / "state", model_repository=tmp_path, cache=tmp_path / "cache")
    with pytest.raises(Misconfigured, match="--model-repository"):
        stack.up()
    assert not (tmp_path / "cache").exists()


def test_what_is_served_is_part_of_the_command_so_a_changed_model_is_loaded_anew(tmp_path: Path):
    add_model(tmp_path / "models", "demo", "onnxruntime")
    part = Triton(tmp_path / "models")
    names = [*part.ports]
    place = local.Place(
        data=tmp_path / "data",
        runtime=tmp_path / "run",
        cache=prepared_cache(part, tmp_path),
        ports=dict(zip(names, range(20_000, 20_003), strict=True)),
        endpoints=local.Endpoints(),
        say=lambda line: None,
    )
    before = part.command(place)
    assert part.command(place) == before
    (tmp_path / "models" / "demo" / "1").mkdir()
    (tmp_path / "models" / "demo" / "1" / "model.onnx").write_bytes(b"newer")
    assert part.command(place).inputs != before.inputs


def prepared_cache(part: Triton, tmp_path: Path) -> Path:
    """A cache whose entry is there already, so that nothing is installed."""
    entry = part.environment_name()
    (tmp_path / "cache" / entry).mkdir(parents=True)
    return tmp_path / "cache"


class Refused(Exception):
    """Stands for Triton's own exception, which exists only inside its model process."""


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch):
    """The backend's module, loaded as Triton's model process does, with that process's module stood in for."""
    stand_in = types.ModuleType("triton_python_backend_utils")
    stand_in.TritonModelException = Refused
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    file = Path(local.__file__).parent / "onnxruntime_backend" / "model.py"
    spec = importlib.util.spec_from_file_location("onnxruntime_backend_model", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_backend_refuses_a_numpy_with_which_triton_answers_wrongly(backend):
    assert int(np.__version__.split(".")[0]) >= 2
    with pytest.raises(Refused, match="numpy<2"):
        backend.TritonPythonModel().initialize({"model_config": json.dumps({})})


def test_a_large_model_is_given_longer_for_a_picture_than_a_small_one(tmp_path: Path):
    for name, size in (("small", 10**6), ("large", 10**9)):
        (tmp_path / name / "1").mkdir(parents=True)
        with (tmp_path / name / "1" / "model.onnx").open("wb") as file:
            file.truncate(size)
    assert patience_s(tmp_path / "small") < 6
    assert patience_s(tmp_path / "large") > 120
