"""From a checkpoint file to a published model, with all that may go wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from eyestream.encoders.triton import version_of
from eyestream.errors import Misconfigured, Unavailable
from eyestream_engines import building, compilers, files, gates, publishing
from eyestream_engines.export import Engine
from eyestream_engines.families import family_of
from eyestream_engines.inference import embed
from eyestream_engines.steps import STEPS


@pytest.fixture(scope="module")
def checkpoint(tiny_weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pth"
    torch.save({"model": tiny_weights, "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def compiler():
    return compilers.choose("onnxruntime")


@pytest.fixture(scope="module")
def repository(tiny, checkpoint, compiler, tmp_path_factory):
    """One model built once; tests that change it make a copy."""
    folder = tmp_path_factory.mktemp("model_repository")
    assert building.build(tiny, checkpoint, folder, compiler=compiler).fresh
    return folder


def graph_in(repository):
    """The graph that Triton finds, in the one folder that has the engine's number."""
    (graph,) = (repository / "tiny").glob("*/model.onnx")
    return graph


def test_the_published_graph_says_what_the_network_says(tiny, tiny_weights, repository):
    pixels = gates.pictures(tiny.input, 5, seed=9)
    with torch.inference_mode():
        wanted = Engine(tiny, family_of(tiny).module(tiny, tiny_weights))(torch.from_numpy(pixels)).numpy()
    got = embed(graph_in(repository), pixels, batch=3)
    assert gates.half("engine", wanted, got, tiny).passed
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=2e-3)


def test_the_manifest_says_what_was_measured_and_what_lies_there(tiny, checkpoint, repository):
    told = publishing.manifest(repository, "tiny")
    assert told["checkpoint"]["sha256"] == files.digest(checkpoint)
    assert told["run_here"]
    assert {"torch", "timm", "onnxruntime"} <= told["versions"].keys()
    assert [gate["gate"] for gate in told["gates"]] == ["graph in FP32", "FP16, rounded as a GPU does", "engine"]
    assert all(gate["passed"] for gate in told["gates"])
    assert told["files"].keys() == {f"{graph_in(repository).parent.name}/model.onnx", "config.pbtxt"}
    assert publishing.intact(repository, "tiny")


def test_the_configuration_names_the_model_its_digest_and_its_shapes(tiny, checkpoint, repository):
    text = (repository / "tiny" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, config.max_batch_size) == ("tiny", 4)
    assert list(config.input[0].dims) == [32, 32, 3]
    assert config.parameters["eyestream.digest"].string_value == files.digest(checkpoint)
    version = version_of(files.digest(checkpoint), config.parameters["eyestream.preprocessing"].string_value)
    assert list(config.version_policy.specific.versions) == [version]
    assert graph_in(repository).parent.name == str(version)


def test_a_second_call_does_nothing(tiny, checkpoint, compiler, repository):
    graph = graph_in(repository)
    before = graph.stat().st_mtime_ns
    told = []
    built = building.build(tiny, checkpoint, repository, compiler=compiler, told=lambda step, _: told.append(step))
    assert not built.fresh
    assert graph.stat().st_mtime_ns == before
    assert set(told) == {STEPS[0]}


def test_a_damaged_model_is_built_anew(tiny, checkpoint, compiler, repository, tmp_path):
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    graph = graph_in(tmp_path)
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    assert building.build(tiny, checkpoint, tmp_path, compiler=compiler).fresh
    assert graph.read_bytes() == whole


def test_a_copy_under_another_name_is_built_anew_for_its_configuration_names_the_first(
    tiny, checkpoint, compiler, repository, tmp_path
):
    shutil.copytree(repository / "tiny", tmp_path / "copy")
    assert building.build(tiny, checkpoint, tmp_path, compiler=compiler, name="copy").fresh
    assert 'name: "copy"' in (tmp_path / "copy" / "config.pbtxt").read_text()


def test_another_checkpoint_replaces_the_model_and_leaves_nothing_else(
    tiny, tiny_weights, compiler, repository, tmp_path
):
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    first = publishing.manifest(tmp_path, "tiny")
    other = tmp_path / "other.pth"
    torch.save({name: value * 1.01 for name, value in tiny_weights.items()}, other)
    second = building.build(tiny, other, tmp_path, compiler=compiler)
    assert second.fresh
    assert second.manifest["checkpoint"] != first["checkpoint"]
    assert graph_in(tmp_path).parent.name != graph_in(repository).parent.name
    assert publishing.intact(tmp_path, "tiny")
    assert not (tmp_path / ".building").exists()


