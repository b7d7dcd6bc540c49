"""The Dockerfiles as text, since no container engine is needed to see what they must not do."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from chartkit import render

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "services" / "Dockerfile", ROOT / "build_engines" / "Dockerfile"]
KNOWN = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, word: str) -> str | None:
        return next((rest for step, rest in reversed(self.steps) if step == word), None)


def stages(file: Path) -> dict[str, Stage]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        assert word in KNOWN, f"{file}: {word}"
        if word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = Stage(name, re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base))
            found[name] = stage
        else:
            stage.steps.append((word, rest))
    return found


def user(name: str, among: dict[str, Stage]) -> str | None:
    stage = among[name]
    return stage.last("USER") or (user(stage.base, among) if stage.base in among else None)


def targets(file: Path) -> list[str]:
    return [name for name, stage in stages(file).items() if stage.last("ENTRYPOINT")]


def test_there_is_a_target_for_every_image_that_the_chart_runs():
    images = yaml.safe_load((render.CHART / "values.yaml").read_text())["images"]
    own = {image["repository"].removeprefix("eyestream/") for image in images.values()
           if isinstance(image, dict) and image["repository"].startswith("eyestream/")}  # fmt: skip
    assert own <= {name for file in FILES for name in targets(file)}
    assert set(targets(FILES[0])) == {"screening", "results", "device", "loadtest"}


@pytest.mark.parametrize("file", FILES, ids=["services", "engines"])
def test_every_target_runs_as_a_user_without_rights(file):
    for name in targets(file):
        found = user(name, stages(file))
        assert found is not None
        assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", found), "a number, so that Kubernetes can see it is not root"


@pytest.mark.parametrize("file", FILES, ids=["services", "engines"])
def test_every_base_is_pinned(file):
    names = stages(file)
    for stage in names.values():
        if stage.base not in names:
            assert re.search(r":[0-9][^:@]*[0-9a-z]", stage.base), stage.base
            assert "latest" not in stage.base


@pytest.mark.parametrize("file", FILES, ids=["services", "engines"])
def test_packages_are_installed_by_hash_alone(file):
    for stage in stages(file).values():
        for word, rest in stage.steps:
            if word == "RUN":
                for command in re.split(r"&&", rest):
                    if "pip install" in command:
                        assert "--require-hashes" in command or "--no-deps" in command
                    assert "curl" not in command
                    assert "apt-get" not in command


@pytest.mark.parametrize("file", FILES, ids=["services", "engines"])
def test_every_file_that_is_copied_exists(file):
    names = stages(file)
    for stage in names.values():
        for word, rest in stage.steps:
            if word == "COPY":
                *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
                if "--from=" in rest:
                    assert re.search(r"--from=(\S+)", rest)[1] in names
                else:
                    assert all((ROOT / source).exists() for source in sources), rest


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["worker", "results", "device", "loadtest"])
def test_images_hold_the_versions_that_the_tests_ran_with(name):
    tested = _pins("dev")
    assert {package: tested.get(package) for package in _pins(name)} == _pins(name)


def test_no_image_of_the_line_holds_torch():
    for name in ("worker", "results", "device", "loadtest"):
        assert not {"torch", "onnx", "tensorrt", "tensorrt-cu13-bindings"} & _pins(name).keys()


def test_what_runs_beside_a_camera_holds_no_server_s_client():
    assert not {"ray", "redis", "tritonclient"} & _pins("device").keys()


def test_the_engines_tensorrt_is_the_chart_s():
    values = yaml.safe_load((render.CHART / "values.yaml").read_text())
    assert _pins("tensorrt")["tensorrt-cu13-bindings"].startswith(values["engines"]["tensorrt"] + ".")
    image = values["images"]["triton"]
    assert stages(FILES[1])["engines"].base == f"{image['registry']}/{image['repository']}:{image['tag']}"


def test_whoever_installs_the_project_editable_has_what_its_build_backend_needs_for_that():
    """`--no-build-isolation` brings nothing: hatchling makes an editable wheel with `editables`, or not at all."""
    pinned = (ROOT / "requirements" / "build.txt").read_text()
    editable = [file for file in FILES if "--no-build-isolation --editable" in file.read_text()]
    assert editable
    assert re.search(r"^editables==", pinned, re.MULTILINE)
