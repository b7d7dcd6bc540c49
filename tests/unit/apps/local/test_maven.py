from __future__ import annotations

import hashlib
from types import SimpleNamespace

import jgo
import pytest

from eyestream.apps.local import maven
from eyestream.errors import Misconfigured

LOCK = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}.jar\n" for name in ("broker", "logging"))


@pytest.fixture
def central(monkeypatch):
    """What each coordinate brings, file name and content; one that is not in it cannot be fetched."""
    brought = {"org:broker:1": {"broker": "broker", "tests": "tests"}, "org:logging:1": {"logging": "logging"}}

    def build(coordinate, *, cache_dir, resolver):
        place = cache_dir / coordinate / "jars"
        place.mkdir(parents=True)
        for name, content in brought[coordinate].items():
            (place / f"{name}.jar").write_text(content)
        return SimpleNamespace(path=place.parent)

    monkeypatch.setattr(jgo, "build", build)
    return brought


def fetch(brought, folder):
    maven.fetch(brought, folder, lock=LOCK, program="Broker 1")


def test_the_jars_of_the_lock_are_fetched_and_nothing_else(central, tmp_path):
    fetch(central, tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "broker.jar": "broker",
        "logging.jar": "logging",
    }


@pytest.mark.parametrize("wrong", [{"logging": "another's"}, {}])
def test_a_jar_that_is_another_or_missing_is_named(central, tmp_path, wrong):
    central["org:logging:1"] = wrong
    with pytest.raises(Misconfigured, match=r"logging\.jar is not the one that Broker 1 was tested with; remove it"):
        fetch(central, tmp_path)


def test_a_machine_without_a_way_to_maven_central_is_told(central, tmp_path):
    with pytest.raises(Misconfigured, match=r"org:missing:1 could not be fetched .* is the machine online\?"):
        fetch([*central, "org:missing:1"], tmp_path)