def test_an_engine_beyond_its_bounds_is_not_published_and_the_old_one_stays(
    tiny, checkpoint, compiler, repository, tmp_path
):
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    before = publishing.manifest(tmp_path, "tiny")
    strict = tiny.model_copy(update={"tolerance": tiny.tolerance.model_copy(update={"half": 1e-9})})
    with pytest.raises(Misconfigured, match="is not published"):
        building.build(strict, checkpoint, tmp_path, compiler=compiler)
    assert publishing.manifest(tmp_path, "tiny") == before
    assert publishing.intact(tmp_path, "tiny")


def test_an_engine_that_answers_something_else_is_not_published(tiny, checkpoint, tmp_path):
    class Careless(type(compilers.choose("onnxruntime"))):
        """Feeds pictures the wrong way round."""

        def run(self, engine, pictures, *, batch):
            return super().run(engine, pictures[..., ::-1].copy(), batch=batch)

    with pytest.raises(Misconfigured, match="engine: largest difference"):
        building.build(tiny, checkpoint, tmp_path, compiler=Careless())
    assert not (tmp_path / "tiny").exists()


def test_a_description_of_another_length_is_not_published(tiny, checkpoint, compiler, tmp_path):
    """Its configuration would promise vectors that Triton's answers are not."""
    wrong = tiny.model_copy(update={"output": tiny.output.model_copy(update={"dim": 7})})
    with pytest.raises(Misconfigured, match=r"gives 32 numbers, and its description says 7: correct output\.dim"):
        building.build(wrong, checkpoint, tmp_path, compiler=compiler)
    assert not (tmp_path / "tiny").exists()


def test_another_encoders_file_leaves_nothing_behind(tiny, compiler, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.ones(2, 2)}, path)
    with pytest.raises(Misconfigured, match="not a checkpoint of tiny"):
        building.build(tiny, path, tmp_path / "repository", compiler=compiler)
    assert not (tmp_path / "repository" / "tiny").exists()


def test_a_full_disk_is_told_and_leaves_what_was_there(tiny, checkpoint, repository, tmp_path):
    class Full(type(compilers.choose("onnxruntime"))):
        """Writes half an engine; then the disk is full."""

        def compile(self, graph, encoder, into, told):
            into.parent.mkdir(parents=True)
            into.write_bytes(graph.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    strict = tiny.model_copy(update={"title": "described anew"})
    with pytest.raises(Unavailable, match="make room and build again"):
        building.build(strict, checkpoint, tmp_path, compiler=Full())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert publishing.intact(tmp_path, "tiny")


def test_two_builds_at_once_make_one_model(tiny, checkpoint, compiler, tmp_path):
    fresh: list[bool] = []

    def one() -> None:
        fresh.append(building.build(tiny, checkpoint, tmp_path, compiler=compiler).fresh)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fresh) == [False, True]
    assert publishing.intact(tmp_path, "tiny")


KILLED = """
import json, os, signal, sys
from pathlib import Path
from eyestream_engines import building, compilers
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import STEPS

def told(step, share):
    if step == STEPS[int(sys.argv[4])]:
        os.kill(os.getpid(), signal.SIGKILL)

encoder = EncoderFile.model_validate_json(sys.argv[1])
building.build(encoder, Path(sys.argv[2]), Path(sys.argv[3]), compiler=compilers.choose("onnxruntime"), told=told)
"""


@pytest.mark.parametrize("step", [3, 10])
def test_a_build_that_is_killed_leaves_no_model_and_the_next_one_is_clean(tiny, checkpoint, compiler, tmp_path, step):
    command = [sys.executable, "-c", KILLED, tiny.model_dump_json(), str(checkpoint), str(tmp_path), str(step)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "tiny").exists()
    assert building.build(tiny, checkpoint, tmp_path, compiler=compiler).fresh
    assert publishing.intact(tmp_path, "tiny")
    assert not (tmp_path / ".building").exists()


def test_a_repository_that_cannot_be_written_is_told(tiny, checkpoint, compiler, tmp_path):
    place = tmp_path / "file"
    place.write_text("not a folder")
    with pytest.raises(Misconfigured, match="cannot be written"):
        building.build(tiny, checkpoint, place / "repository", compiler=compiler)


@pytest.mark.parametrize("swapped", [True, False])
def test_a_checkpoint_that_changes_while_it_is_built_is_not_published(
    tiny, tiny_weights, checkpoint, compiler, tmp_path, swapped
):
    """The digest would name weights that the engine has not."""
    given, other = tmp_path / "given.pth", tmp_path / "other.pth"
    shutil.copy(checkpoint, given)
    torch.save({"model": {name: value * 1.01 for name, value in tiny_weights.items()}}, other)

    def told(step, _):
        if step == STEPS[1]:
            other.replace(given) if swapped else given.write_bytes(other.read_bytes())

    with pytest.raises(Misconfigured, match="changed while its engine was built"):
        building.build(tiny, given, tmp_path / "repository", compiler=compiler, told=told)
    assert not (tmp_path / "repository" / "tiny").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_takes_a_model(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(publishing.fcntl, "flock", refuse)
    with publishing.staging(tmp_path, "model") as folder:
        (folder / "config.pbtxt").write_text("")
        publishing.publish(folder, tmp_path, "model", {})
    assert publishing.intact(tmp_path, "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["..", ".", "../other", "a/b", "/tmp/eyestream-nothing", "x.lock", "-x"])
def test_a_name_that_leads_elsewhere_is_refused_and_takes_nothing_away(tmp_path, name):
    kept = tmp_path / "repository" / "other" / "config.pbtxt"
    kept.parent.mkdir(parents=True)
    kept.write_text("another model")
    with pytest.raises(Misconfigured, match="no model can be named"), publishing.staging(tmp_path / "repository", name):
        pass
    assert kept.read_text() == "another model"
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["other"]


def test_a_fault_elsewhere_is_not_laid_on_the_repository(tmp_path):
    def build():
        with publishing.staging(tmp_path, "model"):
            raise PermissionError(errno.EACCES, "Permission denied", "/home/nobody/.cache")

    with pytest.raises(Misconfigured, match=r"/home/nobody/\.cache cannot be written"):
        build()


def test_a_model_of_somebody_else_is_never_taken_away(tmp_path):
    theirs = tmp_path / "tiny" / "1" / "model.py"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    (tmp_path / "tiny" / "config.pbtxt").write_text('name: "tiny"')
    with pytest.raises(Misconfigured, match="no engine of eyestream's"), publishing.staging(tmp_path, "tiny"):
        raise AssertionError("nothing is to be built")
    assert theirs.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    (tmp_path / "tiny" / "config.pbtxt").write_text('parameters { key: "eyestream.digest" }')
    with publishing.staging(tmp_path, "tiny") as folder:
        publishing.publish(folder, tmp_path, "tiny", {})
    assert not theirs.exists()


def test_a_link_in_the_models_place_gives_way_and_what_it_leads_to_stays(tmp_path):
    elsewhere, repository = tmp_path / "elsewhere", tmp_path / "repository"
    elsewhere.mkdir()
    repository.mkdir()
    (elsewhere / "config.pbtxt").write_text("of another")
    (repository / "model").symlink_to(elsewhere)
    for number in range(2):
        with publishing.staging(repository, "model") as folder:
            (folder / "config.pbtxt").write_text(str(number))
            publishing.publish(folder, repository, "model", {})
        assert (repository / "model" / "config.pbtxt").read_text() == str(number)
        assert [path.name for path in repository.iterdir()] == ["model"]
    assert (elsewhere / "config.pbtxt").read_text() == "of another"


def test_a_model_is_exchanged_whole(tmp_path):
    for number in range(2):
        with publishing.staging(tmp_path, "model") as folder:
            (folder / "config.pbtxt").write_text(str(number))
            publishing.publish(folder, tmp_path, "model", {"number": number})
        assert json.loads((tmp_path / "model" / publishing.MANIFEST).read_text())["number"] == number
        assert publishing.intact(tmp_path, "model")
    (tmp_path / "model" / "config.pbtxt").write_text("changed by hand")
    assert not publishing.intact(tmp_path, "model")
    assert Path(os.path.realpath(tmp_path / "model")).is_dir()
